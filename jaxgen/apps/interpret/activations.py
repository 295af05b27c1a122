"""Activations of the blocks of any linen network, seen and changed from outside, and their means over labelled images.

A block is a direct submodule whose output is a feature map ``[N, ..., C]``; the last one to be called is left out, since
it is the network's own output.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxgen.data import Dataset
from jaxgen.io.images import from_uint8
from jaxgen.runtime.mesh import batch_sharding, replicated
from jaxgen.runtime.random import image_keys

Array = jax.Array


def activations(look: Callable, *inputs: Any) -> dict[str, Array]:
    """``[N, ..., C]`` of every block, in the order of their calls, as ``look(*inputs)`` calls the network."""
    found: dict[str, Array] = {}

    def keep(call: Callable, args: tuple, kwargs: dict[str, Any], context: nn.module.InterceptorContext) -> Any:
        out = call(*args, **kwargs)
        if _is_block(context, out):
            found[context.module.path[0]] = out
        return out

    with nn.intercept_methods(keep):
        look(*inputs)
    return dict(list(found.items())[:-1])


def scaling(factors: Mapping[str, Array]) -> Callable:
    """For ``nn.intercept_methods``: every channel of the named blocks times its factor, ``[C]`` each."""

    def scale(call: Callable, args: tuple, kwargs: dict[str, Any], context: nn.module.InterceptorContext) -> Any:
        out = call(*args, **kwargs)
        if _is_block(context, out) and context.module.path[0] in factors:
            return out * factors[context.module.path[0]].astype(out.dtype)
        return out

    return scale


def _is_block(context: nn.module.InterceptorContext, out: Any) -> bool:
    return len(context.module.path) == 1 and context.method_name == '__call__' and getattr(out, 'ndim', 0) > 2


def channel_means(look: Callable, *inputs: Any) -> dict[str, Array]:
    """float32 ``[N, C]`` of every block: the mean over all places of each image."""
    found = activations(look, *inputs)
    return {
        name: jnp.mean(x.astype(jnp.float32), tuple(range(1, x.ndim - 1))).astype(jnp.float32)
        for name, x in found.items()
    }


@dataclasses.dataclass(frozen=True)
class Probe:
    """A network as it looks at images that are labelled.

    Attributes:
      network: its name.
      look: ``look(variables, images, labels, keys, level)`` calls it; images float ``[N, H, W, C]`` in [-1, 1], a key for
        the noise of each, and the number of a level.
      variables: of ``look``.
      levels: the name of each level of noise, the noisiest first.
    """

    network: str
    look: Callable[[Any, Array, Array, Array, Array], Any]
    variables: Any
    levels: tuple[str, ...]

    def blocks(self, image_shape: tuple[int, int, int]) -> dict[str, int]:
        """The number of channels of each block, in the order of their calls; nothing is compiled."""
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
        images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
        numbers = jax.ShapeDtypeStruct((2,), jnp.int32), keys, jax.ShapeDtypeStruct((), jnp.int32)
        called: list[str] = []  # a dictionary that JAX gives back is in alphabetical order

        def look(*inputs: Any) -> dict[str, Array]:
            means = channel_means(self.look, *inputs)
            called.extend(means)
            return means

        shapes = jax.eval_shape(look, self.variables, images, *numbers)
        return {name: shapes[name].shape[-1] for name in called}


@dataclasses.dataclass(frozen=True)
class Atlas:
    """What each block does, by class and by level of noise.

    Attributes:
      means: by block, float32 ``[L, K, C]``: the mean activation of a channel over the images of a class.
      counts: ``[K]`` images of each class.
      kept: by block, float32 ``[N, L, C]``: of the first images, the mean over the places of each.
      labels: int32 ``[N]``, of the images that were kept.
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
    batch_size: int,
    key: Array,
    keep: int,
    progress: Callable[[int], None] = lambda count: None,
) -> Atlas:
    """One pass over the images, whose noise depends on their place and ``key`` alone, spread over the devices.

    Sums over a batch are made on the devices, sums of batches in float64: nothing but what is kept grows with the images.
    """
    k, num_levels = len(dataset.class_names), len(probe.levels)

    @jax.jit
    def look(variables: Any, key: Array, images: Array, labels: Array, numbers: Array, counted: Array):
        images, keys = from_uint8(images), image_keys(key, numbers)
        each = jax.lax.map(
            lambda level: channel_means(probe.look, variables, images, labels, keys, level), jnp.arange(num_levels)
        )
        members = jax.nn.one_hot(labels, k) * counted[:, None]
        sums = jax.tree.map(lambda x: jnp.einsum('nk,lnc->lkc', members, x, precision='highest'), each)
        return jax.lax.with_sharding_constraint((sums, each), replicated(mesh))

    blocks = probe.blocks(dataset.images.shape[1:])
    totals: dict[str, Any] = dict.fromkeys(blocks, 0)
    kept: dict[str, list[np.ndarray]] = {block: [] for block in blocks}
    num = len(dataset.images)
    for start in range(0, num, batch_size):
        numbers = np.arange(start, start + batch_size)
        rows, counted = numbers % num, (numbers < num).astype(np.float32)
        batch = dataset.images[rows], dataset.labels[rows], numbers, counted
        sums, each = look(probe.variables, key, *jax.device_put(batch, batch_sharding(mesh)))
        for block in blocks:
            totals[block] = totals[block] + np.asarray(sums[block], np.float64)
            if start < keep:
                kept[block].append(np.asarray(each[block]).swapaxes(0, 1)[: min(keep, num) - start])
        progress(min(start + batch_size, num))
    counts = np.bincount(dataset.labels, minlength=k)
    means = {b: (total / np.maximum(counts, 1)[:, None]).astype(np.float32) for b, total in totals.items()}
    joined = {block: np.concatenate(parts) for block, parts in kept.items()}
    return Atlas(probe.network, probe.levels, means, counts, joined, dataset.labels[:keep])
