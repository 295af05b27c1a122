"""Runs on Weights & Biases: what is sent, once and in order, also by a run that resumes from an earlier checkpoint."""

import json
import pathlib
import shutil
import struct
import sys
import types

import numpy as np
import pytest
from etils import epath

from jaxgen.cli import modes
from jaxgen.errors import UserError
from jaxgen.io import processes
from jaxgen.io.run_directory import read_metrics
from jaxgen.training.writers import LogOptions, weights_and_biases
from jaxgen.training.writers.weights_and_biases import FILE, WeightsAndBiases
from tests.tiny import tiny_config

WITH_IMAGES = {
    'train.steps': 6,
    'train.log_every': 1,
    'checkpoint.every': 2,
    'sample.every': 3,
    'log.wandb': 'team/digits',
}


class StandInRun:
    """A run that records the values that it receives."""

    offline, url = False, 'https://there/run'

    def __init__(self, **asked):
        self.asked, self.rows, self.settings, self.exit_code = asked, [], {}, None
        self.config = types.SimpleNamespace(update=lambda tree, allow_val_change: self.settings.update(tree))

    def define_metric(self, name, step_metric=None):
        assert name == 'step' or step_metric == 'step'

    def log(self, row):
        self.rows.append(row)

    def finish(self, exit_code):
        self.exit_code = exit_code


@pytest.fixture
def runs(monkeypatch):
    """Return the runs that a stand-in of the package has begun."""
    begun = []

    def init(**asked):
        begun.append(StandInRun(**asked))
        return begun[-1]

    module = types.ModuleType('wandb')
    module.init, module.Image, module.Settings = init, lambda image: image, dict
    monkeypatch.setitem(sys.modules, 'wandb', module)
    monkeypatch.setitem(sys.modules, 'tensorflow', None)  # no events for TensorBoard: it takes seconds to import
    return begun


def points(runs, name):
    """Return the steps at which a curve was sent, over all parts of a run."""
    return [row['step'] for run in runs for row in run.rows if name in row]


