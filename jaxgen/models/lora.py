"""Low-rank adaptation of a tree of parameters (Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models).

A kernel is a matrix W ``[inputs, outputs]``; the kernel of a convolution is reshaped to ``[kh * kw * channels, outputs]``. The
adapted kernel is ``W + scale * (alpha / r) * A @ B``. The factor A ``[inputs, r]`` starts uniform between -1 / sqrt(inputs) and
1 / sqrt(inputs), as in the authors' code and in peft (Kaiming initialisation with a = sqrt(5)), and B ``[r, outputs]`` starts at
zero. (The paper writes W transposed, and therefore B A.) The rank of a layer is at most min(inputs, outputs), which is enough
for any matrix. Parameters that are not kernels, or all parameters if the rank is 0, are adapted by adding a ``delta`` of their
own shape, which starts at zero.

Factors are stored by the path of the parameter that they adapt: ``{'middle_attention/query/kernel': {'a': A, 'b': B}}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxgen.errors import pick
from jaxgen.types import Array, PyTree

Factors = dict[str, dict[str, Array]]

PROJECTIONS = ('query', 'key', 'value', 'qkv')
KINDS = ('attention', 'dense', 'conv', 'label')


def flat(params: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Return the arrays of a tree by their paths, such as ``'middle_attention/query/kernel'``."""
    return traverse_util.flatten_dict(params, sep='/')


def layers(params: Mapping[str, PyTree]) -> dict[str, str]:
    """Return the kind, one of ``KINDS``, of each layer that can be adapted, by the path of its kernel or embedding.

    A layer named ``out`` belongs to attention if its module has queries, keys or values.
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


def matching(params: Mapping[str, PyTree], targets: Sequence[str], field: str) -> tuple[str, ...]:
    """Return the paths of the parameters that ``targets`` select.

    Args:
      params: parameters of the network.
      targets: kinds of layers that the network has, or names of its layers or modules.
      field: name of the option that sets the targets, for messages.

    Raises:
      UserError: if a target is neither a kind nor a name.
    """
    kinds = layers(params)
    modules = {'/'.join(path.split('/')[:depth]) for path in kinds for depth in range(1, path.count('/') + 1)}
    for target in targets:
        pick(target, sorted({*kinds.values()} | modules), f'{field}: in this network the layer')
    return tuple(p for p, kind in kinds.items() if kind in targets or any(f'{p}/'.startswith(f'{t}/') for t in targets))


def init(key: Array, params: Mapping[str, PyTree], paths: Iterable[str], rank: int) -> Factors:
    """Return initial factors, for which the adapted parameters are equal to ``params``.

    Args:
      key: random key of the factors A.
      params: parameters of the network.
      paths: paths of the parameters to adapt.
      rank: rank of the factors; 0 for updates of full rank.
    """
    arrays = flat(params)
    return {
        path: _initial_factors(jax.random.fold_in(key, i), path, arrays[path], rank) for i, path in enumerate(paths)
    }


def merge(params: Mapping[str, PyTree], factors: Factors, strength: float, scale: float = 1.0) -> dict[str, PyTree]:
    """Return the adapted parameters.

    Args:
      params: parameters before the adaptation.
      factors: the factors, by the path of the parameter that they adapt.
      strength: alpha / r, which multiplies the low-rank updates.
      scale: a factor that multiplies all updates.
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


def _layer(path: str) -> str:
    return path.rpartition('/')[0]


def _initial_factors(key: Array, path: str, w: Array, rank: int) -> dict[str, Array]:
    if not rank or not path.endswith('/kernel'):
        return {'delta': jnp.zeros(w.shape, w.dtype)}
    outputs = w.shape[-1]
    inputs = w.size // outputs
    r = min(rank, inputs, outputs)
    bound = inputs**-0.5
    a = jax.random.uniform(key, (inputs, r), w.dtype, -bound, bound)
    return {'a': a, 'b': jnp.zeros((r, outputs), w.dtype)}
