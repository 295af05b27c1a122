"""Count the parameters of networks."""

from __future__ import annotations

from collections.abc import Mapping

from clu import parameter_overview

from jaxgen.types import PyTree


def count(params: PyTree) -> int:
    """Return the number of parameters in a tree of arrays or of their shapes."""
    return int(parameter_overview.count_parameters(params))


def table(networks: Mapping[str, PyTree]) -> str:
    """Return a text table with the number of parameters of each block of each network, and of each whole network.

    Args:
      networks: the parameters, or their shapes, by the name of the network and by block.
    """
    lines = []
    for name, params in networks.items():
        lines += [f'{name}.{block:28} {count(part):>12,}' for block, part in params.items()]
        lines.append(f'{name:{len(name) + 29}} {count(params):>12,}')
    return '\n'.join(lines)
