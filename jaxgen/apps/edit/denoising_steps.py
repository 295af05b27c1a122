"""Pictures of the steps from noise to images, for ``--mode=sample`` and ``--mode=edit``: a strip and an animation."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxgen.apps.config import Config
from jaxgen.apps.edit.start import to_images
from jaxgen.apps.trained import Trained
from jaxgen.diffusion.levels import Level
from jaxgen.errors import check
from jaxgen.io import grids, images
from jaxgen.io.files import write_atomically
from jaxgen.io.grids import Labels
from jaxgen.methods import METHODS
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.runtime import xla_flags
from jaxgen.runtime.random import image_keys, root_key, stream

MAX_COLUMNS, MAX_FRAMES = 11, 60  # largest number of columns of a strip, and of frames of an animation
STRIP_ROWS = 6  # largest number of images in a strip
ANIMATED = 20  # largest number of images in an animation of samples
ORDINALS = {2: 'second', 3: 'third', 4: 'fourth', 5: 'fifth'}
Draw = Callable[[np.ndarray, str], np.ndarray]  # from images uint8 [N, H, W, C] and a title to a picture


@dataclasses.dataclass(frozen=True)
class Steps:
    """Images after some of the steps of a sampler.

    Attributes:
      images: uint8 ``[F, N, H, W, C]``, scaled to the variance of an image.
      numbers: the number of steps taken before each frame, ``[F]``.
      noise: the share of noise in the variance of each frame, ``[F]``.
      total: the number of steps that the sampler takes.
      start: what the first step starts from, in words.
    """

    images: np.ndarray
    numbers: np.ndarray
    noise: np.ndarray
    total: int
    start: str = 'noise'


def noise_share(levels: Level) -> np.ndarray:
    """Return the share of noise in the variance of noisy images, at each of the levels."""
    alpha, sigma = np.asarray(levels.alpha, np.float64), np.asarray(levels.sigma, np.float64)
    return sigma**2 / (alpha**2 + sigma**2)


def write(
    steps: Steps,
    folder: epath.Path,
    stem: str,
    *,
    names: Sequence[str],
    draw: Draw,
    inputs: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write ``<stem>.png``, a strip with a row for each image, and ``<stem>.webp``, an animation.

    Args:
      steps: the images.
      folder: the folder to write to.
      stem: the name of both files, without their suffixes.
      names: the name of each image.
      draw: draws the images of a frame.
      inputs: as for ``strip``.
    """
    write_atomically(folder / f'{stem}.png', images.png(strip(steps, names, inputs)))
    write_atomically(folder / f'{stem}.webp', animation(steps, draw))


def animation(steps: Steps, draw: Draw) -> bytes:
    """Return a WebP file that shows images step by step.

    Args:
      steps: the images.
      draw: draws the images of a frame.
    """
    shown = grids.spread(steps.images, MAX_FRAMES)
    titles = [step_title(steps.numbers[i], steps.total, steps.noise[i]) for i in shown]
    frames = [draw(steps.images[i], title) for i, title in zip(shown, titles, strict=True)]
    return images.webp(_of_one_height(frames))


def step_title(number: int, total: int, noise: float) -> str:
    """Return the title of a frame, as in ``step 3 of 10, 80% noise``."""
    return f'step {number} of {total}, {noise:.0%} noise'


