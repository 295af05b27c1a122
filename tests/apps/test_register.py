"""Pieces from outside of jaxgen: registered by a decorator, named by configs, used from both ways in."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgen
from jaxgen.cli import main
from jaxgen.errors import UserError
from tests.helpers.registries import restored

PLUGIN = """
import dataclasses
import jaxgen
import numpy as np
from jaxgen.diffusion.samplers import DDIM

@jaxgen.register('schedule', 'quick')
def quick(timesteps):
    return jaxgen.diffusion.DiscreteSchedule(np.linspace(0.01, 0.3, timesteps))

@jaxgen.register('sampler', 'noisy_ddim')
@dataclasses.dataclass(frozen=True)
class NoisyDDIM(DDIM):
    eta: float = 1.0
"""
FIELDS = [
    f'--config.{field}'
    for field in (
        *('diffusion.timesteps=20', 'train.steps=2', 'data.batch_size=8'),
        *('model.name=cnn', 'model.base_channels=8', 'model.norm_groups=4', 'model.num_blocks=1'),
        *('mesh.cpu_devices=None', 'sample.every=2', 'sample.num=4', 'sample.num_steps=2', 'sample.batch_size=8'),
    )
]


@pytest.fixture
def registries():
    """Put the registries back as they were."""
    with restored():
        yield


def test_a_plugin_on_the_command_line(registries, tmp_path, monkeypatch, capsys):
    (tmp_path / 'my_pieces.py').write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    workdir = tmp_path / 'run'
    chosen = ['--config.diffusion.schedule=quick', '--config.sample.sampler=noisy_ddim']
    command = [
        'main.py',
        '--config=configs/ddpm_digits.py',
        '--config.plugins=my_pieces',
        f'--workdir={workdir}',
        *FIELDS,
    ]
    assert main.main([*command, *chosen]) == 0, capsys.readouterr().err
    assert (workdir / 'samples' / 'step_2.png').exists()
    model = jaxgen.load(workdir)
    assert model.method.sampling.sampler_name == 'noisy_ddim' and model.noise_levels(2).alpha.shape == (3,)
    del sys.modules['my_pieces']


def test_a_schedule_and_a_sampler_in_python(registries):
    @jaxgen.register('schedule', 'short')
    def short(timesteps):
        return jaxgen.diffusion.DiscreteSchedule(np.linspace(0.01, 0.3, timesteps))

    levels = jaxgen.diffusion.schedules.SCHEDULES['short'](20).levels(4)
    x = jaxgen.diffusion.samplers.ddim(lambda x, level: jnp.zeros_like(x), levels, jnp.ones((2, 4, 4, 1)))
    assert x.shape == (2, 4, 4, 1) and float(jnp.abs(x).max()) < 1e-5


@pytest.mark.parametrize(
    ('kind', 'name', 'words'),
    [
        ('schedul', 'mine', "the kind of piece 'schedul' does not exist; did you mean schedule"),
        ('schedule', 'linear', "there is a schedule called 'linear' already"),
    ],
)
def test_what_cannot_be_registered(registries, kind, name, words):
    with pytest.raises(UserError, match=words):
        jaxgen.register(kind, name)(jax.jit)
