"""Damaged and hostile files of a run directory: one sentence or a documented skip, and nothing is changed."""

import json
import pathlib
import types

import jax
import numpy as np
import pytest
from etils import epath
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jaxgen.apps import sample, stored_config, weights
from jaxgen.apps.benchmark.report import read_baseline
from jaxgen.apps.config import SHARED, Config
from jaxgen.apps.evaluate import during_training, results
from jaxgen.apps.finetune import adapters, finetuning
from jaxgen.apps.restore import restore
from jaxgen.apps.sweep import plan
from jaxgen.apps.untrained import build
from jaxgen.errors import UserError
from jaxgen.io import run_directory
from jaxgen.metrics.class_accuracy import default_classifier_path, load_classifier
from jaxgen.training.snapshots import Snapshots
from tests.helpers.hostile import NAMES, NO_OBJECTS, VALUES, changed, digests
from tests.helpers.old_runs import RUNS
from tests.tiny import tiny_config, untrained

RESULT = {
    'fid': 3.0,
    'kid': 0.1,
    'kid_std': None,
    'density': 1.1,
    'fid_per_class': {'3': 1.0},
    'judge': {'accuracy': 0.5, 'confusion': [[1]], 'seen': {'3': 1}},
    'metrics': ['fid'],
    'warnings': ['few images'],
    'protocol': {'generated': {'count': 9}, 'reference': {}, 'extractor': {'name': 'x'}, 'judge': None},
}


def ids(values):
    return [repr(value)[:12] for value in values]


@pytest.mark.parametrize('content', NO_OBJECTS.values(), ids=NO_OBJECTS)
def test_a_config_that_is_no_object_is_one_sentence(tmp_path, content):
    workdir, path = epath.Path(tmp_path), tmp_path / 'config.json'
    path.write_bytes(content)
    before = digests(tmp_path)
    config = tiny_config()
    run = plan.Run('', 0, [plan.SamplerConfig('', config)])
    for read in (
        lambda: stored_config.read(path),
        lambda: stored_config.draft(path),
        lambda: stored_config.read_run(workdir),
        lambda: run_directory.read_config(workdir) or restore(config, workdir),
        lambda: restore(config, workdir),
        lambda: plan.require_own(run, workdir.parent / workdir.name) or restore(config, workdir),
        lambda: read_baseline(str(path), config),
    ):
        with pytest.raises(UserError) as e:
            read()
        assert '\n' not in str(e.value) and 'config.json' in str(e.value)
    assert digests(tmp_path) == before


@pytest.mark.parametrize('value', VALUES, ids=ids(VALUES))
@pytest.mark.parametrize(
    'name',
    ['family', 'seed', 'plugins', 'data', 'model', 'sweep', 'mesh', 'data.batch_size', 'data.classes', 'model.name']
    + ['model.channel_multipliers', 'optimizer.learning_rate', 'train.steps', 'sample.ema', 'sweep.seeds'],
)
def test_a_config_with_a_wrong_value_is_one_sentence(tmp_path, name, value):
    tree = tiny_config().to_tree() | {'plugins': None}
    path = tmp_path / 'config.json'
    path.write_bytes(changed(tree, name, value))
    try:
        found = stored_config.read(path, SHARED)
    except UserError as e:
        assert name.rpartition('.')[2] in str(e) and '\n' not in str(e)
    else:  # a value that the field can have
        assert isinstance(found, Config) and json.dumps(found.to_tree(), allow_nan=False)
    if '.' not in name and not isinstance(value, dict) and name in SHARED and name != 'sweep':
        with pytest.raises(UserError, match=f'config.{name} is .* must be an object'):
            stored_config.draft(path)


ROW = {'step': 5, 'loss': 2.0}
BAD_LINES = [content.decode(errors='replace') for content in NO_OBJECTS.values() if content.strip()]
BAD_LINES += [
    json.dumps(ROW | {name: value}) for name in ('step', 'loss') for value in VALUES if value not in (1.5, -1)
]
BAD_LINES += ['{}', '{"loss": 1.0}', '{"step": -1}', '{"step": 1.5}']


