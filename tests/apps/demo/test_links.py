"""Links contain the model, classes, seed and settings of a grid, and values that the page does not offer are refused."""

import pytest

from jaxgen.apps.demo import inputs, links
from jaxgen.errors import UserError


def test_a_link_restores_its_values():
    asked = inputs.read(
        model='runs/a b&c', classes=('a, b', 'ship'), sampler='ddim', steps=37, guidance=2.5, eta=0.25, seed=7, images=9
    )
    linked = links.read(links.write(asked).removeprefix('?'))
    assert linked.asked == asked
    assert linked.given == {'model', 'classes', 'sampler', 'steps', 'guidance', 'eta', 'seed', 'images'}


def test_an_address_without_a_model_is_no_link():
    assert links.read('') is None and links.read('__theme=dark&seed=3') is None


@pytest.mark.parametrize(
    ('query', 'words'),
    [
        ('model=a&seed=x', 'seed=x in the link is not a number'),
        ('model=a&steps=5.5', 'steps=5.5 in the link is not a number'),
        ('model=a&steps=2000', 'steps=2000 must be at most 1000'),
        ('model=a&guidance=nan', 'guidance=nan must be finite'),
        ('model=a&sampler=none', 'sampler'),
    ],
)
def test_a_bad_link_is_refused(query, words):
    with pytest.raises(UserError, match=words):
        links.read(query)