def test_rows_and_grids_are_sent_once_also_after_an_earlier_checkpoint(runs, tmp_path):
    workdir = epath.Path(tmp_path / 'run')
    modes.run('train', tiny_config(**WITH_IMAGES), workdir)
    rows = read_metrics(workdir / 'metrics.jsonl')
    scalars = [row for row in runs[0].rows if 'loss' in row]
    assert scalars == rows and [row['step'] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert points(runs, 'samples') == [0, 3, 6] and runs[0].rows[0]['samples'].dtype == np.uint8
    assert runs[0].asked['project'] == 'digits' and runs[0].asked['entity'] == 'team'
    assert runs[0].settings['data']['name'] == 'digits' and runs[0].exit_code == 0
    for lost in ('4', '6'):
        shutil.rmtree(workdir / 'checkpoints' / lost)
    modes.run('train', tiny_config(**WITH_IMAGES | {'train.steps': 8}), workdir)
    assert runs[1].asked['id'] == runs[0].asked['id'] and runs[1].asked['resume'] == 'allow'
    assert points(runs, 'loss') == [1, 2, 3, 4, 5, 6, 7, 8]
    assert points(runs, 'samples') == [0, 3, 6, 8]
    assert [row['step'] for row in read_metrics(workdir / 'metrics.jsonl')] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_what_a_stopped_evaluation_missed_is_sent_later(runs, tmp_path):
    """Each curve has a last step of its own, so that the FID of a step may follow its loss."""
    first = WeightsAndBiases(epath.Path(tmp_path), 0, 'digits')
    first.write_scalars(5, {'loss': 1.0})
    first.close(is_complete=False)
    second = WeightsAndBiases(epath.Path(tmp_path), 5, 'digits')
    second.write_scalars(5, {'loss': 1.0, 'fid': 9.0})
    assert runs[1].rows == [{'step': 5, 'fid': 9.0}] and runs[0].exit_code == 1


@pytest.mark.parametrize(('start', 'project', 'is_same'), [(5, 'a', True), (0, 'a', False), (5, 'b', False)])
def test_a_new_start_or_project_has_a_run_of_its_own(runs, tmp_path, start, project, is_same):
    WeightsAndBiases(epath.Path(tmp_path), 0, 'a').write_scalars(7, {'loss': 1.0})
    WeightsAndBiases(epath.Path(tmp_path), start, project).write_scalars(7, {'loss': 1.0})
    assert (runs[0].asked['id'] == runs[1].asked['id']) == is_same
    assert len(runs[1].rows) == (not is_same)


def test_only_the_first_process_writes(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_and_biases, 'is_first', lambda: False)
    writer = WeightsAndBiases(epath.Path(tmp_path), 0, 'digits')
    writer.write_scalars(1, {'loss': 1.0})
    writer.write_image(1, 'samples', np.zeros((2, 2, 1), np.uint8))
    writer.close(is_complete=True)
    assert not runs and not list(tmp_path.iterdir()) and processes.is_first()


def test_training_survives_the_end_of_the_service(runs, tmp_path, monkeypatch):
    def ended(row):
        raise RuntimeError('the service has ended')

    writer = WeightsAndBiases(epath.Path(tmp_path), 0, 'digits')
    monkeypatch.setattr(runs[0], 'log', ended)
    for step in (1, 2):
        writer.write_scalars(step, {'loss': 1.0})
    writer.close(is_complete=True)
    assert json.loads((tmp_path / FILE).read_text())['sent'] == {}


def test_a_refusal_of_the_service_is_a_sentence(runs, tmp_path, monkeypatch):
    def refuse(**asked):
        raise RuntimeError('No API key configured.\nand so on')

    monkeypatch.setattr(sys.modules['wandb'], 'init', refuse)
    with pytest.raises(
        UserError, match=r'does not start \(No API key configured.\): run wandb login, .*WANDB_MODE=offline'
    ):
        WeightsAndBiases(epath.Path(tmp_path), 0, 'digits')
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    'content', ['[]', '{"project": "a", "id": 3, "sent": {}}', '{"project": "a", "id": "b", "sent": [1]}']
)
def test_a_damaged_record_is_named(runs, tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(UserError, match=f'{FILE} is not the record of a run .*: remove it'):
        WeightsAndBiases(epath.Path(tmp_path), 5, 'a')


@pytest.mark.parametrize('module', [None, types.ModuleType('wandb')], ids=['absent', 'folder'])
def test_without_the_package_nothing_begins(module, tmp_path, monkeypatch):
    """The folder wandb/ that W&B creates in the current directory is not the package."""
    monkeypatch.setitem(sys.modules, 'wandb', module)
    with pytest.raises(
        UserError, match='^config.log.wandb=team/digits needs the package wandb: pip install wandb, or leave'
    ):
        modes.run('train', tiny_config(**WITH_IMAGES), epath.Path(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize('name', ['a/b/c', 'a#b', '/a', 'a/'])
def test_names_that_no_project_can_have(name):
    with pytest.raises(UserError, match='^wandb=.* must be PROJECT or ENTITY/PROJECT'):
        LogOptions(wandb=name)


def test_the_package_itself_writes_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    for start, last in ((0, 3), (1, 4)):
        writer = WeightsAndBiases(epath.Path(tmp_path), start, 'digits')
        for step in range(start + 1, last + 1):
            writer.write_scalars(step, {'loss': 1 / step})
            writer.write_image(step, 'samples', np.full((4, 4, 1), step, np.uint8))
        writer.close(is_complete=True)
    wandb.teardown()  # its service writes the last rows before it ends
    files = sorted(tmp_path.glob('wandb/offline-run-*/*.wandb'))
    assert len(files) == 2 and files[0].name == files[1].name  # two parts of one run
    assert [sent_steps(file) for file in files] == [[1, 1, 2, 2, 3, 3], [4, 4]]
    assert len(list(tmp_path.glob('wandb/offline-run-*/files/media/images/*.png'))) == 4


def sent_steps(file: pathlib.Path):
    """Return the steps of the rows in a file of W&B: records of LevelDB's log format, which hold protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    data, steps, part = file.read_bytes(), [], b''
    position = 7  # after the header of the file
    while position + 7 <= len(data):
        if (room := -position % 2**15) and room < 7:  # no header of a record is split between two blocks
            position += room
            continue
        length, kind = struct.unpack_from('<HB', data, position + 4)
        part += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            part = b''
            values = {item.key or '/'.join(item.nested_key): item.value_json for item in record.history.item}
            steps += [json.loads(values['step'])] if 'step' in values else []
    return steps
