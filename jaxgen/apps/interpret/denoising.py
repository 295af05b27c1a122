"""Add noise of several strengths to synthesised images, and denoise them with a diffusion model."""

from __future__ import annotations

import dataclasses
import functools
from typing import cast

import jax
import numpy as np

from jaxgen.apps.interpret.options import InterpretOptions
from jaxgen.apps.trained import Trained
from jaxgen.diffusion.editing import last_levels
from jaxgen.diffusion.samplers.base import step_noise
from jaxgen.io.images import to_uint8
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.runtime.mesh import batch_sharding, replicated
from jaxgen.runtime.random import image_keys
from jaxgen.training.sampling import cycled_labels
from jaxgen.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class Denoised:
    """The images that a diffusion model makes from several images and finally from a grey one, all with the same noise.

    Attributes:
      strengths: strengths of the noise, ``[S]``.
      images: uint8 ``[S, T + 1, V, H, W, C]``, V variations of each image.
      classes: the class label that the model got for each variation, int32 ``[V]``; -1 for no label.
    """

    strengths: tuple[float, ...]
    images: np.ndarray
    classes: np.ndarray


def denoise(trained: Trained, variables: PyTree, starts: np.ndarray, options: InterpretOptions, key: Array) -> Denoised:
    """Add noise of each strength to images, and sample from there, as in SDEdit (Meng et al. 2022).

    Args:
      trained: a diffusion model.
      variables: the variables that the model samples with.
      starts: the images, float32 ``[T, H, W, C]`` in [-1, 1].
      options: ``strengths``, and the number of ``variations``.
      key: random key of the noise; each variation has the same noise for all images.
    """
    method = cast(Diffusion, trained.method)
    starts = np.concatenate([starts, np.zeros_like(starts[:1])])
    labels = cycled_labels(unconditional_classes(trained), 0, options.variations)
    size, total = trained.config.sample.batch_size, len(starts) * options.variations

    @functools.partial(jax.jit, static_argnames='strength', out_shardings=replicated(trained.mesh))
    def sample_from(variables: PyTree, starts: Array, labels: Array, indices: Array, strength: float) -> Array:
        levels = last_levels(method.levels(variables), strength)
        keys = image_keys(key, indices)
        x = levels.alpha[0] * starts + levels.sigma[0] * step_noise(keys, 0, method.image_shape)
        return method.prepare(variables, keys, labels, levels=levels, x=x).images()

    batches = []
    for strength in options.strengths:
        for first in range(0, total, size):
            which, variation = np.divmod(np.arange(first, first + size) % total, options.variations)
            inputs = jax.device_put((starts[which], labels[variation], variation), batch_sharding(trained.mesh))
            batches.append(to_uint8(sample_from(variables, *inputs, strength=strength))[: total - first])
    shape = len(options.strengths), len(starts), options.variations, *method.image_shape
    conditional = method.capabilities.knows_classes and labels.max() < len(trained.class_names)
    classes = labels if conditional else np.full_like(labels, -1)
    return Denoised(options.strengths, np.concatenate(batches).reshape(shape), classes)


def unconditional_classes(trained: Trained) -> tuple[int, ...]:
    """Return the labels that say nothing about the image: no class if the model was trained with it, or else all in turn."""
    method = cast(Diffusion, trained.method)
    if method.label_dropout:
        return (method.null_label,)
    return tuple(range(len(trained.class_names) if method.capabilities.knows_classes else 1))
