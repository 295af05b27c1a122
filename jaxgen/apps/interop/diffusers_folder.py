"""Read and write folders of diffusers: a ``UNet2DModel``, alone or with its scheduler in a pipeline."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import cast

import jax
from safetensors.numpy import save_file

from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.apps.interop import scheduler, unet, unet_config
from jaxgen.apps.interop.imported import Imported, with_image_size
from jaxgen.apps.rules import validate
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build_method
from jaxgen.errors import UserError, check, shown
from jaxgen.io import tensors
from jaxgen.io.files import read_object
from jaxgen.io.hub import WEIGHTS
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.models.unet import UNet
from jaxgen.runtime.random import root_key, stream
from jaxgen.types import Fields, JsonObject, PyTree

PIPELINES = ('DDPMPipeline', 'DDIMPipeline')


def load(config: Config, folder: pathlib.Path) -> Imported:
    """Return the model of a folder, with the config that describes it.

    Args:
      config: the config of the command. The fields of the model are taken from the folder, and those of the schedule if the
        folder holds a scheduler; all other fields stay.
      folder: the folder.

    Raises:
      UserError: naming the file, and the field or tensor that is missing or cannot be represented.
    """
    _require_pipeline(folder)
    network_folder = folder / 'unet' if (folder / 'unet').is_dir() else folder
    config, image_shape, num_classes = _with_network(config, network_folder / 'config.json')
    config, note = _with_schedule(config, folder)
    validate(config)
    method = cast(Diffusion, build_method(config, image_shape, num_classes))
    weights = tensors.find(network_folder, (f'{WEIGHTS}.safetensors', f'{WEIGHTS}.bin'))
    if weights is None:
        raise UserError(f'{network_folder} holds neither {WEIGHTS}.safetensors nor {WEIGHTS}.bin: download it again')
    stored = tensors.float32(tensors.read(weights), weights)
    params = unet.from_diffusers(stored, cast(UNet, method.network), image_shape[0], weights)
    key = stream(root_key(config.seed, config.train.prng), 'init')
    return Imported(config, method, jax.jit(method.from_weights)({'params': params}, key), (note,))


def _require_pipeline(folder: pathlib.Path) -> None:
    """Refuse pipelines that have more than a network and a scheduler."""
    index = folder / 'model_index.json'
    if index.is_file():
        kind = _json(index).get('_class_name')
        check(kind in PIPELINES, f'{index}: _class_name={shown(kind)}, but jaxgen reads only {" and ".join(PIPELINES)}')


def _with_network(config: Config, path: pathlib.Path) -> tuple[Config, tuple[int, int, int], int]:
    """Return the config with the network that a file describes, the shape of its images and the number of classes."""
    check(
        config.diffusion.augment is None,
        f'config.diffusion.augment={config.diffusion.augment} must be unset: a UNet2DModel takes no condition numbers of an '
        f'augmentation',
    )
    theirs = _json(path)
    kind = theirs.get('_class_name')
    check(kind == 'UNet2DModel', f'{path}: _class_name={shown(kind)}, but jaxgen reads only UNet2DModel')
    known = data.facts(config)
    side = unet_config.side(theirs, known.image_size, path)
    fields = unet_config.to_model(theirs, config.model, side, path)
    config = config.replace({f'model.{name}': value for name, value in fields.items()})
    channels = {**unet_config.DEFAULTS, **theirs}['in_channels']
    config = with_image_size(config, side, channels, f'{path}: in_channels')
    num_classes = len(known.class_names)
    expected = theirs.get('num_class_embeds')
    check(
        expected in (None, num_classes + (config.diffusion.label_dropout > 0)),
        f'{path}: num_class_embeds={expected}, but there are {num_classes} classes in config.data.name='
        f'{config.data.name} with config.data.classes={config.data.classes}: choose others',
    )
    return config, (side, side, channels), num_classes


def _with_schedule(config: Config, folder: pathlib.Path) -> tuple[Config, str]:
    """Return the config with the schedule of a folder, if it holds one, and a note for the user."""
    path = tensors.find(folder, ('scheduler/scheduler_config.json', 'scheduler_config.json'))
    if path is None:
        steps = config.diffusion.timesteps
        return config, f'there is no scheduler_config.json, so the timesteps are those of config.diffusion: {steps}'
    fields, sampler = scheduler.to_diffusion(_json(path), path)
    config = config.replace({f'diffusion.{name}': value for name, value in fields.items()})
    return config, f'diffusers samples with --config.sample.sampler={sampler}, for any number of steps'


def write(trained: Trained, weights: Mapping[str, PyTree], folder: pathlib.Path) -> str:
    """Fill a folder so that ``DDPMPipeline.from_pretrained`` loads it.

    Args:
      trained: the model.
      weights: its weights, as ``Method.weights`` returns them.
      folder: an empty folder.

    Returns:
      A description of the contents of the folder for the user.

    Raises:
      UserError: naming the field of the config that diffusers cannot represent.
    """
    c, (side, _, channels) = trained.config, trained.method.image_shape
    network = cast(Diffusion, trained.method).network
    description = unet_config.from_model(c.model, side, channels, network.num_classes)
    schedule = scheduler.from_diffusion(c.diffusion, c.sample.sampler)
    state = unet.to_diffusers(weights['params'], cast(UNet, network))
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
        return 'a DDPMPipeline, in which only the unet takes class_labels'
    return 'a DDPMPipeline'


def _json(path: pathlib.Path) -> JsonObject:
    check(path.exists(), f'{path.parent} holds no {path.name}, so it is not a folder of diffusers')
    return read_object(path, f'the {path.name} of a folder of diffusers', 'get it again', is_finite=True)


def _write_json(path: pathlib.Path, content: Fields) -> None:
    path.write_text(json.dumps(dict(content), indent=2, sort_keys=True) + '\n')
