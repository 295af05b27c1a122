"""Read and write folders with the generator and the discriminator of the PyTorch tutorial's DCGAN."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from jaxgen.apps.config import Config
from jaxgen.apps.interop import dcgan
from jaxgen.apps.interop.imported import Imported, with_image_size
from jaxgen.apps.rules import validate
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build_method
from jaxgen.errors import UserError, check
from jaxgen.io import tensors
from jaxgen.models.dcgan import SMALLEST, Discriminator, Generator
from jaxgen.runtime.random import root_key, stream
from jaxgen.types import PyTree

ENDINGS = ('.safetensors', '.pth', '.pt', '.bin')
KINDS = {'generator': 'up', 'discriminator': 'down'}
# Fields of the config with the only values that the tutorial's networks have.
ONLY = {
    'model.conditional': False,
    'model.batch_norm': True,
    'model.spectral_norm': False,
    'gan.diffusion_noise': False,
}


def load(config: Config, folder: pathlib.Path) -> Imported:
    """Return the GAN of a folder, with the config that describes it; a missing discriminator is replaced by a new one.

    Args:
      config: the config of the command. The fields of the networks are taken from the folder; all other fields stay.
      folder: the folder.

    Raises:
      UserError: naming the file, and the tensor that is missing or of another shape.
    """
    files = {name: tensors.find(folder, [name + ending for ending in ENDINGS]) for name in KINDS}
    if files['generator'] is None:
        raise UserError(
            f'{folder} holds neither generator.safetensors nor generator.pth: name a folder with the state dict of the '
            f"PyTorch tutorial's generator"
        )
    generator, own = _load_generator(files['generator'])
    variables = {'generator': own}
    notes = [
        'the generator samples with the running statistics of the file; after further training it samples with statistics of '
        'its averaged weights'
    ]
    if files['discriminator'] is None:
        notes.append('there is no discriminator.safetensors and no discriminator.pth: the discriminator is a new one')
    else:
        variables['discriminator'] = _load_discriminator(files['discriminator'], generator)

    image_shape = (generator.image_size, generator.image_size, generator.out_channels)
    sizes = {'model.base_channels': generator.base_channels, 'model.latent_size': generator.latent_size}
    config = with_image_size(config.replace(ONLY | sizes), *image_shape[1:], f'{files["generator"]}: channels')
    validate(config)
    method = build_method(config, image_shape, 1)
    model = jax.jit(method.from_weights)(variables, stream(root_key(config.seed, config.train.prng), 'init'))
    return Imported(config, method, model, tuple(notes))


def write(trained: Trained, weights: Mapping[str, PyTree], folder: pathlib.Path) -> str:
    """Fill a folder with ``generator.safetensors``, ``discriminator.safetensors`` and their sizes in ``config.json``.

    Args:
      trained: the model.
      weights: its weights, as ``Method.weights`` returns them.
      folder: an empty folder.

    Returns:
      A description of the contents of the folder for the user.

    Raises:
      UserError: naming the field of the config that the tutorial's networks do not have.
    """
    for field, theirs in ONLY.items():
        section, _, name = field.partition('.')
        value = getattr(trained.config.sections[section], name)
        check(value == theirs, f'config.{field}={value} cannot be exported: the PyTorch tutorial has {theirs}')
    networks = {name: dcgan.to_tutorial(weights[name], kind) for name, kind in KINDS.items()}
    for name, state in networks.items():
        norms = [key.removesuffix('running_mean') for key in state if key.endswith('running_mean')]
        counters = {f'{norm}{dcgan.COUNTER}': np.array(trained.model.updates, np.int64) for norm in norms}
        save_file(state | counters, folder / f'{name}.safetensors', metadata={'format': 'pt'})
    side, _, channels = trained.method.image_shape
    m = trained.config.model
    sizes = {'image_size': side, 'nc': channels, 'nz': m.latent_size, 'ngf': m.base_channels, 'ndf': m.base_channels}
    (folder / 'config.json').write_text(json.dumps(sizes, indent=2) + '\n')
    return "the state dicts of the PyTorch tutorial's generator and discriminator"


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read a state dict without its counters, and without the prefix that ``nn.DataParallel`` puts before each name."""
    stored = {name.removeprefix('module.'): x for name, x in tensors.read(path).items()}
    return tensors.float32({name: x for name, x in stored.items() if not name.endswith(dcgan.COUNTER)}, path)


def _load_generator(path: pathlib.Path) -> tuple[Generator, PyTree]:
    """Return the generator of a file, whose first and last layer give its sizes, and its variables."""
    state = _read(path)
    levels = dcgan.num_levels(state, 'up', path)
    first, last = 'main.0.weight', f'main.{3 * levels}.weight'
    for name in (first, last):
        check(name in state, f'{path}: {name} is missing')
        check(state[name].ndim == 4 and state[name].size > 0, f'{path}: {name} is no kernel of a convolution')
    base, channels = state[last].shape[:2]
    network = Generator(SMALLEST * 2**levels, channels, base, len(state[first]))
    return network, _variables(network, state, 'up', jnp.zeros((2, network.latent_size)), path)


def _load_discriminator(path: pathlib.Path, generator: Generator) -> dict[str, PyTree]:
    """Return the variables of the discriminator of a file, which must be as wide as the generator."""
    state = _read(path)
    kernel, ngf = state.get('main.0.weight'), generator.base_channels
    ndf = len(kernel) if kernel is not None and kernel.ndim else 0
    check(
        ndf in (0, ngf),
        f'{path}: ndf={ndf}, but the generator has ngf={ngf}, and in jaxgen both are config.model.base_channels',
    )
    images = jnp.zeros((2, generator.image_size, generator.image_size, generator.out_channels))
    return _variables(Discriminator(generator.image_size, ngf), state, 'down', images, path)


def _variables(
    network: nn.Module, state: Mapping[str, np.ndarray], kind: str, example: jax.Array, where: object
) -> Any:
    """Return the variables of a network from a state dict, whose tensors must match those of the network."""
    label = jnp.zeros(2, jnp.int32)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), example, label))
    flat = jax.tree.map(lambda s: np.empty(s.shape, np.bool_), shapes)
    tensors.require(state, {name: x.shape for name, x in dcgan.to_tutorial(flat, kind).items()}, where)
    return dcgan.from_tutorial(state, kind)
