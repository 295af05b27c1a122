"""The model of a benchmark: its facts, and for the twin its weights and an example of what a step of it must give."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview
from ml_collections import ConfigDict

from jaxgen import methods as families
from jaxgen.apps.benchmark.measure import examples
from jaxgen.apps.interop.workdirs import FORMATS
from jaxgen.apps.restore import Trained
from jaxgen.data import SOURCES, class_names
from jaxgen.errors import UserError, check, names
from jaxgen.io.images import from_uint8
from jaxgen.methods.base import Family
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.random import root_key, stream
from jaxgen.training.state import initializer
from jaxgen.training.step import train_step

Array = jax.Array

CHECKED = 8  # images of the example


def build(config: ConfigDict) -> tuple[Family, tuple[str, ...]]:
    """The family of a config, whose data need not be there, and what its labels mean."""
    source = SOURCES[config.data.name]
    side = config.data.image_size or source.image_size
    labelled = class_names(config.data.name, names(config.data.classes))
    return families.build(config, (side, side, source.channels), len(labelled)), labelled


def describe(config: ConfigDict, folder: pathlib.Path) -> dict[str, Any]:
    """Fills ``folder`` with the weights as PyTorch has them and ``example.npz``, and returns facts.

    Every tensor is random: layers that start at zero would hide a fault. The example is a batch with all that a step on
    it draws at random; the ``losses`` among the facts are what comes out, without dropout.

    Returns:
      ``platform``, ``device``, ``devices``, ``versions``; ``image_shape``, ``num_classes``, ``parameters`` of each
      network, ``flops`` of an image in each case; ``losses`` of the first step, or ``no_twin``, the reason why PyTorch
      has no such model.
    """
    folder.mkdir(exist_ok=True)
    family, labelled = build(config)
    key = root_key(config.seed, config.train.prng)
    model = randomised(jax.jit(family.init)(stream(key, 'init')))
    device = jax.devices()[0]
    facts = {
        'platform': device.platform,
        'device': device.device_kind,
        'devices': jax.device_count(),
        'image_shape': family.image_shape,
        'num_classes': len(labelled),
        'versions': {'jax': jax.__version__, 'jaxlib': jax.lib.__version__},
        'parameters': {n: int(parameter_overview.count_parameters(p)) for n, p in family.networks(model).items()},
        'flops': {'train': training_flops(config, family)},
    }
    if family.draws:
        facts['flops']['sample'] = sampling_flops(config)
    try:
        if config.family not in FORMATS:
            raise UserError(f'config.family={config.family} has no counterpart in PyTorch here')
        require_plain_loss(config)
        weights = family.weights(model, stream(key, 'statistics'), ema=False)
        trained = Trained(config, family, make_mesh(config.mesh.fsdp), 0, model, labelled)
        FORMATS[config.family].write(trained, weights, folder)
    except UserError as e:
        return facts | {'no_twin': str(e)}
    images, labels = examples(family.image_shape, len(labelled))
    batch = {'image': from_uint8(images[:CHECKED]), 'label': labels[:CHECKED]}
    _, metrics = jax.jit(without_dropout(config).step)(model, batch, key)
    np.savez(folder / 'example.npz', **batch, **RANDOMNESS[config.family](family, key))
    return facts | {'losses': {name: float(m) for name, m in metrics.items() if name.startswith('loss')}}


def require_plain_loss(config: ConfigDict) -> None:
    """Refuses losses that the twin has not.

    Raises:
      UserError: naming the field.
    """
    for name, plain in (('parameterisation', 'eps'), ('weighting', 'simple'), ('label_dropout', 0.0)):
        value = config.get('diffusion', {}).get(name, plain)
        check(value == plain, f'config.diffusion.{name}={value} has no counterpart in PyTorch here')


def without_dropout(config: ConfigDict) -> Family:
    """The family of which a step is a function of what ``RANDOMNESS`` gives."""
    config = config.copy_and_resolve_references()
    if 'dropout' in config.model:
        config.model.dropout = 0.0
    return build(config)[0]


def _denoising(family: families.DDPM, key: Array) -> dict[str, Array]:
    time_key, noise_key, _ = jax.random.split(key, 3)
    t = jax.random.randint(time_key, (CHECKED,), 0, family.schedule.timesteps)
    return {'noise': jax.random.normal(noise_key, (CHECKED, *family.image_shape)), 't': t}


def _adversarial(family: families.DCGAN, key: Array) -> dict[str, Array]:
    latent_key = jax.random.split(jax.random.fold_in(key, 1), 4)[0]
    return {'latents': jax.random.normal(latent_key, (CHECKED, family.generator.latent_size))}


RANDOMNESS = {'ddpm': _denoising, 'dcgan': _adversarial}  # what a family's step draws from its key


def randomised(model: Any) -> Any:
    """The model with noise on every number but the optimiser's, variances staying positive."""
    rng = np.random.default_rng(0)

    def noisy(path, x: Array) -> Array:
        where = jax.tree_util.keystr(path)
        if 'opt_state' in where or not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        noise = 0.02 * rng.normal(size=x.shape).astype(x.dtype)
        return x + (np.abs(noise) if where.endswith("['var']") else noise)

    return jax.tree.map_with_path(noisy, model)


def training_flops(config: ConfigDict, family: Family) -> float:
    """Of an image."""
    size, key = config.data.batch_size, root_key(config.seed, config.train.prng)
    state = jax.eval_shape(initializer(family, key))
    batch = {
        'image': jax.ShapeDtypeStruct((size, *family.image_shape), jnp.uint8),
        'label': jax.ShapeDtypeStruct((size,), jnp.int32),
    }
    return flops(lambda s, b: train_step(family, key, config.data.random_flip, s, b), state, batch) / size


def sampling_flops(config: ConfigDict) -> float:
    """Of an image: those of one network call, since XLA counts one turn of a loop, times their number."""
    calls = build(config)[0].sampling_protocol()['network_calls']
    once = config.copy_and_resolve_references()
    if 'num_steps' in once.sample:
        once.sample.num_steps = 1
    family, _ = build(once)
    key, size = root_key(config.seed, config.train.prng), config.sample.batch_size
    variables = jax.eval_shape(lambda: family.sampling_variables(family.init(key), key, False))
    keys, labels = jax.eval_shape(lambda: (jax.random.split(key, size), jnp.zeros(size, jnp.int32)))
    return calls * flops(family.sample, variables, keys, labels) / size


def flops(function: Callable, *inputs: Any) -> float:
    """That the program of a function does, before the compiler changes it.

    Args:
      inputs: arrays, or their shapes.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), inputs)
    with jax.default_device(jax.local_devices(backend='cpu')[0]):  # other backends do not count
        return jax.jit(function).lower(*shapes).cost_analysis()['flops']
