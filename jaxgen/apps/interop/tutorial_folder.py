"""Folders with the generator and the discriminator of the PyTorch tutorial's DCGAN, each a file of tensors."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from jaxgen.apps.interop import dcgan
from jaxgen.apps.interop.imported import Imported, data_fields
from jaxgen.apps.rules import validate
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build_method
from jaxgen.errors import check
from jaxgen.io import tensors
from jaxgen.models.dcgan import SMALLEST, Discriminator, Generator
from jaxgen.runtime.random import root_key, stream

ENDINGS = ('.safetensors', '.pth', '.pt', '.bin')
KINDS = {'generator': 'up', 'discriminator': 'down'}
# Fields of the config of which the tutorial's networks have these values and no other.
ONLY = {
    'model.conditional': False,
    'model.batch_norm': True,
    'model.spectral_norm': False,
    'gan.diffusion_noise': False,
}


def load(config: ConfigDict, folder: pathlib.Path) -> Imported:
    """The GAN of a folder, with the config that makes it; its discriminator is a new one where the folder has none.

    Args:
      config: of the command: its data, optimiser, loss and sampling stay.

    Raises:
      UserError: naming the file, and the tensor, that is missing or of another shape.
    """
    files = {
        name: tensors.find(folder, [name + ending for ending in ENDINGS]) for name in ('generator', 'discriminator')
    }
    check(
        files['generator'] is not None,
        f"{folder} holds no generator.safetensors and no generator.pth, the state dict of the PyTorch tutorial's "
        f'generator',
    )
    generator, own = _load_generator(files['generator'])
    variables = {'generator': own}
    notes = ['it draws with the running statistics of the file, and once trained further with those of its average']
    if files['discriminator']:
        variables['discriminator'] = _load_discriminator(files['discriminator'], generator)
    else:
        notes.append('there is no discriminator.safetensors and no discriminator.pth: the discriminator is a new one')

    image_shape = (generator.image_size, generator.image_size, generator.out_channels)
    sizes = {'model.base_channels': generator.base_channels, 'model.latent_size': generator.latent_size}
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(ONLY | sizes)
    data_fields(config, *image_shape[1:], f'{files["generator"]}: channels')
    validate(config)
    method = build_method(config, image_shape, 1)
    model = jax.jit(method.from_weights)(variables, stream(root_key(config.seed, config.train.prng), 'init'))
    return Imported(config, method, model, tuple(notes))


def write(trained: Trained, weights: Mapping[str, Any], folder: pathlib.Path) -> str:
    """Fills a folder with ``generator.safetensors``, ``discriminator.safetensors`` and their sizes in ``config.json``.

    Args:
      weights: see ``Method.weights``.

    Returns:
      What there is to say about it.

    Raises:
      UserError: naming the field of the config that the tutorial's networks do not have.
    """
    for field, ours in ONLY.items():
        group, name = field.split('.')
        value = trained.config[group][name]
        check(value == ours, f'config.{field}={value} cannot be exported: the PyTorch tutorial has {ours}')
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
    """What matters of a state dict: without counters, and without the prefix that ``nn.DataParallel`` puts before it."""
    stored = {name.removeprefix('module.'): x for name, x in tensors.read(path).items()}
    return tensors.float32({name: x for name, x in stored.items() if not name.endswith(dcgan.COUNTER)}, path)


def _load_generator(path: pathlib.Path) -> tuple[Generator, dict[str, Any]]:
    """The generator of which the first and the last layer are those of a file, and its variables."""
    state = _read(path)
    levels = dcgan.num_levels(state, 'up', path)
    first, last = 'main.0.weight', f'main.{3 * levels}.weight'
    for name in (first, last):
        check(name in state and state[name].ndim == 4, f'{path}: {name} is missing')
    base, channels = state[last].shape[:2]
    network = Generator(SMALLEST * 2**levels, channels, base, len(state[first]))
    return network, _variables(network, state, 'up', jnp.zeros((2, network.latent_size)), path)


def _load_discriminator(path: pathlib.Path, generator: Generator) -> dict[str, Any]:
    """The variables of the discriminator of a file, for the images of this generator and as wide as that."""
    state = _read(path)
    ndf, ngf = len(state.get('main.0.weight', ())), generator.base_channels
    check(
        ndf in (0, ngf),
        f'{path}: ndf={ndf}, but the generator has ngf={ngf}, and in jaxgen both are config.model.base_channels',
    )
    images = jnp.zeros((2, generator.image_size, generator.image_size, generator.out_channels))
    return _variables(Discriminator(generator.image_size, ngf), state, 'down', images, path)


def _variables(
    network: nn.Module, state: Mapping[str, np.ndarray], kind: str, example: jax.Array, where: object
) -> Any:
    """Of a network, once the tensors are found to be its own."""
    label = jnp.zeros(2, jnp.int32)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), example, label))
    flat = jax.tree.map(lambda s: np.empty(s.shape, np.bool_), shapes)
    tensors.require(state, {name: x.shape for name, x in dcgan.to_tutorial(flat, kind).items()}, where)
    return dcgan.from_tutorial(state, kind)
