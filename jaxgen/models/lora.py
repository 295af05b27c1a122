"""Low-rank adaptation (Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models) of a tree of parameters.

A kernel is the matrix W ``[inputs, outputs]``, that of a convolution ``[kh * kw * channels, outputs]``. Adapted it is
``W + scale * (alpha / r) * A @ B`` with the factors A ``[inputs, r]``, normal, and B ``[r, outputs]``, zero at first (the
paper writes the transposed W, and so B A). A layer's rank is at most min(inputs, outputs), where A @ B can be any
matrix. Any other array, or every one if the rank is 0, is adapted by a ``delta`` of its own shape, zero at first. Factors
are kept by the path of the parameter that they change, as in ``{'middle_attention/query/kernel': {'a': A, 'b': B}}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxgen.errors import pick

Array = jax.Array
Factors = dict[str, dict[str, Array]]

PROJECTIONS = ('query', 'key', 'value', 'qkv')
KINDS = ('attention', 'dense', 'conv', 'label')


def flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a tree by path, as in ``'middle_attention/query/kernel'``."""
    return traverse_util.flatten_dict(params, sep='/')


def layers(params: Mapping[str, Any]) -> dict[str, str]:
    """The kind, one of ``KINDS``, of each layer that a rank or a name can select, by the path of its kernel or table.

    A layer ``out`` projects attention where its siblings do.
    """
    arrays = flat(params)
    attending = {path.rpartition('/')[0] for path in (_layer(p) for p in arrays) if path.split('/')[-1] in PROJECTIONS}

    def kind(path: str) -> str | None:
        module, _, name = _layer(path).rpartition('/')
        if path.endswith('/kernel'):
            if name in PROJECTIONS or (name == 'out' and module in attending):
                return 'attention'
            return {2: 'dense', 4: 'conv'}.get(arrays[path].ndim)
        return 'label' if path == 'label/embedding' else None

    return {path: found for path in sorted(arrays) if (found := kind(path))}


def matching(params: Mapping[str, Any], targets: Sequence[str], field: str) -> tuple[str, ...]:
    """The paths that ``targets`` select: each is a kind that the network has, or the name of one of its layers or modules.

    Raises:
      UserError: naming the field, if a target is neither.
    """
    there = layers(params)
    modules = {'/'.join(path.split('/')[:depth]) for path in there for depth in range(1, path.count('/') + 1)}
    for target in targets:
        pick(target, sorted({*there.values()} | modules), f'{field}: in this network the layer')
    return tuple(p for p, kind in there.items() if kind in targets or any(f'{p}/'.startswith(f'{t}/') for t in targets))


def init(key: Array, params: Mapping[str, Any], paths: Iterable[str], rank: int) -> Factors:
    """Factors with which the adapted parameters are ``params`` themselves."""
    arrays = flat(params)
    return {path: _start(jax.random.fold_in(key, i), path, arrays[path], rank) for i, path in enumerate(paths)}


def merge(params: Mapping[str, Any], factors: Factors, strength: float, scale: float = 1.0) -> dict[str, Any]:
    """The adapted parameters.

    Args:
      strength: alpha / r, of the low-rank updates.
      scale: of all updates.
    """
    arrays = flat(params)
    for path, f in factors.items():
        w = arrays[path]
        if 'delta' in f:
            update = scale * f['delta']
        else:
            update = (scale * strength) * jnp.matmul(f['a'], f['b'], precision='highest').reshape(w.shape)
        arrays[path] = w + update
    return traverse_util.unflatten_dict(arrays, sep='/')


def unmerge(params: Mapping[str, Any], factors: Factors, strength: float, scale: float = 1.0) -> dict[str, Any]:
    """What was merged, to within the rounding of one sum: 2 ** -22 of the larger of the parameter and its update."""
    return merge(params, factors, strength, -scale)


def _layer(path: str) -> str:
    return path.rpartition('/')[0]


def _start(key: Array, path: str, w: Array, rank: int) -> dict[str, Array]:
    if not rank or not path.endswith('/kernel'):
        return {'delta': jnp.zeros(w.shape, w.dtype)}
    outputs = w.shape[-1]
    inputs = w.size // outputs
    r = min(rank, inputs, outputs)
    a = jax.random.normal(key, (inputs, r), w.dtype) * inputs**-0.5
    return {'a': a, 'b': jnp.zeros((r, outputs), w.dtype)}
