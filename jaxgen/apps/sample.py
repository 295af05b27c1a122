"""The mode ``sample``: sample images from a trained model, and write them to files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.edit import denoising_steps
from jaxgen.apps.restore import restore
from jaxgen.apps.trained import Trained
from jaxgen.io import grids, images
from jaxgen.io.files import replacing_set, write_atomically
from jaxgen.io.names import safe_name
from jaxgen.io.run_directory import SAMPLES, output_folder
from jaxgen.methods.base import Method
from jaxgen.training.grids import LARGEST_GRID

NAMED = 3  # largest number of classes in the name of the files
# Options that have a form of their own in a name
IN_WORDS = ('num', 'classes', 'ema', 'sampler', 'num_steps', 'guidance_scale')
WITHOUT_EFFECT = ('name', 'every', 'batch_size', 'animation')  # options that change no sample
SINGLE = r'[0-9]{6,}(_.*)?\.png'  # names of the files of single images


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``samples/<name>.npz``, a grid ``samples/<name>.png`` and a folder ``samples/<name>/`` of single PNGs.

    When all single PNGs are complete, they replace those of an earlier run with the same name. In the ``.npz``, ``labels`` index
    ``class_names``; they are -1 for a network without class labels. With ``sample.animation``, a strip
    ``samples/<name>_steps.png`` and an animation ``samples/<name>_steps.webp`` show how the first samples emerge from noise.
    """
    if config.sample.animation:
        denoising_steps.require_steps(config)
    trained = restore(config, workdir)
    folder, name = output_folder(workdir) / SAMPLES, safe_name(config.sample.name or name_of(config, trained.method))
    with replacing_set(folder / name, SINGLE) as write:
        made, labels = _write_single(trained, config.sample.num, write)
    named = {'labels': labels, 'class_names': np.array(trained.class_names)}
    write_atomically(folder / f'{name}.npz', images.npz(images=made, **named))
    shown_labels = labels[:LARGEST_GRID] if trained.method.capabilities.knows_classes else None
    shown = grids.by_class(made[:LARGEST_GRID], shown_labels, trained.class_names)
    write_atomically(folder / f'{name}.png', images.png(shown))
    files = f'{folder / name}.png (grid), {name}.npz, {name}/ (one file each)'
    if config.sample.animation:
        denoising_steps.write_animation(trained, folder, name)
        files += f', {name}_steps.webp (animation), {name}_steps.png (strip)'
    print(f'{len(made)} samples of step {trained.step}: {files}')


def name_of(config: Config, method: Method) -> str:
    """Return a name that describes the samples, as in ``16_images-ship_horse-ddim_50-guidance_1.5-eta_0.5-seed_0``.

    It has every option of the section ``sample`` that differs from its default and changes the samples.

    Args:
      config: the config; its section ``sample`` describes the images.
      method: the method that samples them.
    """
    options = config.sample
    parts = [f'{options.num}_images']
    if options.classes is not None:
        more = len(options.classes) - NAMED
        parts.append('_'.join([*options.classes[:NAMED], *([f'and_{more}_more'] if more > 0 else [])]))
    if method.capabilities.denoises:
        parts.append(f'{options.sampler}_{options.num_steps}')
        if options.guidance_scale != 1:
            parts.append(f'guidance_{options.guidance_scale:g}')
    if not options.ema:
        parts.append('without_ema')
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name not in (*IN_WORDS, *WITHOUT_EFFECT) and value != field.default:
            parts.append(f'{field.name}_{value:g}' if isinstance(value, float) else f'{field.name}_{value}')
    return '-'.join([*parts, f'seed_{config.seed}'])


def _write_single(trained: Trained, num: int, write: Callable[[str, bytes], None]) -> tuple[np.ndarray, np.ndarray]:
    """Sample images, write a PNG of each, and return the images and their labels."""
    conditional = trained.method.capabilities.knows_classes
    samples: list[np.ndarray] = []
    labels: list[int] = []
    for batch, batch_labels in trained.sampler().batches(trained.model, num):
        for image, label in zip(batch, batch_labels, strict=True):
            class_name = f'_{safe_name(trained.class_names[label])}' if conditional else ''
            write(f'{len(samples):06}{class_name}.png', images.png(image))
            samples.append(image)
            labels.append(label if conditional else -1)
    return np.stack(samples), np.array(labels, np.int32)
