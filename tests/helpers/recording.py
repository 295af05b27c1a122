"""Networks and random functions that record how they are called."""

import contextlib
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

RANDOM = (
    'bernoulli',
    'bits',
    'categorical',
    'choice',
    'normal',
    'permutation',
    'randint',
    'truncated_normal',
    'uniform',
)


class Call(NamedTuple):
    """The inputs of one call of a network."""

    x: np.ndarray
    t: np.ndarray
    labels: np.ndarray
    train: bool
    has_dropout_key: bool


class RecordingNetwork(nn.Module):
    """A network with one parameter that appends the inputs of each call to ``calls``, also of calls that are traced."""

    out_channels: int
    calls: object
    num_classes: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, t, labels=None, *, train=False):
        jax.debug.callback(self.calls.add, x, t, labels, train, self.has_rng('dropout'), ordered=True)
        scale = self.param('scale', nn.initializers.ones, ())
        return scale * jnp.ones((*x.shape[:3], self.out_channels), x.dtype)


class Calls:
    """The calls of a recording network."""

    def __init__(self):
        self._calls = []

    def add(self, *inputs):
        self._calls.append(Call(*map(np.array, inputs)))

    def take(self):
        """Return the calls since the last time."""
        jax.effects_barrier()
        found, self._calls = self._calls, []
        return found


@contextlib.contextmanager
def recorded_keys(monkeypatch):
    """Record every sample of ``jax.random`` as ``(function, data of the key)`` in the list that this yields.

    Samples of which only the shape is computed do not count: Flax asks for those of its initialisers.
    """
    found, shapes, eval_shape = [], [], jax.eval_shape

    def recording(name, function):
        def record(key, *args, **kwargs):
            if not shapes:
                found.append((name, jax.random.key_data(key)))
            return function(key, *args, **kwargs)

        return record

    def without_recording(*args, **kwargs):
        shapes.append(True)
        try:
            return eval_shape(*args, **kwargs)
        finally:
            shapes.pop()

    with monkeypatch.context() as patched:
        patched.setattr(jax, 'eval_shape', without_recording)
        for name in RANDOM:
            patched.setattr(jax.random, name, recording(name, getattr(jax.random, name)))
        yield found
