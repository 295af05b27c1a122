"""The files that a run writes to its run directory, and its refusals."""

import json
import re

import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgen.apps.same_run import RUN_FIELDS, require_same
from jaxgen.apps.stored_config import read_run
from jaxgen.cli import modes
from jaxgen.errors import UserError
from jaxgen.io.lock import exclusive
from jaxgen.io.run_directory import read_metrics
from jaxgen.methods import METHODS
from jaxgen.training.log import MetricsFile
from tests.helpers.pictures_in_grids import shows
from tests.helpers.runs import final_state, train, without_wall_clock
from tests.tiny import tiny_config

PROFILED = {'judge': {'train.profile': 5}}
GENERATORS = [name for name, method in METHODS.items() if method.supports.samples]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Return the run directory of a finished run of each family."""
    workdirs = {family: epath.Path(tmp_path_factory.mktemp(family)) / 'run' for family in METHODS}
    for family, workdir in workdirs.items():
        modes.run('train', tiny_config(family, **PROFILED.get(family, {})), workdir)
    return workdirs


@pytest.fixture
def trained(runs):
    return runs['ddpm']


@pytest.mark.parametrize('family', METHODS)
def test_the_workdir_of_the_contract(runs, family):
    trained = runs[family]
    assert json.loads((trained / 'config.json').read_text())['data']['name'] == 'digits'
    assert [row['step'] for row in read_metrics(trained / 'metrics.jsonl')] == [4, 8, 12]
    assert sorted(p.name for p in (trained / 'checkpoints').iterdir()) == ['12', '4', '8']
    assert sorted(p.name for p in trained.iterdir()) == [
        '.lock', 'checkpoints', 'config.json', 'metrics.jsonl', 'parameters.txt', *(['profile'] * (family in PROFILED)),
        *(['samples'] * METHODS[family].supports.samples), 'tensorboard',
    ]  # fmt: skip
    assert bool(list((trained / 'profile').glob('plugins/profile/*/*.xplane.pb'))) == (family in PROFILED)
    if METHODS[family].supports.samples:
        assert sorted(p.name for p in (trained / 'samples').iterdir()) == ['step_0.png', 'step_12.png', 'step_6.png']
        with Image.open(trained / 'samples' / 'step_12.png') as picture:
            assert picture.size == (10 * 68 + 4, 15 + 15 + 4 + 2 * 68 + 15)  # a column for each of ten digits


def test_the_work_of_a_step_is_that_of_its_convolutions(tmp_path, capsys):
    fields = {
        'model.name': 'cnn',
        'model.base_channels': 32,
        'model.num_blocks': 1,
        'train.steps': 1,
        'sample.every': None,
    }
    modes.run('train', tiny_config(**fields), epath.Path(tmp_path))
    said = float(re.search(r'it does (\S+) GFLOP an image', capsys.readouterr().out).group(1))
    taps = (3 * 8 - 2) ** 2  # of a 3x3 kernel on 8x8 pixels that fall within the image
    forward = 2 * taps * (2 * 32 * 32 + 2 * 32)
    assert 1.0 < said * 1e9 / (3 * forward) < 1.12  # a forward pass and two gradients, and all that is no convolution


def test_it_trains_where_the_backend_does_not_count_work(tmp_path, capsys, monkeypatch):
    """GPUs and TPUs do not: their plugins return None."""
    monkeypatch.setattr(jax.stages.Lowered, 'cost_analysis', lambda self: None)
    modes.run('train', tiny_config('ddpm', **{'train.steps': 1, 'sample.every': 9}), epath.Path(tmp_path) / 'run')
    said = capsys.readouterr().out
    assert re.search(r'compiled the training step in \d+ s\nrunning the first step ...\n', said)
    assert said.splitlines()[-1].startswith('step 1 is the last and is saved in ')
    assert [path.name for path in (tmp_path / 'run' / 'samples').iterdir()] == ['step_1.png']


def test_tensorboard_has_scalars_and_grids(trained):
    event_accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    pytest.importorskip('tensorflow')
    events = event_accumulator.EventAccumulator(str(trained / 'tensorboard'), size_guidance={'tensors': 0})
    events.Reload()
    assert {'loss', 'steps_per_sec', 'data_wait', 'samples'} <= set(events.Tags()['tensors'])
    assert [e.step for e in events.Tensors('loss')] == [4, 8, 12]


@pytest.mark.parametrize(
    ('field', 'value'),
    [('seed', 1), ('data.batch_size', 8), ('model.base_channels', 16), ('optimizer.learning_rate', 1.0)],
)
def test_another_config_is_refused_by_field(trained, field, value):
    before = (trained / 'config.json').read_text()
    with pytest.raises(UserError, match=f'config.{field} is {value}.*--config.{field}='):
        modes.run('train', tiny_config(**{field: value, 'train.steps': 16}), trained)
    assert (trained / 'config.json').read_text() == before


def test_a_workdir_from_before_a_field_existed(trained):
    stored = json.loads((trained / 'config.json').read_text())
    del stored['data']['crop'], stored['optimizer']['beta1']
    require_same(tiny_config(), stored, RUN_FIELDS, 'there')


def test_other_intervals_are_not_refused(trained, capsys):
    modes.run('train', tiny_config(**{'train.steps': 12, 'train.log_every': 1}), trained)
    assert 'already at step 12' in capsys.readouterr().out


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    config = tiny_config(
        **{
            'optimizer.learning_rate': 4e9,
            'train.log_every': 1,
            'checkpoint.every': 1,
            'checkpoint.keep': 9,
            'sample.every': None,
        }
    )
    workdir = epath.Path(tmp_path) / 'run'
    with pytest.raises(UserError, match='the loss is not finite at step (.)') as e:
        modes.run('train', config, workdir)
    bad = int(str(e.value).split('at step ')[1][0])
    assert f'the checkpoint of step {bad - 1} is complete' in str(e.value)
    rows = read_metrics(workdir / 'metrics.jsonl')
    assert rows[-1]['step'] == bad - 1 and np.isfinite(rows[-1]['loss'])
    assert max(int(p.name) for p in (workdir / 'checkpoints').iterdir()) == bad - 1


def test_metrics_file_takes_up_where_the_checkpoint_is(tmp_path):
    path = epath.Path(tmp_path) / 'metrics.jsonl'
    path.write_text('{"step": 10, "loss": 1.0}\n{"step": 20, "loss": 0.5}\n{"step": 30, "lo')
    log = MetricsFile(path, 10)
    log.write({'step': 20, 'loss': 0.25})
    assert read_metrics(path) == [{'step': 10, 'loss': 1.0}, {'step': 20, 'loss': 0.25}]


def test_a_run_directory_has_one_trainer_at_a_time(tmp_path):
    with exclusive(tmp_path), pytest.raises(UserError, match='another run'), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


@pytest.mark.parametrize('family', GENERATORS)
def test_sample_depends_on_the_seed_and_the_index_alone(runs, family, capsys):
    trained = runs[family]

    def draw(name, **fields):
        modes.run('sample', tiny_config(family, **{'sample.name': name, **fields}), trained)
        with np.load(trained / 'samples' / f'{name}.npz') as file:
            return file['images'], file['labels']

    images, labels = draw('first', **{'sample.num': 40})
    assert images.shape == (40, 8, 8, 1) and images.dtype == np.uint8 and labels.dtype == np.int32
    np.testing.assert_array_equal(labels, np.arange(40) % 10)
    assert (trained / 'samples' / 'first.png').exists()
    with Image.open(trained / 'samples' / 'first' / '000013_3.png') as single:
        np.testing.assert_array_equal(np.asarray(single), images[13, ..., 0])

    np.testing.assert_array_equal(draw('again', **{'sample.num': 7})[0], images[:7])  # one compiled shape
    other_batch = draw('other', **{'sample.num': 40, 'sample.batch_size': 8})[0]
    assert np.mean(abs(other_batch.astype(int) - images) <= 1) >= 0.999
    assert (draw('seed', **{'sample.num': 7, 'seed': 1})[0] != images[:7]).mean() > 0.5
    assert set(draw('classes', **{'sample.num': 6, 'sample.classes': ('7', '2')})[1]) == {7, 2}
    assert 'samples of step 12' in capsys.readouterr().out


def test_an_animation_ends_with_the_samples(runs):
    fields = {'sample.name': 'moving', 'sample.num': 6, 'sample.num_steps': 3, 'sample.animation': True}
    modes.run('sample', tiny_config(**fields), runs['ddpm'])
    folder = runs['ddpm'] / 'samples'
    with Image.open(folder / 'moving_steps.webp') as movie, np.load(folder / 'moving.npz') as made:
        assert movie.n_frames == 4  # noise, and the images after each step
        movie.seek(3)
        assert all(shows(np.asarray(movie.convert('L')), image[..., 0], 13) for image in made['images'])
    assert (folder / 'moving_steps.png').exists()


@pytest.mark.parametrize('family, steps, words', [('dcgan', 4, 'family=dcgan makes'), ('ddpm', 1, 'num_steps=1 takes')])
def test_images_made_in_one_call_have_no_animation(tmp_path, family, steps, words):
    c = tiny_config(family, **{'sample.animation': True, **({'sample.num_steps': steps} if family == 'ddpm' else {})})
    with pytest.raises(UserError, match=f'sample.animation=True shows .*{words}'):
        modes.run('sample', c, epath.Path(tmp_path))


def test_sample_without_a_model(tmp_path):
    with pytest.raises(UserError, match='no trained model'):
        modes.run('sample', tiny_config(), epath.Path(tmp_path))


def test_sample_with_a_judge(runs):
    with pytest.raises(UserError, match='config.family=judge generates no images'):
        modes.run('sample', tiny_config('judge'), runs['judge'])
    assert not (runs['judge'] / 'samples').exists()


def test_sample_with_another_network(trained):
    with pytest.raises(UserError, match='config.model.num_blocks is 2, but the checkpoint'):
        modes.run('sample', tiny_config(**{'model.num_blocks': 2}), trained)


def test_a_run_whose_directory_is_removed_makes_it_again(trained, tmp_path, capsys):
    """Nothing is lost but what was removed: the log, the config and the next checkpoints are written again."""
    workdir = epath.Path(tmp_path) / 'run'

    class Removal:
        every = 6

        def has(self, step):
            return True

        def __call__(self, pipeline, model, step, tick):
            if step == 6:
                workdir.rename(tmp_path / 'moved')  # at once, since a checkpoint may be being written
            return {}, False

    config = tiny_config()
    train(config, workdir, Removal())
    assert f'{workdir} was removed: it is made again' in capsys.readouterr().out
    rows = [read_metrics(folder / 'metrics.jsonl') for folder in (workdir, trained)]
    assert without_wall_clock(rows[0]) == without_wall_clock(rows[1])
    # The checkpoint of step 4 may have been in progress.
    assert {'8', '12'} <= {p.name for p in (workdir / 'checkpoints').iterdir()}
    assert read_run(workdir)['data']['name'] == 'digits'
    states = [final_state(config, folder) for folder in (workdir, trained)]
    jax.tree.map(np.testing.assert_array_equal, *states)