def strip(steps: Steps, names: Sequence[str], inputs: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
    """Return a picture with a row for each of the first images, and a column for each of some steps.

    Args:
      steps: the images.
      names: the name of each image.
      inputs: images uint8 ``[H, W, C]`` with which every row begins, by the heads of their columns.

    Returns:
      uint8 ``[H', W', C]``.
    """
    inputs = inputs or {}
    shown = _evenly(steps.numbers, MAX_COLUMNS - len(inputs))
    rows = [[*inputs.values(), *row] for row in steps.images[shown, :STRIP_ROWS].swapaxes(0, 1)]
    heads = [f'step {steps.numbers[i]}\n{steps.noise[i]:.0%} noise' for i in shown]
    heads[-1] = f'step {steps.numbers[-1]}\nresult'
    title = f'{_which(steps.numbers[shown], steps.total)} from {steps.start} to the result'
    return grids.labelled(np.concatenate(rows), Labels(title, [*inputs, *heads], names[:STRIP_ROWS]))


def _evenly(numbers: np.ndarray, columns: int) -> np.ndarray:
    """Return the indices of at most ``columns`` evenly spaced frames, including the last one and any frame of pure noise."""
    gap = max(1, math.ceil((len(numbers) - 1) / (columns - 1)))
    even = np.arange(len(numbers) - 1, -1, -gap)[::-1]
    has_start = numbers[0] > 0 or even[0] == 0
    return even if has_start else grids.spread(numbers, columns)


def _which(numbers: np.ndarray, total: int) -> str:
    """Return which steps are shown, as in ``every second of 10 steps``."""
    if total == 1:
        return 'the only step'
    gaps = set(np.diff(numbers).tolist())
    gap = gaps.pop() if len(gaps) == 1 else 0
    if gap == 1 and numbers[0] <= 1:
        return f'all {total} steps'
    if gap in ORDINALS:
        return f'every {ORDINALS[gap]} of {total} steps'
    return f'{np.count_nonzero(numbers)} of {total} steps'


def require_steps(config: Config) -> None:
    """Refuse an animation if the method does not sample in steps.

    Raises:
      UserError: naming the field of the config.
    """
    check(
        METHODS[config.method].supports.denoises,
        f'config.sample.animation=True shows how noise becomes an image, but config.family={config.method} makes an image '
        f'in one call: leave it out',
    )
    check(
        config.sample.num_steps > 1,
        'config.sample.animation=True shows the steps from noise to image, but config.sample.num_steps=1 takes a single '
        'one: raise it, or leave the animation out',
    )


def of_samples(trained: Trained) -> Steps:
    """Return the first samples of ``--mode=sample`` after each step; steps are taken singly, to keep few images in memory."""
    pipeline, method = trained.sampler(), cast(Diffusion, trained.method)
    num = min(trained.config.sample.num, ANIMATED)
    variables, labels = pipeline.variables(trained.model), jnp.asarray(pipeline.labels(num))
    keys = image_keys(stream(root_key(pipeline.seed), pipeline.stream), jnp.arange(num))

    @functools.partial(jax.jit, compiler_options=xla_flags.options_of_samplers())
    def take_step(variables, keys, labels, carry, step):
        return method.prepare(variables, keys, labels, x=carry.x).step(carry, step)

    run = method.prepare(variables, keys, labels)
    total = len(run.levels.t) - 1
    numbers = grids.spread(np.empty(total + 1), MAX_FRAMES)
    carry, kept = run.carry, []
    for number in range(total + 1):
        if number in numbers:
            level = Level(*(np.asarray(table[number]) for table in run.levels))
            kept.append(to_images(carry.x, level))
        if number < total:
            step = jax.tree.map(lambda table, i=number: table[i], run.steps)
            carry = take_step(variables, keys, labels, carry, step)
    return Steps(np.stack(kept), numbers, noise_share(run.levels)[numbers], total)


def write_animation(trained: Trained, folder: epath.Path, name: str) -> None:
    """Write ``<name>_steps.png`` and ``<name>_steps.webp``, which show how the first samples emerge from noise."""
    steps = of_samples(trained)
    num, names = steps.images.shape[1], trained.class_names
    labels = trained.sampler().labels(num) if trained.method.capabilities.knows_classes else None
    rows = [f'sample {i + 1}' for i in range(num)] if labels is None else [names[label] for label in labels]
    write(
        steps,
        folder,
        f'{name}_steps',
        names=rows,
        draw=lambda frame, title: grids.by_class(frame, labels, names, title),
    )


def _of_one_height(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pad frames of equal width to one height with white, since their titles may differ in the number of lines."""
    height = max(frame.shape[0] for frame in frames)
    return [np.pad(f, ((0, height - f.shape[0]), (0, 0), (0, 0)), constant_values=255) for f in frames]
