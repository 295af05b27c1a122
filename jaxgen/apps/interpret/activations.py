"""Observe and change the activations of the blocks of any linen network, and average them over labelled images.

A block is a direct submodule whose output is a feature map ``[N, ..., C]``. The block that is called last is left out, because
its output is the output of the network.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from jaxgen.data import Dataset
from jaxgen.io.images import from_uint8
from jaxgen.runtime.mesh import batch_sharding, replicated
from jaxgen.runtime.random import image_keys
from jaxgen.types import Array, Fields, PyTree

# forward(variables, images, labels, keys, level) calls a network; see ``Probe``
Forward = Callable[[PyTree, Array, Array, Array, Array], object]


def block_activations(forward: Callable, *inputs: PyTree) -> dict[str, Array]:
    """Return the output ``[N, ..., C]`` of every block, in the order in which ``forward(*inputs)`` calls them."""
    outputs: dict[str, Array] = {}

    def keep_output(call: Callable, args: tuple, kwargs: Fields, context: nn.module.InterceptorContext) -> PyTree:
        out = call(*args, **kwargs)
        if _is_block(context, out):
            outputs[context.module.path[0]] = out
        return out

    with nn.intercept_methods(keep_output):
        forward(*inputs)
    return dict(list(outputs.items())[:-1])


def channel_scaling(factors: Mapping[str, Array]) -> Callable:
    """Return an interceptor for ``nn.intercept_methods`` that multiplies every channel of the named blocks.

    Args:
      factors: a factor for each channel, ``[C]``, by block.
    """

    def scale(call: Callable, args: tuple, kwargs: Fields, context: nn.module.InterceptorContext) -> PyTree:
        out = call(*args, **kwargs)
        if _is_block(context, out) and context.module.path[0] in factors:
            return out * factors[context.module.path[0]].astype(out.dtype)
        return out

    return scale


def channel_means(forward: Callable, *inputs: PyTree) -> dict[str, Float[Array, 'n c']]:
    """Return the mean of every channel over all positions of each image, float32 ``[N, C]`` by block."""
    outputs = block_activations(forward, *inputs)
    return {
        name: jnp.mean(x.astype(jnp.float32), tuple(range(1, x.ndim - 1))).astype(jnp.float32)
        for name, x in outputs.items()
    }


def _is_block(context: nn.module.InterceptorContext, out: PyTree) -> bool:
    return len(context.module.path) == 1 and context.method_name == '__call__' and getattr(out, 'ndim', 0) > 2


@dataclasses.dataclass(frozen=True)
class Probe:
    """A network and a function that calls it on labelled images.

    Attributes:
      network: the name of the network.
      forward: ``forward(variables, images, labels, keys, level)`` calls the network; images are float ``[N, H, W, C]`` in
        [-1, 1], ``keys`` has a random key for the noise of each image, and ``level`` is the index of a noise level.
      variables: the variables of ``forward``.
      levels: the name of each noise level, the noisiest first.
    """

    network: str
    forward: Forward
    variables: PyTree
    levels: tuple[str, ...]

    def blocks(self, image_shape: tuple[int, int, int]) -> dict[str, int]:
        """Return the number of channels of each block, in the order of the calls; nothing is compiled."""
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
        images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
        labels, level = jax.ShapeDtypeStruct((2,), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)

        def ordered_means(*inputs: PyTree) -> collections.OrderedDict[str, Array]:
            return collections.OrderedDict(channel_means(self.forward, *inputs))  # JAX would sort the keys of a dict

        shapes = jax.eval_shape(ordered_means, self.variables, images, labels, keys, level)
        return {name: mean.shape[-1] for name, mean in shapes.items()}


@dataclasses.dataclass(frozen=True)
class Atlas:
    """The mean activations of a network by class and noise level.

    Attributes:
      network: name of the network.
      levels: name of each noise level.
      means: the mean activation of each channel over the images of a class, float32 ``[L, K, C]`` by block.
      counts: number of images of each class, ``[K]``.
      kept: the activations of the first images, averaged over positions, float32 ``[N, L, C]`` by block.
      labels: the labels of the images in ``kept``, int32 ``[N]``.
    """

    network: str
    levels: tuple[str, ...]
    means: dict[str, np.ndarray]
    counts: np.ndarray
    kept: dict[str, np.ndarray]
    labels: np.ndarray


def make_atlas(
    probe: Probe,
    dataset: Dataset,
    mesh: Mesh,
    *,
    batch_size: int,
    key: Array,
    keep: int,
    progress: Callable[[int], None] = lambda count: None,
) -> Atlas:
    """Return the atlas of a network in one pass over a data set, spread over the devices.

    The noise of an image depends only on its index and ``key``. The devices sum over a batch, and the host sums over batches in
    float64. Only the kept activations grow with the number of images.

    Args:
      probe: the network.
      dataset: labelled images.
      mesh: the devices.
      batch_size: images in a batch; it must divide over the devices.
      key: random key of the noise.
      keep: number of images whose activations are kept.
      progress: called with the number of images done.
    """
    num, num_classes = len(dataset.images), len(dataset.class_names)
    batch_means = _compiled_means(probe, num_classes, mesh)
    blocks = probe.blocks(dataset.images.shape[1:])
    totals: dict[str, PyTree] = dict.fromkeys(blocks, 0)
    kept: dict[str, list[np.ndarray]] = {block: [] for block in blocks}
    for start in range(0, num, batch_size):
        indices = np.arange(start, start + batch_size)
        rows, counted = indices % num, (indices < num).astype(np.float32)
        batch = dataset.images[rows], dataset.labels[rows], indices, counted
        sums, each = batch_means(probe.variables, key, *jax.device_put(batch, batch_sharding(mesh)))
        for block in blocks:
            totals[block] = totals[block] + np.asarray(sums[block], np.float64)
            if start < keep:
                kept[block].append(np.asarray(each[block]).swapaxes(0, 1)[: min(keep, num) - start])
        progress(min(start + batch_size, num))
    counts = np.bincount(dataset.labels, minlength=num_classes)
    means = {b: (total / np.maximum(counts, 1)[:, None]).astype(np.float32) for b, total in totals.items()}
    joined = {block: np.concatenate(parts) for block, parts in kept.items()}
    return Atlas(probe.network, probe.levels, means, counts, joined, dataset.labels[:keep])


def _compiled_means(probe: Probe, num_classes: int, mesh: Mesh) -> Callable:
    """Return a jitted function of a batch that gives channel means: sums by class ``[L, K, C]``, and by image ``[L, N, C]``."""

    @jax.jit
    def batch_means(variables: PyTree, key: Array, images: Array, labels: Array, indices: Array, counted: Array):
        images, keys = from_uint8(images), image_keys(key, indices)
        each = jax.lax.map(
            lambda level: channel_means(probe.forward, variables, images, labels, keys, level),
            jnp.arange(len(probe.levels)),
        )
        members = jax.nn.one_hot(labels, num_classes) * counted[:, None]
        sums = jax.tree.map(lambda x: jnp.einsum('nk,lnc->lkc', members, x, precision='highest'), each)
        return jax.lax.with_sharding_constraint((sums, each), replicated(mesh))

    return batch_means
