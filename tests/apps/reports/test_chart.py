"""Figures over what was varied."""

import json

import pytest

from jaxgen.apps.reports import chart, curves
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
        'DDIM': [(5, 0.3)],
        'Heun': [(5, 0.4), (10, 0.2)],
    }
    assert points(RESULTS, 'network_calls', 'judge.accuracy', 'sampler')['DDIM'] == [(5, 0.7)]


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(UserError, match='none of 4 results has eta, sampler and kid'):
        points(RESULTS, 'eta', 'kid', 'sampler')
    with pytest.raises(UserError, match='two results with Heun have the same network_calls'):
        points([*RESULTS, RESULTS[0]], 'network_calls', 'kid', 'sampler')


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / f'{i}.json' for i in range(len(RESULTS))]
    for path, one in zip(paths, RESULTS, strict=True):
        path.write_text(json.dumps(one))
    return [str(path) for path in paths]


def test_the_command_writes_a_picture(tmp_path, files, capsys):
    assert chart.main(['chart', 'network_calls', 'kid', 'sampler', f'{tmp_path}/out.png', *files]) == 0
    assert capsys.readouterr().out.splitlines() == ['DDIM 5: 0.3', 'Heun 5: 0.4, 10: 0.2']
    assert (tmp_path / 'out.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (
            [],
            'the following arguments are required: X, Y, LINES, OUT.png, files; usage: python -m jaxgen.apps.reports.',
        ),
        (['network_calls', 'kid', 'sampler', 'out.png'], 'are required: files'),
        (
            ['network_calls', 'kid', 'sampler', 'out.xyz', 'FILES'],
            "out.xyz: the format 'xyz' does not exist; did you mean",
        ),
        (['network_calls', 'kid', 'sampler', 'out', 'FILES'], "out: the format '' does not exist"),
        (['network_calls', 'kid', 'sampler', '~nobody_here/out.png', 'FILES'], "there is no user 'nobody_here'"),
        (
            ['sampler', 'kid', 'network_calls', 'out.png', 'FILES'],
            'sampler is heun in one of the results, and not a number',
        ),
        (['network_calls', 'judge', 'sampler', 'out.png', 'FILES'], 'and not a number'),
        (
            ['network_calls', 'kid', 'sampler', 'out.png', '/no/file'],
            '/no/file cannot be read (No such file or directory)',
        ),
        (
            ['network_calls', 'kid', 'sampler', 'out.png', __file__],
            'test_chart.py is not the result of an evaluation (',
        ),
    ],
)
def test_a_chart_that_cannot_be_is_a_sentence(args, words, files, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    before = {*tmp_path.iterdir()}
    expanded = [file for arg in args for file in (files if arg == 'FILES' else [arg])]
    assert chart.main(['chart', *expanded]) == 2
    said = capsys.readouterr().err
    assert words in said and len(said.splitlines()) == 1 and {*tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    'content', ['[]', '{}', '{"protocol": 3, "kid": 1}', '{"protocol": {"generated": []}, "kid": 1}']
)
def test_files_that_are_no_results_have_no_points(content):
    with pytest.raises(UserError, match='none of 1 results has'):
        points([json.loads(content)], 'network_calls', 'kid', 'sampler')


def test_a_metric_that_is_not_finite_is_not_plotted():
    with pytest.raises(UserError, match='kid is nan in one of the results, and not a number'):
        points([result(float('nan'), network_calls=1, sampler='heun')], 'network_calls', 'kid', 'sampler')


LOG = '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0, "fid": 30.0}\n[3]\n'


def test_curves_of_a_log(tmp_path):
    (tmp_path / 'metrics.jsonl').write_text(LOG)
    command = ['curves', f'{tmp_path}/metrics.jsonl', 'loss,fid', f'{tmp_path}/out.svg']
    assert curves.main(command) == 0 and '<svg' in (tmp_path / 'out.svg').read_text()
    assert curves.lines([{'step': 1, 'loss': 2.0}, {'step': 2, 'fid': 3.0}], ['fid']) == {'fid': [(2, 3.0)]}


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        ([], 'the following arguments are required: metrics.jsonl, '),
        (['metrics.jsonl', 'los', 'out.png'], "metrics.jsonl: the metric 'los' does not exist; did you mean loss"),
        (['metrics.jsonl', ',', 'out.png'], 'metrics.jsonl: no metric is named: choose some of step, loss'),
        (['nothing.jsonl', 'loss', 'out.png'], 'nothing.jsonl is not a file: name the metrics.jsonl of a run'),
        (['.', 'loss', 'out.png'], '. is not a file: name the metrics.jsonl of a run'),
        (['binary', 'loss', 'out.png'], 'binary: the log has no rows'),
        (['empty', 'loss', 'out.png'], 'empty: the log has no rows'),
        (['metrics.jsonl', 'loss', 'out.xyz'], "out.xyz: the format 'xyz' does not exist"),
    ],
)
def test_curves_that_cannot_be_are_a_sentence(args, words, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    for name, content in (('metrics.jsonl', LOG.encode()), ('binary', b'\xff\x00'), ('empty', b'')):
        (tmp_path / name).write_bytes(content)
    assert curves.main(['curves', *args]) == 2
    *warnings, said = capsys.readouterr().err.splitlines()
    assert words in said and all(line.startswith('warning: ') for line in warnings) and not [*tmp_path.glob('out*')]


@pytest.mark.parametrize(
    'values, scale', [((1, 2.9), 'linear'), ((1, 3.1), 'log'), ((0, 9), 'linear'), ((-1, 9), 'linear')]
)
def test_the_axis_is_logarithmic_where_the_values_lie_far_apart(values, scale):
    (ax,) = line_chart({'a': [(0, values[0])], 'b': [(1, values[1])]}, 'x', 'y').axes
    assert ax.get_yscale() == scale
