"""Figures over what was varied."""

import json
import subprocess
import sys

import pytest

from jaxgen.apps.reports.chart import points
from jaxgen.apps.reports.plots import line_chart
from jaxgen.errors import UserError


def result(kid, **drawn):
    return {'kid': kid, 'judge': {'accuracy': 1 - kid}, 'protocol': {'generated': drawn}}


RESULTS = [
    result(0.2, network_calls=10, sampler='heun'),
    result(0.4, network_calls=5, sampler='heun'),
    result(0.3, network_calls=5, sampler='ddim'),
    result(0.1, set='a folder'),
]


def test_each_line_rises_in_x():
    assert points(RESULTS, 'network_calls', 'kid', 'sampler') == {
        'sampler=ddim': [(5, 0.3)],
        'sampler=heun': [(5, 0.4), (10, 0.2)],
    }
    assert points(RESULTS, 'network_calls', 'judge.accuracy', 'sampler')['sampler=ddim'] == [(5, 0.7)]


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(UserError, match='none of 4 results has eta, sampler and kid'):
        points(RESULTS, 'eta', 'kid', 'sampler')
    with pytest.raises(UserError, match='two results with sampler=heun have the same network_calls'):
        points([*RESULTS, RESULTS[0]], 'network_calls', 'kid', 'sampler')


def test_the_command_writes_a_picture(tmp_path):
    files = []
    for i, one in enumerate(RESULTS):
        files.append(tmp_path / f'{i}.json')
        files[-1].write_text(json.dumps(one))
    command = [
        sys.executable,
        '-m',
        'jaxgen.apps.reports.chart',
        'network_calls',
        'kid',
        'sampler',
        tmp_path / 'out.png',
    ]
    said = subprocess.run([*command, *files], check=True, capture_output=True, text=True).stdout
    assert said.splitlines() == ['sampler=ddim 5: 0.3', 'sampler=heun 5: 0.4, 10: 0.2']
    assert (tmp_path / 'out.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    'values, scale', [((1, 2.9), 'linear'), ((1, 3.1), 'log'), ((0, 9), 'linear'), ((-1, 9), 'linear')]
)
def test_the_axis_is_logarithmic_where_the_values_lie_far_apart(values, scale):
    (ax,) = line_chart({'a': [(0, values[0])], 'b': [(1, values[1])]}, 'x', 'y').axes
    assert ax.get_yscale() == scale
