"""Folders of diffusers: a ``UNet2DModel``, alone or with its scheduler in a pipeline."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
from ml_collections import ConfigDict
from safetensors.numpy import save_file

from jaxgen.apps.interop import scheduler, unet, unet_config
from jaxgen.apps.interop.imported import Imported, data_fields
from jaxgen.apps.rules import validate
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build_method
from jaxgen.data import SOURCES, class_names
from jaxgen.errors import UserError, check, names
from jaxgen.io import tensors
from jaxgen.io.hub import WEIGHTS

PIPELINES = ('DDPMPipeline', 'DDIMPipeline')


def load(config: ConfigDict, folder: pathlib.Path) -> Imported:
    """The model of a folder, with the config that makes it.

    Args:
      config: of the command: its data, optimiser and sampling stay, with the model's fields and, where the folder holds
        a scheduler, its schedule instead.

    Raises:
      UserError: naming the file, and the field or tensor, that is missing or cannot be represented.
    """
    _require_pipeline(folder)
    config = config.copy_and_resolve_references()
    network_folder = folder / 'unet' if (folder / 'unet').is_dir() else folder
    image_shape, num_classes = _describe_network(config, network_folder / 'config.json')
    note = _describe_schedule(config, folder)
    validate(config)
    method = build_method(config, image_shape, num_classes)
    weights = tensors.find(network_folder, (f'{WEIGHTS}.safetensors', f'{WEIGHTS}.bin'))
    check(weights is not None, f'{network_folder} holds neither {WEIGHTS}.safetensors nor {WEIGHTS}.bin')
    stored = tensors.float32(tensors.read(weights), weights)
    params = unet.from_diffusers(stored, method.network, image_shape[0], weights)
    return Imported(config, method, jax.jit(method.start)(params), (note,))


def _require_pipeline(folder: pathlib.Path) -> None:
    """Refuses pipelines that have more than a network and a scheduler."""
    index = folder / 'model_index.json'
    if index.is_file():
        kind = _json(index).get('_class_name')
        check(kind in PIPELINES, f'{index}: _class_name={kind}, and jaxgen reads {" and ".join(PIPELINES)}')


def _describe_network(config: ConfigDict, path: pathlib.Path) -> tuple[tuple[int, int, int], int]:
    """Sets ``config.model`` and the size of the images; returns the shape of an image and the number of classes."""
    theirs = _json(path)
    kind = theirs.get('_class_name')
    check(kind == 'UNet2DModel', f'{path}: _class_name={kind}, and jaxgen reads UNet2DModel')
    source = SOURCES[config.data.name]
    side = unet_config.side(theirs, config.data.image_size or source.image_size, path)
    config.model.update(unet_config.to_model(theirs, config.model, side, path))
    channels = {**unet_config.DEFAULTS, **theirs}['in_channels']
    data_fields(config, side, channels, f'{path}: in_channels')
    num_classes = len(class_names(config.data.name, names(config.data.classes)))
    expected = theirs.get('num_class_embeds')
    check(
        expected in (None, num_classes + (config.diffusion.label_dropout > 0)),
        f'{path}: num_class_embeds={expected}, but there are {num_classes} classes in config.data.name='
        f'{config.data.name} with config.data.classes={config.data.classes!r}: choose others',
    )
    return (side, side, channels), num_classes


def _describe_schedule(config: ConfigDict, folder: pathlib.Path) -> str:
    """Sets ``config.diffusion`` where the folder says it; returns what there is to say about it."""
    path = tensors.find(folder, ('scheduler/scheduler_config.json', 'scheduler_config.json'))
    if path is None:
        steps = config.diffusion.timesteps
        return f'there is no scheduler_config.json, so its timesteps are those of config.diffusion: {steps}'
    fields, sampler = scheduler.to_diffusion(_json(path), path)
    config.diffusion.update(fields)
    return f'diffusers draws with --config.sample.sampler={sampler}, in as many steps as are asked for'


def write(trained: Trained, weights: Mapping[str, Any], folder: pathlib.Path) -> str:
    """Fills a folder so that ``DDPMPipeline.from_pretrained`` loads it.

    Args:
      weights: see ``Method.weights``.

    Returns:
      What there is to say about it.

    Raises:
      UserError: naming the field of the config that diffusers cannot represent.
    """
    c, (side, _, channels) = trained.config, trained.method.image_shape
    description = unet_config.from_model(c.model, side, channels, trained.method.network.num_classes)
    schedule = scheduler.from_diffusion(c.diffusion, c.sample.sampler)
    state = unet.to_diffusers(weights['params'], trained.method.network)
    for part in ('unet', 'scheduler'):
        (folder / part).mkdir()
    index = {
        '_class_name': 'DDPMPipeline',
        'scheduler': ['diffusers', schedule['_class_name']],
        'unet': ['diffusers', description['_class_name']],
    }
    _write_json(folder / 'model_index.json', index)
    _write_json(folder / 'scheduler' / 'scheduler_config.json', schedule)
    _write_json(folder / 'unet' / 'config.json', description)
    save_file(state, folder / 'unet' / f'{WEIGHTS}.safetensors', metadata={'format': 'pt'})
    if c.model.conditional:
        return 'a DDPMPipeline, of which the unet alone takes class_labels'
    return 'a DDPMPipeline'


def _json(path: pathlib.Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as e:
        raise UserError(f'{path.parent} holds no {path.name}, and is no folder of diffusers') from e
    except (ValueError, OSError) as e:
        raise UserError(f'{path} is not a whole JSON file ({e}): get it again') from e
    check(isinstance(content, dict), f'{path} is not a description of fields')
    return content


def _write_json(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(dict(content), indent=2, sort_keys=True) + '\n')
