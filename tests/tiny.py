"""The smallest configs that do everything: a few thousand parameters on 8x8 digits, compiled in seconds."""

import json
import os
import pathlib

import pytest

from jaxgen.apps.config import SHARED, Config, base
from jaxgen.apps.restore import build
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.random import root_key
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.state import start_on_mesh

UNET = {'model.name': 'unet'}  # for what is the UNet's own

# Run by hand: JAXGEN_LONG_TESTS=1 python -m pytest tests
LONG = pytest.mark.skipif(not os.environ.get('JAXGEN_LONG_TESTS'), reason='long: set JAXGEN_LONG_TESTS=1')
# For processes that train: they write no events for TensorBoard, whose writer takes longer to import than they run.
WITHOUT_TENSORFLOW = os.environ | {
    'PYTHONPATH': str(pathlib.Path(__file__).parent / 'without_tensorflow'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
}


def tiny_config(family='ddpm', /, **fields):
    """Return a config with all sections; ``fields`` by dotted name, as in ``tiny_config('dcgan', **{'train.steps': 4})``."""
    return Config.from_tree(tiny_draft(family, **fields).to_dict(), SHARED)


def tiny_draft(family='ddpm', /, **fields):
    """Return the same as a config file makes it."""
    c = base(family)
    c.data.name = 'digits'
    c.data.batch_size = 16
    if family in ('ddpm', 'dcgan'):
        c.model.base_channels = 8
    if family != 'judge':
        c.model.conditional = True
    c.optimizer.ema_decay = 0.9
    c.train.steps = 12
    c.train.log_every = 4
    c.checkpoint.every = 4
    c.sample.num = 16
    c.sample.batch_size = 16
    c.sample.every = 6
    c.sample.name = 'samples'
    if family == 'ddpm':
        c.model.name = 'cnn'  # it compiles in a quarter of the time of the UNet
        c.model.num_blocks = 1
        c.model.channel_multipliers = (1,)
        c.model.num_res_blocks = 1
        c.model.attention_resolutions = ()
        c.model.norm_groups = 4
        c.diffusion.timesteps = 20
        c.diffusion.schedule = 'linear_betas'
        c.optimizer.warmup_steps = 2
        c.sample.num_steps = 4
    if family == 'dcgan':
        c.model.latent_size = 6
    if family == 'r3gan':
        c.model.channels = (8, 4)
        c.model.num_blocks = 1
        c.model.group_size = 4
        c.model.latent_size = 6
    if family == 'judge':
        c.model.widths = (4, 8)
        c.optimizer.learning_rate = 0.1
        c.optimizer.warmup_steps = 2
        c.optimizer.decay_steps = 12
    c.update_from_flattened_dict(fields)
    if 'sample.every' not in fields and c.train.steps < c.sample.every:
        c.sample.every = None  # such short runs would spend most of their time on the grid at their end
    return c


def untrained(c, workdir, step=4, change=lambda model: model):
    """A workdir as a run of ``c`` leaves it, with random weights: nothing but their drawing is compiled.

    ``change`` makes another model of that before the first step.
    """
    (family, _), key, mesh = build(c, workdir), root_key(c.seed, c.train.prng), make_mesh()
    _, state = start_on_mesh(family, key, mesh)
    state = state.replace(step=state.step + step, model=change(state.model))
    workdir.mkdir(parents=True)
    (workdir / 'config.json').write_text(json.dumps(c.to_tree()))
    checkpoints = Checkpoints(workdir / 'checkpoints')
    checkpoints.save(step, state)
    checkpoints.wait()
    checkpoints.close()
    rows = [{'step': i, 'loss': 1 / i, 'steps_per_sec': 10.0} for i in range(1, step + 1)]
    (workdir / 'metrics.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return workdir
