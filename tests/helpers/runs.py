"""Training runs of tiny configs on the digits, and what they leave behind."""

import jax
from etils import epath

from jaxgen.apps.train import make_trainer
from jaxgen.apps.untrained import build_method
from jaxgen.data import load
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.random import root_key
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.state import initializer, state_template

WALL_CLOCK = {'steps_per_sec', 'images_per_sec', 'data_wait'}


def build(config):
    """Return the method of a config for the digits."""
    return build_method(config, (8, 8, 1), 10)


def train(config, workdir, evaluation=None):
    """Train the run of a config in a run directory."""
    make_trainer(config, build(config), load('digits', 'train'), workdir, evaluation=evaluation).train()


def final_state(config, workdir, method=None):
    """Return the state of the newest checkpoint as NumPy arrays."""
    key = root_key(config.seed, config.train.prng)
    template = state_template(initializer(method or build(config), key), make_mesh(devices=jax.devices()[:1]))
    checkpoints = Checkpoints(epath.Path(workdir) / 'checkpoints', read_only=True)
    return jax.device_get(checkpoints.restore(checkpoints.steps()[-1], template))


def without_wall_clock(rows):
    """Return the rows of a log without the values that differ between two runs of the same config."""
    return [{name: value for name, value in row.items() if name not in WALL_CLOCK} for row in rows]
