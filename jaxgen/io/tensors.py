"""Files of tensors by name, read without PyTorch and compared with what a network needs."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jaxgen.errors import UserError, check
from jaxgen.io import pth

READABLE = (np.float32, np.float16, ml_dtypes.bfloat16)  # what float32 holds exactly


def find(folder: pathlib.Path, names: Sequence[str]) -> pathlib.Path | None:
    """The first of these files that a folder holds."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a ``.safetensors`` or of one of PyTorch's own files.

    Raises:
      UserError: if the file is damaged, or holds anything but tensors.
    """
    if path.suffix != '.safetensors':
        return pth.read(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as e:
        raise UserError(f'{path} is not a whole file of tensors ({e}): get it again') from e


def float32(tensors: Mapping[str, np.ndarray], where: object) -> dict[str, np.ndarray]:
    """The same values in float32.

    Raises:
      UserError: naming a tensor of a type that float32 cannot hold.
    """
    for name, x in tensors.items():
        check(x.dtype in READABLE, f'{where}: {name} is {x.dtype}, and the weights of jaxgen are float32')
    return {name: x.astype(np.float32) for name, x in tensors.items()}


def require(tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], where: object) -> None:
    """Refuses tensors that are not those of a network.

    Args:
      shapes: of each tensor that the network needs, by name.

    Raises:
      UserError: naming the first that is missing, of another shape, or too much, and how many more there are.
    """
    missing = [name for name in shapes if name not in tensors]
    wrong = [name for name in shapes if name in tensors and tensors[name].shape != shapes[name]]
    strange = [name for name in tensors if name not in shapes]
    if missing:
        raise UserError(f'{where}: {missing[0]} is missing{_more(missing)}')
    if wrong:
        name = wrong[0]
        raise UserError(
            f'{where}: {name} is {_size(tensors[name].shape)}, where the network that is described has '
            f'{_size(shapes[name])}{_more(wrong)}'
        )
    if strange:
        raise UserError(f'{where}: {strange[0]} belongs to no layer of the network that is described{_more(strange)}')


def _more(names: list[str]) -> str:
    return f' (and {len(names) - 1} more)' if len(names) > 1 else ''


def _size(shape: tuple[int, ...]) -> str:
    return 'x'.join(map(str, shape)) or 'a single number'
