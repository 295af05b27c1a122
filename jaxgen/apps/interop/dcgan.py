"""The names and layouts of the variables of our DCGAN in the state dicts of the PyTorch tutorial.

Every network of the tutorial is one ``nn.Sequential`` called ``main``. ``kind`` is 'up' for the generator and 'down' for the
discriminator, as in the names of our layers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import flax.traverse_util
import numpy as np

from jaxgen.errors import UserError
from jaxgen.types import PyTree

Path = tuple[str, ...]

NORM = {
    ('params', 'scale'): 'weight',
    ('params', 'bias'): 'bias',
    ('batch_stats', 'mean'): 'running_mean',
    ('batch_stats', 'var'): 'running_var',
}
MAX_LEVELS = 12  # for images of 16384 pixels a side
MAX_DIGITS = 2  # a layer number has at most two digits
COUNTER = 'num_batches_tracked'  # not used if the statistics have a momentum, as in the tutorial


def names(kind: str, levels: int) -> dict[str, Path]:
    """Return the path of each of our variables by its name in the tutorial's state dict.

    Args:
      kind: 'up' or 'down'.
      levels: number of levels, as ``models.dcgan.num_levels`` counts them.
    """
    paths: dict[str, Path] = {}
    first_norm = {'up': 0, 'down': 1}[kind]
    for level in range(levels + 1):
        conv = 3 * level if kind == 'up' else max(3 * level - 1, 0)
        paths[f'main.{conv}.weight'] = ('params', f'{kind}_{level}', 'kernel')
        if first_norm <= level < levels:
            for (collection, leaf), name in NORM.items():
                paths[f'main.{conv + 1}.{name}'] = (collection, f'norm_{level}', leaf)
    return paths


def num_levels(tensors: Iterable[str], kind: str, where: object = 'the state dict') -> int:
    """Return the number of levels that the names of a state dict have: 4 for images of 64 pixels a side.

    Args:
      tensors: the names.
      kind: 'up' or 'down'.
      where: the file, for the message.

    Raises:
      UserError: if they are not the names of such a network.
    """
    matches = map(re.compile(r'main\.(\d+)\.').match, tensors)
    last = max((int(match[1][: MAX_DIGITS + 1]) for match in matches if match), default=0)
    levels = math.ceil((last + (kind == 'down')) / 3)  # a convolution, a normalisation, an activation
    if last < 2 or levels > MAX_LEVELS:
        network = {'up': 'generator', 'down': 'discriminator'}[kind]
        raise UserError(
            f'{where} is not a {network} of the PyTorch tutorial: its layers must be called main.0, main.1, main.2 ...'
        )
    return levels


def from_tutorial(tensors: Mapping[str, np.ndarray], kind: str) -> dict[str, PyTree]:
    """Return our variables, ``params`` and ``batch_stats``, from a state dict; its counters of batches are left out."""
    paths = names(kind, num_levels(tensors, kind))
    return flax.traverse_util.unflatten_dict(
        {path: np.ascontiguousarray(tensors[name].transpose(np.argsort(_axes(path)))) for name, path in paths.items()}
    )


def to_tutorial(variables: Mapping[str, PyTree], kind: str) -> dict[str, np.ndarray]:
    """Return the state dict of our variables, without the counters of batches."""
    flat = flax.traverse_util.flatten_dict(dict(variables))
    levels = sum(path[-1] == 'kernel' for path in flat) - 1
    return {
        name: np.ascontiguousarray(np.asarray(flat[path]).transpose(_axes(path)))
        for name, path in names(kind, levels).items()
    }


def _axes(path: Path) -> tuple[int, ...]:
    """Return the order of our axes in PyTorch: ``[inputs, outputs, 4, 4]`` for transposed convolutions, or outputs first."""
    if path[-1] != 'kernel':
        return (0,)
    return {'up_0': (0, 3, 1, 2)}.get(path[1]) or {'up': (2, 3, 0, 1), 'down': (3, 2, 0, 1)}[path[1].split('_')[0]]
