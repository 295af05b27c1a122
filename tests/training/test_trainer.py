"""The trainer as a library: no config, the same run as on the command line, and no other run by accident."""

import json
import threading

import jax
import numpy as np
import pytest
from etils import epath

from jaxgen.cli import modes
from jaxgen.data import Dataset, load
from jaxgen.errors import UserError
from jaxgen.io.run_directory import read_metrics
from jaxgen.methods.options import SampleOptions
from jaxgen.training import CheckpointOptions, Trainer, TrainOptions
from tests.helpers.runs import build, final_state, without_wall_clock
from tests.tiny import tiny_config

ARGUMENTS = {
    'train': TrainOptions(log_every=4),
    'sample': SampleOptions(num=16, batch_size=16, every=6),
    'checkpoint': CheckpointOptions(every=4),
}


def trainer(workdir, steps=12, config=None, dataset=None, **arguments):
    method = build(config or tiny_config())
    arguments = {'steps': steps, 'batch_size': 16, **ARGUMENTS, **arguments}
    return Trainer(method, dataset or load('digits', 'train'), workdir, **arguments)


def assert_same_arrays(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Return a trainer whose run is finished."""
    made = trainer(tmp_path_factory.mktemp('trained') / 'run')
    made.train()
    return made


def test_it_trains_the_run_of_the_command_line(trained, tmp_path):
    workdir = epath.Path(tmp_path) / 'run'
    modes.run('train', tiny_config(), workdir)
    assert_same_arrays(final_state(tiny_config(), trained.plan.workdir), final_state(tiny_config(), workdir))
    logs = [without_wall_clock(read_metrics(folder / 'metrics.jsonl')) for folder in (workdir, trained.plan.workdir)]
    assert logs[0] == logs[1]
    names = [sorted(p.name for p in folder.iterdir()) for folder in (workdir, trained.plan.workdir)]
    assert names[0] == names[1]
    for step in (0, 6, 12):
        grids = [(folder / f'samples/step_{step}.png').read_bytes() for folder in (workdir, trained.plan.workdir)]
        assert grids[0] == grids[1]

    modes.run('sample', tiny_config(**{'sample.num': 20}), workdir)
    with np.load(workdir / 'samples' / 'samples.npz') as file:
        np.testing.assert_array_equal(trained.sample(20), file['images'])


def test_a_resumed_run_is_the_same_bit_for_bit(trained, tmp_path, capsys):
    trainer(tmp_path / 'run', steps=8).train()
    resumed = trainer(tmp_path / 'run')
    resumed.train()
    assert 'resuming at step 8' in capsys.readouterr().out
    assert_same_arrays(
        final_state(tiny_config(), resumed.plan.workdir), final_state(tiny_config(), trained.plan.workdir)
    )
    resumed.train()
    assert 'is already at step 12' in capsys.readouterr().out


def test_samples_depend_on_seed_and_index_alone(trained):
    images = trained.sample(20)
    assert images.shape == (20, 8, 8, 1) and images.dtype == np.uint8
    np.testing.assert_array_equal(trained.sample(7), images[:7])
    assert (trained.sample(7, seed=1) != images[:7]).mean() > 0.3
    again = trainer(trained.plan.workdir)  # it reads the newest checkpoint
    np.testing.assert_array_equal(again.sample(20), images)


def test_an_untrained_model_samples_the_classes_asked_for(tmp_path):
    untrained = trainer(tmp_path / 'run', config=tiny_config('dcgan'))
    images, others = untrained.sample(4), untrained.sample(4, classes=['0', '9'])
    differs = (images != others).any(axis=(1, 2, 3))
    assert not (tmp_path / 'run').exists()
    np.testing.assert_array_equal(differs, [False, True, True, True])  # labels 0, 1, 2, 3 and 0, 9, 0, 9


def part_of_digits():
    digits = load('digits', 'train')
    return Dataset(digits.images[:100], digits.labels[:100], digits.class_names)


@pytest.mark.parametrize(
    ('arguments', 'named'),
    [
        ({'seed': 1}, 'seed is 1, but the run in .* was made with 0'),
        ({'batch_size': 8}, 'data.batch_size is 8'),
        ({'random_flip': True}, 'data.random_flip is True'),
        ({'train': TrainOptions(prng='rbg')}, "train.prng is 'rbg'"),
        ({'config': tiny_config(**{'model.num_blocks': 2})}, 'parameters.cnn is'),
        ({'dataset': part_of_digits()}, 'data.num_examples is 100'),
    ],
)
def test_another_run_is_refused_by_name(trained, arguments, named):
    other = trainer(trained.plan.workdir, **arguments)
    for use in (other.train, lambda: other.sample(1)):
        with pytest.raises(UserError, match=named):
            use()


def test_a_given_config_json_is_kept_and_compared(tmp_path):
    seen = []
    for _ in range(2):
        trainer(tmp_path / 'run', steps=1, config_json={'family': 'mine'}, require_same=seen.append).train()
    assert json.loads((tmp_path / 'run' / 'config.json').read_text()) == {'family': 'mine'}
    assert seen == [{'family': 'mine'}]  # once, when there was a run to resume


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    with pytest.raises(UserError, match='batch_size=12 does not divide over 8 devices'):
        trainer(tmp_path, batch_size=12)
    with pytest.raises(UserError, match='sample.batch_size=4 does not divide over 8 devices'):
        trainer(tmp_path, sample=SampleOptions(batch_size=4))


def test_a_class_that_does_not_exist_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match="the class '11' does not exist"):
        trainer(tmp_path, sample=SampleOptions(batch_size=8, classes=('11',)))
    with pytest.raises(UserError, match="the class 'dog' does not exist"):
        trained.sample(1, classes=['dog'])


def test_it_trains_in_a_thread(tmp_path):
    """A server or a notebook may train in a thread, where Python does not allow handlers of signals."""
    made = trainer(tmp_path / 'run', steps=2)
    thread = threading.Thread(target=made.train)
    thread.start()
    thread.join()
    assert (tmp_path / 'run' / 'checkpoints' / '2').is_dir()
