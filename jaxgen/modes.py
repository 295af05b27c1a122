"""What ``--mode`` selects: each mode's function, its line of help and an example."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxgen import families, images
from jaxgen.config import validate, validate_devices
from jaxgen.data import SOURCES, Dataset, load
from jaxgen.errors import UserError, names
from jaxgen.files import write_atomically
from jaxgen.training import loop
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.data_report import report
from jaxgen.training.family import Family
from jaxgen.training.mesh import make_mesh
from jaxgen.training.same_run import NETWORK_FIELDS, require_same
from jaxgen.training.sampling import Sampler
from jaxgen.training.step import root_key, state_template


def run(mode: str, config: ConfigDict, workdir: epath.Path) -> None:
    """Checks the config, sets JAX up for it, and runs the mode.

    Raises:
      UserError: if the config cannot work.
    """
    validate(config)
    if config.mesh.cpu_devices:
        jax.config.update('jax_num_cpu_devices', config.mesh.cpu_devices)
    validate_devices(config, jax.device_count())
    MODES[mode].function(config, workdir)


def train(config: ConfigDict, workdir: epath.Path) -> None:
    loop.train(config, *_family_and_data(config), workdir)


def data(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``data/images.png`` and ``data/statistics.json``: see ``report``."""
    family, dataset = _family_and_data(config)
    report(config, family, dataset, workdir / 'data')


def _family_and_data(config: ConfigDict) -> tuple[Family, Dataset]:
    d = config.data
    dataset = load(d.name, 'train', names(d.classes), d.max_examples, d.image_size, d.crop)
    if not len(dataset.images):
        raise UserError('config.data.classes and config.data.max_examples leave no image to train on')
    return families.build(config, dataset.images.shape[1:], len(dataset.class_names)), dataset


def sample(config: ConfigDict, workdir: epath.Path) -> None:
    """Writes ``samples/<name>.npz``, a grid ``samples/<name>.png`` and a folder ``samples/<name>/`` of single PNGs.

    The labels of a network that knows no classes are -1.
    """
    source = SOURCES[config.data.name]
    class_names = names(config.data.classes) or source.class_names
    side = config.data.image_size or source.image_size
    family = families.build(config, (side, side, source.channels), len(class_names))
    mesh = make_mesh(config.mesh.fsdp)
    step, model = restore_model(config, family, mesh, workdir)
    classes = [class_names.index(c) for c in names(config.sample.classes)] or range(len(class_names))
    sampler = Sampler(family, root_key(config), mesh, model, classes, config.sample.batch_size, config.sample.ema)

    folder, name = workdir / 'samples', config.sample.name
    drawn, labels = [], []
    for batch, batch_labels in sampler.batches(model, config.sample.num):
        for image, label in zip(batch, batch_labels, strict=True):
            asked_for = f'_{class_names[label]}' if config.model.conditional else ''
            write_atomically(folder / name / f'{len(drawn):06}{asked_for}.png', images.png(image))
            drawn.append(image)
            labels.append(label if config.model.conditional else -1)
        print(f'{len(drawn)}/{config.sample.num} images', flush=True)
    write_atomically(folder / f'{name}.npz', images.npz(images=np.stack(drawn), labels=np.array(labels, np.int32)))
    write_atomically(folder / f'{name}.png', images.png(images.grid(np.stack(drawn[: loop.LARGEST_GRID]))))
    print(f'{len(drawn)} samples of step {step}: {folder / name}.png (grid), {name}.npz, {name}/ (one file each)')


def restore_model(config: ConfigDict, family, mesh, workdir: epath.Path):
    """The step and the model of the newest whole checkpoint of a workdir.

    Raises:
      UserError: if there is none, or its config is another.
    """
    stored = workdir / 'config.json'
    if not stored.exists():
        raise UserError(
            f'{workdir} holds no trained model (no config.json): train one there, or pass another --workdir'
        )
    require_same(config, json.loads(stored.read_text()), NETWORK_FIELDS, str(workdir))
    checkpoints = Checkpoints(workdir / 'checkpoints', read_only=True)
    template = state_template(family, root_key(config), config.data.batch_size, mesh)
    restored = checkpoints.restore_newest(template, print)
    if restored is None:
        raise UserError(f'{workdir} holds no checkpoint yet: train there until config.checkpoint.every is reached')
    return restored[0], restored[1].model


@dataclasses.dataclass(frozen=True)
class Mode:
    function: Callable[[ConfigDict, epath.Path], None]
    help: str
    example: str


MODES = {
    'train': Mode(
        train,
        'train, or go on from the newest checkpoint of the workdir (the default)',
        'python main.py --config=configs/ddpm_digits.py',
    ),
    'data': Mode(
        data,
        'show what the network will see: images with their labels before and after augmentation, statistics by channel',
        'python main.py --config=configs/dcgan_dogs.py --mode=data --config.gan.augment=color',
    ),
    'sample': Mode(
        sample,
        'draw images from the newest checkpoint: a grid, a folder of PNGs and an .npz under samples/',
        'python main.py --config=configs/ddpm_digits.py --mode=sample --config.sample.num=100',
    ),
}


def help_text() -> str:
    """Each mode with its example."""
    lines = [
        'python main.py --config=configs/NAME.py[:VARIANT] [--workdir=runs/NAME] [--mode=MODE] [--config.FIELD=VALUE]'
    ]
    for name, mode in MODES.items():
        lines += ['', f'  --mode={name}: {mode.help}', f'    {mode.example}']
    lines += [
        '',
        '  --mode=help: this text',
        '',
        'jaxgen/config.py lists every field that all families share, jaxgen/families/ those of one; a config file says what it '
        'changes.',
    ]
    return '\n'.join(lines)
