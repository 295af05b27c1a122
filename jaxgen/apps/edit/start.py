"""The noisy images from which an edit starts: one implementation for ``--mode=edit`` and the demo page."""

from __future__ import annotations

import dataclasses
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.apps.config import Config
from jaxgen.apps.trained import Trained, classes_to_sample
from jaxgen.diffusion import editing
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.samplers.base import step_noise
from jaxgen.errors import UserError, check
from jaxgen.io import images
from jaxgen.methods.base import Method
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.runtime.random import image_keys, root_key, stream
from jaxgen.training.sampling import cycled_labels
from jaxgen.types import Array, PyTree


@dataclasses.dataclass(frozen=True)
class EditStart:
    """The start of an edit on the way from noise to images.

    Attributes:
      image: the image to edit, uint8 ``[H, W, C]``.
      mask: float32 ``[H, W, 1]``, 1 where the model paints; None if it paints everywhere.
      levels: the noise levels that the sampler still has to visit, ``[S + 1]``.
      x: the noisy images at the first of these levels, ``[N, H, W, C]``.
      keys: a random key for each image, ``[N]``.
      labels: the class label of each image, int32 ``[N]``.
    """

    image: np.ndarray
    mask: np.ndarray | None
    levels: Level
    x: Array
    keys: Array
    labels: np.ndarray

    @property
    def known(self) -> Array:
        """The image to edit, float32 in [-1, 1]."""
        return images.from_uint8(jnp.asarray(self.image))

    def finish(self, made: np.ndarray) -> np.ndarray:
        """Return images uint8 ``[N, H, W, C]`` with the pixels of the given image wherever the model did not paint."""
        return made if self.mask is None else np.where(self.mask > 0, made, self.image)


def start_edit(
    trained: Trained, variables: PyTree, image: np.ndarray, *, mask: np.ndarray | None = None, num: int
) -> EditStart:
    """Return the start of ``num`` edits of an image with ``config.edit.strength``; image i depends on its number only.

    Args:
      trained: a diffusion model; its config sets the strength, the seed and the classes.
      variables: the variables that the model samples with.
      image: the image to edit, uint8 ``[H, W, C]``.
      mask: float32 ``[H, W, 1]``, 1 where the model paints; the model paints everywhere if not given.
      num: number of images.
    """
    config, method = trained.config, cast(Diffusion, trained.method)
    strength = config.edit.strength
    levels = editing.last_levels(method.levels(variables), strength)
    keys = edit_keys(config, num)
    known, noise = images.from_uint8(jnp.asarray(image)), step_noise(keys, 0, method.image_shape)
    x = editing.noisy_start(known, noise, levels, strength=strength, inpaints=mask is not None)
    labels = cycled_labels(classes_to_sample(config, trained.class_names), 0, num)
    return EditStart(image, mask, levels, x, keys, labels)


def edit_keys(config: Config, num: int) -> Array:
    """Return the random keys of the first ``num`` edited images, which differ from those of ``--mode=sample``."""
    key = jax.random.fold_in(stream(root_key(config.seed), 'sample'), 1)
    return image_keys(key, jnp.arange(num))


def require_editable(config: Config, method: Method) -> None:
    """Refuse a model that cannot edit images.

    Raises:
      UserError: naming the field of the config.
    """
    check(
        method.supports.edits,
        f'config.family={config.method} cannot edit images: an edit goes part of the way to noise and back, as only a '
        f'diffusion model does; pass the --config of one',
    )
    if not method.capabilities.edits:
        raise UserError(
            f'config.diffusion.parameterisation={config.diffusion.parameterisation} cannot edit images: it jumps over the '
            f'noise levels at which an edit starts; take a model that was trained with another one, such as flow'
        )


def to_images(x: np.ndarray | Array, levels: Level) -> np.ndarray:
    """Return noisy images as uint8, each scaled to the variance of an image.

    Args:
      x: ``[..., H, W, C]``; its first axes are those of ``levels``.
      levels: the noise level of x, or one level for each entry of its first axis.
    """
    std = np.hypot(np.asarray(levels.alpha), np.asarray(levels.sigma))
    x = np.asarray(x)
    return images.to_uint8(x / std.reshape(std.shape + (1,) * (x.ndim - std.ndim)))
