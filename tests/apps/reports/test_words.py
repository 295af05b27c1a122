"""Names in plain words: everything that is registered has one, and metrics say which direction is better."""

import pytest

from jaxgen.apps.reports import pages, weak_metrics, words
from jaxgen.apps.sweep.options import METRICS
from jaxgen.diffusion.compatibility import ALL_PREDICTIONS
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES
from tests.helpers.html_page import Page


def test_everything_registered_has_a_name():
    named = {'sampler': SAMPLERS, 'schedule': SCHEDULES, 'parameterisation': ALL_PREDICTIONS}
    assert {field: set(values) for field, values in words.VALUES.items()} == {f: set(v) for f, v in named.items()}
    assert all(words.METRICS[metric].better for metric in METRICS)


def test_axes_and_legends_are_in_words():
    dinov2 = {'extractor': {'name': 'dinov2-vit-l14'}}
    assert words.axis('fid') == 'FID (lower is better)' and words.axis('fid', dinov2) == 'FD-DINOv2 (lower is better)'
    assert (
        words.title('loss_generator') == 'training loss, generator'
        and words.setting('sample.num_steps') == 'sampling steps'
    )
    entries = [words.entry('sample.sampler', 'dpmpp_2m'), words.entry('step', 4000), words.entry('guidance_scale', 1.5)]
    assert entries == ['DPM-Solver++ 2M', 'training step 4,000', 'guidance scale 1.5']


@pytest.mark.parametrize(
    'count, kid, deviation, weak',
    [
        (2048, 0.5, 0.1, set()),
        (2047, 0.5, 0.1, {'fid'}),
        (999, 0.5, 0.1, {'fid', 'kid', 'kid_std'}),
        (5000, 0.001, 0.002, {'kid', 'kid_std'}),
        (5000, -0.001, None, set()),
    ],
)
def test_metrics_of_too_few_images_are_weak(count, kid, deviation, weak):
    protocol = {'generated': {'count': count}, 'reference': {'count': 50_000}}
    result = {'fid': 1.0, 'kid': kid, 'kid_std': deviation, 'protocol': protocol}
    assert set(weak_metrics.reasons([result])) == weak


def test_weak_rows_and_columns_are_grey_with_the_reason():
    for head, rows in ((['', 'a', 'b'], [('FID', '1', '2')]), (['', 'FID', 'b'], [('a', '1', '2')])):
        html = pages.table(head, rows, {'FID': 'too few'})
        assert 'too few' in Page(html).text and html.count('class="weak"') == 3  # two cells, or one and the text below


def test_cells_carry_their_heading_for_narrow_windows():
    assert '<td data-label="b &amp; c">2</td>' in pages.table(['', 'b & c'], [('a', '2')])
