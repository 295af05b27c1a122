"""Describe the model of a benchmark: its facts, and for PyTorch its weights and an example of a training step."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview

from jaxgen.apps.benchmark.measure import examples
from jaxgen.apps.config import Config
from jaxgen.apps.interop.workdirs import FORMATS
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build
from jaxgen.diffusion.schedules import DiscreteSchedule
from jaxgen.errors import UserError, check
from jaxgen.io.images import from_uint8
from jaxgen.methods import DCGAN, METHODS, Diffusion
from jaxgen.methods.base import Method
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.random import root_key, stream
from jaxgen.training.state import initializer
from jaxgen.training.step import train_step
from jaxgen.types import Array, Fields, JsonObject, PyTree

CHECKED = 8  # images in the example


@dataclasses.dataclass(frozen=True)
class Counterpart:
    """The conditions under which a training step equals that of the counterpart in PyTorch, whose weights ``FORMATS`` writes.

    Attributes:
      loss: the fields of the config that determine the loss and the update, with the values of the counterpart.
      deterministic: the values of fields of the config with which a step depends on ``random_inputs`` alone.
      random_inputs: a function of the method and of the key of a step that returns the random numbers of the step.
    """

    loss: Fields
    deterministic: Fields
    random_inputs: Callable[[Any, Array], dict[str, Array]]


def _diffusion_inputs(method: Diffusion, key: Array) -> dict[str, Array]:
    time_key, noise_key, _ = jax.random.split(key, 3)
    t = jax.random.randint(time_key, (CHECKED,), 0, cast(DiscreteSchedule, method.schedule).timesteps)
    return {'noise': jax.random.normal(noise_key, (CHECKED, *method.image_shape)), 't': t}


def _dcgan_inputs(method: DCGAN, key: Array) -> dict[str, Array]:
    latent_key = jax.random.split(jax.random.fold_in(key, 1), 4)[0]
    return {'latents': jax.random.normal(latent_key, (CHECKED, method.generator.latent_size))}


ADAM = {'optimizer.name': 'adam', 'optimizer.beta2': 0.999}
EPS_LOSS = {
    'diffusion.parameterisation': 'eps',
    'diffusion.weighting': 'simple',
    'diffusion.label_dropout': 0.0,
    'diffusion.augment': None,
}
COUNTERPARTS = {
    'ddpm': Counterpart(EPS_LOSS | ADAM, {'model.dropout': 0.0}, _diffusion_inputs),
    'dcgan': Counterpart(ADAM, {}, _dcgan_inputs),
}


def describe(config: Config, folder: pathlib.Path) -> JsonObject:
    """Return the facts of a model, and fill a folder with the files of its counterpart in PyTorch.

    These are the weights in PyTorch's format, and ``example.npz``: a batch with the random numbers of a training step. All
    weights are random, since layers that start at zero would hide an error.

    Args:
      config: the config of the benchmark.
      folder: the folder to fill.

    Returns:
      ``platform``, ``device``, ``devices``, ``versions``; ``image_shape``, ``num_classes``, ``parameters`` of each
      network, ``flops`` of an image in each case; the ``losses`` of a step on the example without dropout, or ``no_twin``,
      the reason why PyTorch has no such model.
    """
    method, class_names = build(config)
    key = root_key(config.seed, config.train.prng)
    model = randomised(jax.jit(method.init)(stream(key, 'init')))
    device = jax.devices()[0]
    facts = {
        'platform': device.platform,
        'device': device.device_kind,
        'devices': jax.device_count(),
        'image_shape': method.image_shape,
        'num_classes': len(class_names),
        'versions': {'jax': jax.__version__, 'jaxlib': jax.lib.__version__},
        'parameters': {n: int(parameter_overview.count_parameters(p)) for n, p in method.networks(model).items()},
        'flops': {'train': training_flops(config, method)},
    }
    if method.capabilities.samples:
        facts['flops']['sample'] = sampling_flops(config)
    folder.mkdir(exist_ok=True)
    try:
        require_counterpart(config)
        weights = method.weights(model, stream(key, 'statistics'), ema=False)
        trained = Trained(config, method, make_mesh(config.mesh.fsdp), 0, model, class_names)
        FORMATS[config.method].write(trained, weights, folder)
    except UserError as e:
        return facts | {'no_twin': str(e)}
    images, labels = examples(method.image_shape, len(class_names))
    batch = {'image': from_uint8(images[:CHECKED]), 'label': labels[:CHECKED]}
    _, metrics = jax.jit(without_dropout(config).step)(model, batch, key)
    example: dict[str, PyTree] = {**batch, **COUNTERPARTS[config.method].random_inputs(method, key)}
    np.savez(folder / 'example.npz', **example)
    return facts | {'losses': {name: float(m) for name, m in metrics.items() if name.startswith('loss')}}


def require_counterpart(config: Config) -> None:
    """Refuse a method or a loss that has no counterpart in PyTorch.

    Raises:
      UserError: naming the field.
    """
    check(config.method in COUNTERPARTS, f'config.family={config.method} has no counterpart in PyTorch here')
    for field, value in COUNTERPARTS[config.method].loss.items():
        section, _, name = field.partition('.')
        own = getattr(config.sections[section], name)
        check(own == value, f'config.{field}={own} has no counterpart in PyTorch here, which has {value}')


def without_dropout(config: Config) -> Method:
    """Return the method whose training step depends on ``Counterpart.random_inputs`` alone."""
    return build(config.replace(COUNTERPARTS[config.method].deterministic))[0]


def randomised(model: PyTree) -> PyTree:
    """Add noise to every number of a model except those of the optimizer; variances stay positive."""
    rng = np.random.default_rng(0)

    def noisy(path: tuple, x: Array) -> Array:
        where = jax.tree_util.keystr(path)
        if 'opt_state' in where or not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        noise = 0.02 * rng.normal(size=x.shape).astype(x.dtype)
        return x + (np.abs(noise) if where.endswith("['var']") else noise)

    return jax.tree.map_with_path(noisy, model)


def training_flops(config: Config, method: Method) -> float:
    """Return the floating-point operations of a training step for one image.

    Args:
      config: the config of the benchmark.
      method: the method of that config.
    """
    size, key = config.data.batch_size, root_key(config.seed, config.train.prng)
    state = jax.eval_shape(initializer(method, key))
    batch = {
        'image': jax.ShapeDtypeStruct((size, *method.image_shape), jnp.uint8),
        'label': jax.ShapeDtypeStruct((size,), jnp.int32),
    }
    return flops(lambda s, b: train_step(method, key, config.data.random_flip, s, b), state, batch) / size


def sampling_flops(config: Config) -> float:
    """Return the floating-point operations of sampling one image.

    XLA counts the body of a loop once, so the operations of a single network call are multiplied by the number of calls.

    Args:
      config: the config of the benchmark.
    """
    calls = build(config)[0].sampling_protocol()['network_calls']
    once = config.replace({'sample.num_steps': 1}) if METHODS[config.method].supports.denoises else config
    method, _ = build(once)
    key, size = root_key(config.seed), config.sample.batch_size
    variables = jax.eval_shape(lambda: method.sampling_variables(method.init(key), key, False))
    keys, labels = jax.eval_shape(lambda: (jax.random.split(key, size), jnp.zeros(size, jnp.int32)))
    return calls * flops(method.sample, variables, keys, labels) / size


def flops(function: Callable[..., object], *inputs: PyTree) -> float:
    """Return the number of floating-point operations of ``function``, before compiler optimisation.

    Args:
      function: a function that can be traced.
      *inputs: its arguments: trees of arrays, or of their shapes.
    """
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), inputs)
    with jax.default_device(jax.local_devices(backend='cpu')[0]):  # other backends do not count operations
        analysis = jax.jit(function).lower(*shapes).cost_analysis()
    if analysis is None:
        raise RuntimeError('this version of XLA counts no operations')
    return analysis['flops']
