"""Read and write folders with the generator and the discriminator of R3GAN in the format of the official code."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Mapping

import jax
import numpy as np
from safetensors.numpy import save_file

from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.apps.interop import r3gan
from jaxgen.apps.interop.imported import Imported, with_image_size
from jaxgen.apps.rules import validate
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build_method
from jaxgen.errors import UserError, check
from jaxgen.io import tensors
from jaxgen.models.dcgan import SMALLEST
from jaxgen.models.r3gan import EXPANSION, stage_channels
from jaxgen.runtime.random import root_key, stream
from jaxgen.types import Fields, PyTree

ENDINGS = ('.safetensors', '.pth', '.pt', '.bin')
KINDS = ('generator', 'discriminator')
PREFIX = 'Model.'  # before each name in files that contain the wrapper of the official training code


def load(config: Config, folder: pathlib.Path) -> Imported:
    """Return the GAN of a folder, with the config that describes it; a missing discriminator is replaced by a new one.

    Args:
      config: the config of the command. The fields of the networks are taken from the folder; all other fields stay.
      folder: the folder.

    Raises:
      UserError: naming the file, and the tensor that is missing or of another shape.
    """
    files = {kind: tensors.find(folder, [kind + ending for ending in ENDINGS]) for kind in KINDS}
    if files['generator'] is None:
        raise UserError(
            f'{folder} holds neither generator.safetensors nor generator.pth: name a folder with the state dict of the '
            f'generator of R3GAN'
        )
    states = {kind: _read(path) for kind, path in files.items() if path is not None}
    notes = (
        [] if 'discriminator' in states else ['there is no discriminator.safetensors: the discriminator is a new one']
    )
    sizes = _sizes(states['generator'], files['generator'])
    channels, num_classes = sizes.pop('out_channels'), sizes.pop('num_classes')
    side = SMALLEST * 2 ** (len(sizes['model.channels']) - 1)
    config = with_image_size(config.replace(sizes), side, channels, f'{files["generator"]}: channels')
    names = data.facts(config).class_names
    check(
        num_classes in (0, len(names)),
        f'{files["generator"]}: EmbeddingLayer.weight is for {num_classes} classes, but config.data.name={config.data.name} '
        f'has {len(names)}: choose another --config',
    )
    validate(config)
    method = build_method(config, (side, side, channels), len(names))
    key = stream(root_key(config.seed, config.train.prng), 'init')
    template = jax.eval_shape(method.init, key)
    weights = {
        kind: {'params': _params(state, kind, method.networks(template)[kind], files[kind])}
        for kind, state in states.items()
    }
    return Imported(config, method, jax.jit(method.from_weights)(weights, key), tuple(notes))


def write(trained: Trained, weights: Mapping[str, PyTree], folder: pathlib.Path) -> str:
    """Fill a folder with the two state dicts, and with the arguments of the official networks in ``config.json``.

    Args:
      trained: the model.
      weights: its weights, as ``Method.weights`` returns them.
      folder: an empty folder.

    Returns:
      A description of the contents of the folder for the user.
    """
    for kind in KINDS:
        state = r3gan.to_official(weights[kind]['params'], kind)
        save_file(state, folder / f'{kind}.safetensors', metadata={'format': 'pt'})
    arguments = json.dumps(_arguments(trained.method), indent=2)
    (folder / 'config.json').write_text(arguments + '\n')
    return 'the state dicts of the generator and the discriminator of R3GAN'


def _arguments(method: PyTree) -> Fields:
    """Return the arguments of the official networks for a method, by network."""
    generator: PyTree = method.generator
    widths = stage_channels(generator.image_size, generator.channels)
    classes = generator.num_classes or None

    def common(widths: list[int], embedding: int) -> Fields:
        return {
            'WidthPerStage': widths,
            'CardinalityPerStage': [EXPANSION * width // generator.group_size for width in widths],
            'BlocksPerStage': [generator.num_blocks] * len(widths),
            'ExpansionFactor': EXPANSION,
            'ConditionDimension': classes,
            'ConditionEmbeddingDimension': embedding if classes else 0,
        }

    return {
        'generator': {'NoiseDimension': generator.latent_size, **common([*widths], generator.latent_size)},
        'discriminator': common([*reversed(widths)], widths[0]),
    }


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read a state dict without its filters, which are constant, and without the prefix of a wrapper."""
    stored = {name.removeprefix(PREFIX): x for name, x in tensors.read(path).items()}
    return tensors.float32({name: x for name, x in stored.items() if not name.endswith(r3gan.FILTER_NAME)}, path)


def _sizes(state: Mapping[str, np.ndarray], path: object) -> dict[str, PyTree]:
    """Return the fields of the config that the tensors of a generator describe, and ``out_channels`` and ``num_classes``."""
    pattern = re.compile(r'MainLayers\.(\d{1,2})\.Layers\.(\d{1,2})\.LinearLayer2\.Layer\.weight')
    blocks = [(int(found[1]), int(found[2])) for found in map(pattern.fullmatch, state) if found]
    check(bool(blocks), f'{path} is no generator of R3GAN: it has no MainLayers.0.Layers.1.LinearLayer2.Layer.weight')
    stages, num_blocks = 1 + max(stage for stage, _ in blocks), max(block for _, block in blocks)

    def tensor(name: str, ndim: int) -> np.ndarray:
        check(name in state, f'{path}: {name} is missing')
        check(state[name].ndim == ndim and state[name].size > 0, f'{path}: {name} must have {ndim} dimensions')
        return state[name]

    widths = tuple(
        tensor(f'MainLayers.{stage}.Layers.1.LinearLayer1.Layer.weight', 4).shape[1] for stage in range(stages)
    )
    conditional = 'EmbeddingLayer.weight' in state
    return {
        'model.channels': widths,
        'model.num_blocks': num_blocks,
        'model.group_size': tensor('MainLayers.0.Layers.1.LinearLayer2.Layer.weight', 4).shape[1],
        'model.latent_size': tensor('MainLayers.0.Layers.0.LinearLayer.weight', 2).shape[1] // (1 + conditional),
        'model.conditional': conditional,
        'num_classes': tensor('EmbeddingLayer.weight', 2).shape[1] if conditional else 0,
        'out_channels': len(tensor('AggregationLayer.Layer.weight', 4)),
    }


def _params(state: Mapping[str, np.ndarray], kind: str, shapes: PyTree, where: object) -> PyTree:
    """Return the parameters of a network from a state dict, whose tensors must match those of the network."""
    empty = jax.tree.map(lambda s: np.empty(s.shape, np.bool_), shapes)
    official = r3gan.to_official(empty, kind)
    expected = {name: x.shape for name, x in official.items() if not name.endswith(r3gan.FILTER_NAME)}
    tensors.require(state, expected, where)
    return r3gan.from_official(state, kind, shapes)