@pytest.mark.parametrize('line', BAD_LINES, ids=ids(BAD_LINES))
def test_a_bad_line_of_the_log_is_left_out(tmp_path, line, capsys):
    path = epath.Path(tmp_path) / 'metrics.jsonl'
    good = json.dumps(ROW)
    path.write_text(f'{good}\n{line}\n{good}\n')
    for _ in range(3):
        assert run_directory.read_metrics(path) == [ROW, ROW]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(f'warning: {path} has damaged lines') and 'line 2' in said[0]


def test_the_metrics_of_some_rows_are_points():
    rows = [{'step': 1, 'loss': 2.0}, {'step': 2}, {'step': 3, 'loss': 1.0}]
    assert run_directory.points(rows, 'loss') == [(1, 2.0), (3, 1.0)]


RESULT_FIELDS = [
    'fid',
    'kid_std',
    'density',
    'fid_per_class',
    'judge',
    'judge.confusion',
    'judge.accuracy',
    'metrics',
    'warnings',
]
RESULT_FIELDS += ['protocol', 'protocol.generated', 'protocol.generated.count', 'protocol.extractor']
BAD_RESULTS = [*NO_OBJECTS.values(), *(changed(RESULT, name, 'text') for name in RESULT_FIELDS)]
BAD_RESULTS += [changed(RESULT, name, [[None]]) for name in RESULT_FIELDS if name not in ('metrics', 'warnings')]


@pytest.mark.parametrize('content', BAD_RESULTS, ids=ids(BAD_RESULTS))
def test_a_bad_result_is_left_out_and_kept(tmp_path, content, capsys):
    workdir = epath.Path(tmp_path)
    for folder in ('evaluation', 'evaluation/training'):
        (workdir / folder).mkdir()
        (workdir / folder / '4.json').write_bytes(content)
        (workdir / folder / '6.json').write_text(json.dumps(RESULT))
        (workdir / folder / 'notes.json').write_text(json.dumps(RESULT))
    before = digests(tmp_path)
    assert list(results.stored_results(workdir)) == ['6', 'notes']
    assert during_training.read(workdir) == [RESULT | {'step': 6}]
    assert digests(tmp_path) == before
    assert len(capsys.readouterr().err.splitlines()) == 2  # one for each file
    results.write(RESULT, workdir / 'evaluation' / '4.json')
    assert json.loads((workdir / 'evaluation' / '4.json').read_text()) == RESULT
    assert (workdir / 'evaluation' / '4.json.damaged').read_bytes() == content


def test_a_folder_in_the_place_of_a_result_moves(tmp_path):
    path = epath.Path(tmp_path) / '4.json'
    path.mkdir()
    results.write(RESULT, path)
    assert results.read(path) == RESULT


@pytest.mark.parametrize('content', NO_OBJECTS.values(), ids=NO_OBJECTS)
def test_bad_files_of_a_sweep_are_tried_again(tmp_path, content, capsys):
    config = tiny_config()
    sampler = plan.SamplerConfig('', config)
    run, folder = plan.Run('', 0, [sampler]), epath.Path(tmp_path)
    (folder / run.folder / plan.RESULTS).mkdir(parents=True)
    (folder / run.folder / plan.DIVERGED).write_bytes(content)
    (folder / run.folder / plan.RESULTS / f'{sampler.stem}.json').write_bytes(content)
    assert not plan.is_done(run, folder)
    assert len(capsys.readouterr().err.splitlines()) == 2


ADAPTER = {
    'base': '0' * 64,
    'class_names': ['3', '8'],
    'finetune': {'method': 'lora', 'rank': 2, 'alpha': 8.0, 'targets': ['attention']},
    'model': {},
    'diffusion': {},
}
HOSTILE_ADAPTERS = {f'{name}={value!r}'[:40]: changed(ADAPTER, name, value) for name in ADAPTER for value in VALUES[:5]}
for name in ('rank', 'alpha', 'method', 'targets'):
    for value in (*VALUES[:5], -1, 0, float('nan'), 1e999, [3]):
        HOSTILE_ADAPTERS[f'{name}={value!r}'] = changed(ADAPTER, f'finetune.{name}', value)
HOSTILE_ADAPTERS |= NO_OBJECTS | {'twice': changed(ADAPTER, 'class_names', ['3', '3'])}
for harmless in ("base='text'", "base=''", "targets='text'"):
    del HOSTILE_ADAPTERS[harmless]


