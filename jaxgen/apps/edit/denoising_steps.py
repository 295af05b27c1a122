"""Pictures of images on their way from noise, for ``--mode=sample`` and ``--mode=edit``: a strip and an animation."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
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

MAX_STRIP, MAX_FRAMES = 10, 60  # largest number of steps that the strip and the animation show
STRIP_ROWS = 6  # images whose way the strip shows
ANIMATED = 20  # images that an animation of samples shows
Draw = Callable[[np.ndarray, str], np.ndarray]  # from images uint8 [N, H, W, C] and a title to a picture


@dataclasses.dataclass(frozen=True)
class Steps:
    """Images after some of the steps of a sampler.

    Attributes:
      images: uint8 ``[F, N, H, W, C]``, scaled to the variance of an image.
      numbers: how many steps have been taken before each, ``[F]``.
      noise: the share of noise in the variance of each, ``[F]``.
      total: the number of all steps.
    """

    images: np.ndarray
    numbers: np.ndarray
    noise: np.ndarray
    total: int


def noise_share(levels: Level) -> np.ndarray:
    """Return the share of noise in the variance of noisy images, at each of the levels."""
    alpha, sigma = np.asarray(levels.alpha, np.float64), np.asarray(levels.sigma, np.float64)
    return sigma**2 / (alpha**2 + sigma**2)


def write(steps: Steps, folder: epath.Path, stem: str, *, names: Sequence[str], draw: Draw) -> None:
    """Write ``<stem>.png``, a strip with a row for each image, and ``<stem>.webp``, an animation.

    Args:
      steps: the images.
      folder: where to write.
      stem: name of the two files.
      names: names of the images.
      draw: draws the images of a frame.
    """
    write_atomically(folder / f'{stem}.png', images.png(strip(steps, names)))
    write_atomically(folder / f'{stem}.webp', animation(steps, draw))


def animation(steps: Steps, draw: Draw) -> bytes:
    """Return a WebP file that shows images step by step; ``draw`` draws the images of a frame."""
    shown = grids.spread(steps.images, MAX_FRAMES)
    titles = [step_title(steps.numbers[i], steps.total, steps.noise[i]) for i in shown]
    frames = [draw(steps.images[i], title) for i, title in zip(shown, titles, strict=True)]
    return images.webp(_of_one_height(frames))


def step_title(number: int, total: int, noise: float) -> str:
    """Return the title of images after some steps: the number of steps taken and in all, and the share of noise."""
    return f'step {number} of {total}, {noise:.0%} noise'


def strip(steps: Steps, names: Sequence[str]) -> np.ndarray:
    """Return a picture with a row for each of the first images, and a column for each of some steps."""
    shown = grids.spread(steps.images, MAX_STRIP)
    rows = steps.images[shown, :STRIP_ROWS].swapaxes(0, 1)
    heads = [f'step {steps.numbers[i]}\n{steps.noise[i]:.0%} noise' for i in shown]
    labels = Labels(f'{steps.total} steps from noise to image', columns=heads, rows=names[:STRIP_ROWS])
    return grids.labelled(rows.reshape(-1, *rows.shape[2:]), labels)


def require_steps(config: Config) -> None:
    """Refuse an animation of samples that are not made in steps.

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
    """Return the first samples of ``--mode=sample`` on their way; one step at a time, so that few are in memory at once."""
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
    """Write ``<name>_steps.png`` and ``<name>_steps.webp``, the way of the first samples from noise."""
    steps = of_samples(trained)
    num, names = steps.images.shape[1], trained.class_names
    is_told = trained.method.capabilities.knows_classes
    labels = trained.sampler().labels(num) if is_told else None
    rows = [f'sample {i + 1}' for i in range(num)] if labels is None else [names[label] for label in labels]
    write(
        steps,
        folder,
        f'{name}_steps',
        names=rows,
        draw=lambda frame, title: grids.by_class(frame, labels, names, title),
    )


def _of_one_height(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return frames of equal width with white below those that are lower, as their titles may have more lines or fewer."""
    height = max(frame.shape[0] for frame in frames)
    return [np.pad(f, ((0, height - f.shape[0]), (0, 0), (0, 0)), constant_values=255) for f in frames]
