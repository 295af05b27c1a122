"""The random numbers of training: no two steps share one, for every method, with everything random switched on."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen import methods
from jaxgen.apps.untrained import build_method
from jaxgen.methods.lora import FineTunedDiffusion
from jaxgen.models import lora
from jaxgen.optim.accumulate import value_and_grad
from jaxgen.training.state import initializer
from jaxgen.training.step import train_step
from tests.helpers.recording import recorded_keys
from tests.tiny import tiny_config

KEY = jax.random.key(0)
EVERYTHING = {
    'ddpm': {'diffusion.label_dropout': 0.25, 'model.dropout': 0.1, 'diffusion.augment': 0.5},
    'dcgan': {'gan.augment': ('color', 'translation', 'cutout'), 'gan.diffusion_noise': True},
    'r3gan': {'gan.augment': ('color', 'translation', 'cutout')},
    'judge': {},
}
# The number of calls of each function of jax.random in a step. The first bernoulli of each method mirrors images.
# The rest of a diffusion step: dropout of labels and of a layer, timesteps, noise, and the augmentation.
DIFFUSION = {'bernoulli': 1 + 2 + 2, 'randint': 1, 'normal': 1 + 3, 'uniform': 1 + 2}
SAMPLED = {
    'ddpm': DIFFUSION,
    'fine-tuned': DIFFUSION,
    # Three sets of images are augmented (real, generated for the discriminator, generated for the generator); one of latents.
    'dcgan': {'bernoulli': 1, 'uniform': 3 * 2, 'randint': 3 * 2, 'normal': 3 + 1},
    'r3gan': {
        'bernoulli': 1,
        'uniform': 3,
        'randint': 3 * 2,
        'normal': 1,
    },  # the same without the noise of Diffusion-GAN
    'judge': {'bernoulli': 1, 'randint': 1},
}


def build(name):
    if name != 'fine-tuned':
        return build_method(tiny_config(name, **EVERYTHING[name]), (8, 8, 1), 10)
    plain = build('ddpm')
    base = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), jax.eval_shape(plain.init, KEY).params)
    return FineTunedDiffusion.from_method(plain, base=base, paths=tuple(lora.layers(base))[:2], rank=2)


def test_all_methods_are_tested():
    assert methods.METHODS.keys() == EVERYTHING.keys()


@pytest.mark.parametrize('name', SAMPLED)
def test_two_steps_share_no_random_number(name, monkeypatch):
    """No two uses within a step share one either: each key is used once."""
    method = build(name)
    start = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(initializer(method, KEY)))
    start = start.replace(model=method.with_frozen(start.model))
    batch = {'image': np.zeros((4, 8, 8, 1), np.uint8), 'label': np.arange(4, dtype=np.int32)}

    @jax.jit
    def keys_of(step):  # the compiler drops all but the keys
        with recorded_keys(monkeypatch) as found:
            train_step(method, KEY, True, start.replace(step=step), batch)
        assert collections.Counter(name for name, _ in found) == SAMPLED[name]
        return jnp.stack([key for _, key in found])

    keys = np.concatenate([keys_of(step) for step in range(2)])
    assert len(np.unique(keys, axis=0)) == len(keys)


def test_micro_batches_have_dropout_of_their_own():
    def loss(params, examples, key):
        return params * jax.random.uniform(key)

    _, slope = value_and_grad(loss, jnp.ones(()), jnp.zeros((6, 1)), KEY, 3)
    each = [jax.random.uniform(jax.random.fold_in(KEY, i)) for i in range(3)]
    assert len(set(map(float, each))) == 3
    np.testing.assert_allclose(slope, np.mean(each), rtol=1e-6)