@pytest.mark.parametrize('about', HOSTILE_ADAPTERS.values(), ids=HOSTILE_ADAPTERS)
def test_an_adapter_with_a_bad_header_is_one_sentence(tmp_path, about):
    path = tmp_path / 'adapter.safetensors'
    tensors = {'a/kernel/a': np.zeros((2, 2), np.float32)}
    save_file(tensors, path, {adapters.METADATA: about.decode(errors='replace')})
    with pytest.raises(UserError, match='damaged, or no adapter') as e:
        adapters.read(path, 'config.sample.adapter')
    assert '\n' not in str(e.value)


def test_the_classes_of_the_base_win_over_those_of_an_adapter():
    base = types.SimpleNamespace(class_names=('3', '8'))
    adapter = types.SimpleNamespace(class_names=('../../x', '8', 'new'))
    assert finetuning._labels(base, adapter, 'adapter') == ('3', '8', 'new')
    for names in (('3',), ('a', 'b', '3')):
        adapter.class_names = names
        with pytest.raises(UserError, match='do not go on from those of the base'):
            finetuning._labels(base, adapter, 'adapter')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_name_the_tensor(tmp_path, value):
    adapter = tmp_path / 'adapter.safetensors'
    save_file({'a/a': np.array([1, value], np.float32)}, adapter, {adapters.METADATA: json.dumps(ADAPTER)})
    with pytest.raises(UserError, match='adapter.safetensors: a/a holds NaN or infinity'):
        adapters.read(adapter, 'field')
    (tmp_path / 'ema').mkdir()
    save_file({'0.1/w/b': np.array([value], np.float16)}, tmp_path / 'ema' / '3.safetensors')
    with pytest.raises(UserError, match='ema/3.safetensors: 0.1/w/b holds NaN or infinity'):
        Snapshots(epath.Path(tmp_path)).average(0.1, 5)
    stored = load_file(RUNS / 'exported' / weights.FILE)
    last = max(stored)
    stored[last] = np.full_like(stored[last], value)
    save_file(stored, tmp_path / weights.FILE)
    method, _ = build(stored_config.read(RUNS / 'exported' / 'config.json'))
    with pytest.raises(UserError, match=f'{weights.FILE}: {last} holds NaN or infinity'):
        weights.read(tmp_path / weights.FILE, method)


@pytest.mark.parametrize('step', ['', 'null', '-3', '1.5', 'NaN', '[]', '9' * 400, '\u0663'])
def test_weights_of_a_bad_step_are_refused(tmp_path, step):
    save_file(load_file(RUNS / 'exported' / weights.FILE), tmp_path / weights.FILE, {'step': step})
    method, _ = build(stored_config.read(RUNS / 'exported' / 'config.json'))
    with pytest.raises(UserError, match='the step in its header is .* must be a whole number'):
        weights.read(tmp_path / weights.FILE, method)


@pytest.mark.parametrize('name', ['0.1', 'x/w', 'nan/w', '-1/w', '7/w', '/w'])
def test_a_snapshot_of_no_average_is_refused(tmp_path, name):
    (tmp_path / 'ema').mkdir()
    save_file({name: np.zeros(2, np.float16)}, tmp_path / 'ema' / '3.safetensors')
    with pytest.raises(UserError, match='ema/3.safetensors is no snapshot'):
        Snapshots(epath.Path(tmp_path)).average(0.1, 5)


def test_snapshots_of_two_models_are_not_mixed(tmp_path):
    (tmp_path / 'ema').mkdir()
    for step in (3, 4):
        save_file({'0.1/w': np.zeros(step, np.float16)}, tmp_path / 'ema' / f'{step}.safetensors')
    with pytest.raises(UserError, match='3.safetensors holds other tensors than .*4.safetensors'):
        Snapshots(epath.Path(tmp_path)).average(0.1, 5)


@pytest.mark.parametrize('value', VALUES, ids=ids(VALUES))
@pytest.mark.parametrize('name', ['class_names', 'image_shape', 'mirrored', 'model', 'test_accuracy', 'data'])
def test_a_classifier_with_a_bad_header_is_one_sentence(tmp_path, name, value):
    if (name, value) in (('test_accuracy', None), ('data', 'text'), ('data', '')) or (name, value) == (
        'mirrored',
        True,
    ):
        pytest.skip('a value that it can have')
    path = default_classifier_path('digits')
    with safe_open(path, 'np') as file:
        header = file.metadata()
    save_file(load_file(path), tmp_path / 'x.safetensors', header | {name: json.dumps(value)})
    with pytest.raises(UserError, match='x.safetensors'):
        load_classifier(tmp_path / 'x.safetensors')


