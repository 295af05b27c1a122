"""Names of files that are made from names of classes, data sets and fields."""

import itertools
import os
import pathlib

import pytest

from jaxgen.data.dogs import BREEDS
from jaxgen.io.names import LONGEST, safe_name
from tests.helpers.hostile import NAMES


@pytest.mark.parametrize('name', NAMES)
def test_a_safe_name_is_one_short_part_of_a_path(name, tmp_path):
    made = safe_name(name)
    assert made == os.path.basename(made) and not made.startswith('.') and made.isprintable()
    assert 0 < len(made.encode()) <= LONGEST + 9
    (tmp_path / f'.12345.sweep-1000-{made}.safetensors').write_bytes(b'')
    assert [p.parent for p in pathlib.Path(tmp_path).rglob('*')] == [tmp_path]


def test_different_names_stay_different():
    names = [*NAMES, *(safe_name(name) for name in NAMES), 'a', 'b', 'a.b', 'A-B'.lower()]
    for a, b in itertools.combinations(dict.fromkeys(names), 2):
        assert safe_name(a) != safe_name(b), (a, b)


@pytest.mark.parametrize(
    'name', [*BREEDS, 'timesteps=100-base_channels=32', 'crème_brûlée', '0', 'learning_rate=1e-05']
)
def test_plain_names_are_kept(name):
    assert safe_name(name) == name
