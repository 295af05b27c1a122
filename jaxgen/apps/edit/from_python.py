"""Edits of images that are given as arrays or by name, sampled in one compiled program: ``Model.edit``."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxgen.apps.config import Config
from jaxgen.apps.edit.inputs import open_image, open_mask
from jaxgen.diffusion import editing
from jaxgen.diffusion.levels import Level
from jaxgen.errors import check
from jaxgen.io import images
from jaxgen.io.tensors import shape_text
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.runtime import xla_flags
from jaxgen.types import Array, PyTree

Image = str | os.PathLike | UInt8[np.ndarray, 'h w c']
Mask = str | os.PathLike | Bool[np.ndarray, 'h w']


def image_array(image: Image, shape: tuple[int, int, int], config: Config) -> UInt8[np.ndarray, 'h w c']:
    """Return the image to edit.

    Args:
      image: a file, an image of a data set, as in ``cifar10:test:17``, or an array.
      shape: height, width and channels of the network's images, to which a file is resized.
      config: the config of the model.

    Raises:
      UserError: if there is no such image, or an array has another shape or type.
    """
    if isinstance(image, str | os.PathLike):
        return open_image(os.fspath(image), 'image', shape, config)
    array = np.asarray(image)
    check(
        array.shape == shape and array.dtype == np.uint8,
        f'image is an array of {array.dtype} {shape_text(array.shape)}, but the model edits images of uint8 '
        f'{shape_text(shape)}: resize it, or pass the name of a file',
    )
    return array


def mask_array(mask: Mask, side: int) -> Float[np.ndarray, 'h w 1']:
    """Return a mask, which is 1 where the model paints and 0 elsewhere.

    Args:
      mask: a file that is white where the model paints, or an array that is True there.
      side: side of the network's images in pixels.

    Raises:
      UserError: if there is no such mask, it has another size, or the model would paint nothing.
    """
    if isinstance(mask, str | os.PathLike):
        return open_mask(os.fspath(mask), 'mask', side)
    array = np.asarray(mask)
    check(
        array.shape == (side, side) and array.dtype == np.bool_,
        f'mask is an array of {array.dtype} {shape_text(array.shape)}, but it must be bool {shape_text((side, side))}: True '
        f'where the model paints',
    )
    check(bool(array.any()), 'mask is False everywhere, so nothing would be painted: set a part of it to True')
    return array[..., None].astype(np.float32)


def sampler(method: Diffusion, levels: Level) -> Callable[..., Array]:
    """Return the compiled function ``(variables, keys, labels, x, known, mask) -> images`` that finishes an edit.

    Args:
      method: a diffusion model.
      levels: the noise levels that remain, ``[S + 1]``.
    """

    @functools.partial(jax.jit, compiler_options=xla_flags.options_of_samplers())
    def finish(variables: PyTree, keys: Array, labels: Array, x: Array, known: Array, mask: Array) -> Array:
        run = method.prepare(variables, keys, labels, levels=levels, x=x, edit=editing.keep_known(known, mask))
        return images.to_uint8(run.images())

    return finish