class FakeSampler:
    def batches(self, model, num):
        yield np.zeros((num, 4, 4, 1), np.uint8), np.arange(num, dtype=np.int32) % 2


def fake(class_names):
    return types.SimpleNamespace(
        method=types.SimpleNamespace(capabilities=types.SimpleNamespace(knows_classes=True)),
        class_names=class_names,
        step=4,
        model=None,
        sampler=FakeSampler,
    )


def sampled(monkeypatch, workdir, num, name='samples', class_names=('3', '8')):
    monkeypatch.setattr(sample, 'restore', lambda config, workdir: fake(class_names))
    sample.run(tiny_config(**{'sample.num': num, 'sample.name': name}), epath.Path(workdir))


def test_fewer_samples_leave_none_of_more(tmp_path, monkeypatch):
    sampled(monkeypatch, tmp_path, 6)
    (tmp_path / 'samples' / 'samples' / 'notes.txt').write_text('mine')
    sampled(monkeypatch, tmp_path, 2, class_names=('a/b', '8'))
    assert sorted(p.name for p in (tmp_path / 'samples' / 'samples').iterdir()) == [
        '000000_a-b-c14cddc0.png',
        '000001_8.png',
        'notes.txt',
    ]
    assert sorted(p.name for p in (tmp_path / 'samples').iterdir()) == ['samples', 'samples.npz', 'samples.png']


def test_sampling_that_fails_leaves_the_earlier_samples(tmp_path, monkeypatch):
    sampled(monkeypatch, tmp_path, 6)
    before = digests(tmp_path)

    def fails(self, model, num):
        yield np.zeros((1, 4, 4, 1), np.uint8), np.zeros(1, np.int32)
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeSampler, 'batches', fails)
    with pytest.raises(KeyboardInterrupt):
        sampled(monkeypatch, tmp_path, 6)
    assert digests(tmp_path) == before


@pytest.mark.parametrize('name', [name for name in NAMES if name])
def test_names_stay_inside_the_run_directory(tmp_path, monkeypatch, name):
    workdir = tmp_path / 'deep' / 'run'
    sampled(monkeypatch, workdir, 2, name='x', class_names=(name, '8'))
    written = [p for p in tmp_path.rglob('*') if p.is_file()]
    assert len(written) == 4 and all(pathlib.Path(workdir, 'samples') in p.parents for p in written)


def test_parts_of_a_copied_run_are_missed_by_name(tmp_path):
    workdir, config = epath.Path(tmp_path) / 'run', tiny_config()
    with pytest.raises(UserError, match='run holds no trained model .no config.json.: train one there'):
        restore(config, workdir)
    (workdir / 'checkpoints' / '4').mkdir(parents=True)
    with pytest.raises(
        UserError, match='holds a trained model, but no config.json, .* copy the config.json of that run'
    ):
        restore(config, workdir)
    (workdir / 'checkpoints' / '4').rmdir()
    (workdir / 'config.json').write_text(json.dumps(config.to_tree()))
    with pytest.raises(UserError, match='holds no checkpoint yet: train there .* copy that folder as well'):
        restore(config, workdir)


def test_a_checkpoint_that_is_not_finite_names_the_array(tmp_path):
    def spoiled(model):
        return jax.tree.map(lambda x: x * np.nan if x.shape == (3, 3, 8, 1) else x, model)

    config = tiny_config()
    workdir = untrained(config, epath.Path(tmp_path) / 'run', 4, spoiled)
    before = digests(workdir)
    with pytest.raises(UserError, match=r'run: params.conv_out.kernel holds NaN or infinity'):
        restore(config, workdir)
    tree = config.to_tree()
    del tree['model']
    (workdir / 'config.json').write_text(json.dumps(tree))
    with pytest.raises(UserError, match=r'is 8 in the checkpoint .*, and 16 in the model of this config') as e:
        restore(config.replace({'model.base_channels': 16}), workdir)
    assert '\n' not in str(e.value)
    kept = {path: digest for path, digest in before.items() if not path.endswith('config.json')}
    assert kept.items() <= digests(workdir).items()
