"""Read files of named tensors without PyTorch, and compare the tensors with those that a network needs."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, load_file

from jaxgen.errors import LONGEST, UserError, check, reason, shortened
from jaxgen.io import pth
from jaxgen.types import Fields, PyTree

DAMAGED = (
    SafetensorError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RecursionError,
)  # errors of reading a damaged file
READABLE = (np.float32, np.float16, ml_dtypes.bfloat16)  # types whose values float32 represents exactly


def find(folder: pathlib.Path, names: Sequence[str]) -> pathlib.Path | None:
    """Return the path of the first of ``names`` that exists in a folder, or None."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Read the tensors of a ``.safetensors`` file or of a PyTorch file.

    Raises:
      UserError: if the file is damaged or holds anything but tensors.
    """
    if path.suffix != '.safetensors':
        return pth.read(path)
    try:
        return load_file(path)
    except Exception as e:  # safetensors, NumPy and the file system raise errors of many types
        raise UserError(f'{path} is not a complete file of tensors ({reason(e)}): get it again') from e


def read_header(path: pathlib.Path) -> dict[str, str]:
    """Return the metadata in the header of a ``.safetensors`` file.

    Raises:
      UserError: if the file is damaged.
    """
    try:
        with safe_open(path, 'np') as file:
            return file.metadata() or {}
    except DAMAGED as e:
        raise UserError(f'{path} is not a complete file of tensors ({reason(e)}): get it again') from e


def parse(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors and the metadata in the bytes of a ``.safetensors`` file.

    Raises:
      ValueError: if the bytes are damaged; its message gives the reason.
    """
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], 'little')])
    except DAMAGED as e:
        raise ValueError(str(e)) from e
    return tensors, header.get('__metadata__', {})


def float32(tensors: Mapping[str, np.ndarray], where: object) -> dict[str, np.ndarray]:
    """Convert tensors to float32 without changing any value.

    Args:
      tensors: tensors of any type in ``READABLE``, by name.
      where: the file, for the message.

    Raises:
      UserError: if the type of a tensor has values that float32 cannot hold, or a value is not finite.
    """
    for name, x in tensors.items():
        check(
            x.dtype in READABLE,
            f'{where}: {shortened(name, LONGEST)} is {x.dtype}, and the weights of jaxgen are float32',
        )
    converted = {name: x.astype(np.float32) for name, x in tensors.items()}
    require_finite(converted, where)
    return converted


def require_finite(tensors: Mapping[str, np.ndarray], where: object) -> None:
    """Refuse weights that are not finite, since all results of such a network would be NaN.

    Args:
      tensors: tensors of a type that NumPy supports, by name.
      where: the file, for the message.

    Raises:
      UserError: if a tensor has such a value; the message names the first one.
    """
    bad = [name for name, x in tensors.items() if not np.isfinite(x).all()]
    if bad:
        raise UserError(
            f'{where}: {shortened(bad[0], LONGEST)} holds NaN or infinity{_more(bad)}: get it again, or train again without them'
        )


def require(tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], where: object) -> None:
    """Check that a file has exactly the tensors of a network.

    Args:
      tensors: the tensors in the file, by name.
      shapes: the shape of each tensor that the network needs, by name.
      where: the file, for the message.

    Raises:
      UserError: if a tensor is missing, has another shape or is not part of the network. The message names the first such
        tensor and counts the others.
    """
    missing = [name for name in shapes if name not in tensors]
    wrong = [name for name in shapes if name in tensors and tensors[name].shape != shapes[name]]
    unknown = [name for name in tensors if name not in shapes]
    if missing:
        raise UserError(f'{where}: {missing[0]} is missing{_more(missing)}')
    if wrong:
        name = wrong[0]
        raise UserError(
            f'{where}: {name} is {shape_text(tensors[name].shape)}, where the network that is described has '
            f'{shape_text(shapes[name])}{_more(wrong)}'
        )
    if unknown:
        raise UserError(
            f'{where}: {shortened(unknown[0], LONGEST)} belongs to no layer of the network that is described{_more(unknown)}'
        )


def flatten(tree: Fields, separator: str = '.') -> dict[str, PyTree]:
    """Return the leaves of nested dictionaries by their joined names, such as ``params.head.kernel``."""
    flat: dict[str, PyTree] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f'{name}{separator}{rest}': leaf for rest, leaf in flatten(value, separator).items()}
        else:
            flat[name] = value
    return flat


def unflatten(tensors: Fields, separator: str = '.') -> dict[str, PyTree]:
    """Return the nested dictionaries that :func:`flatten` would turn into these tensors.

    Raises:
      UserError: if the name of a tensor is also the name of a group of tensors.
    """
    tree: dict[str, PyTree] = {}
    for name, value in sorted(tensors.items()):
        *parents, last = name.split(separator)
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
            check(isinstance(branch, dict), f'{name} lies below {parent}, which is a tensor')
        check(last not in branch, f'{name} is a tensor and a group of tensors')
        branch[last] = value
    return tree


def _more(names: list[str]) -> str:
    return f' (and {len(names) - 1} more)' if len(names) > 1 else ''


def shape_text(shape: tuple[int, ...]) -> str:
    """Return a shape as text, such as ``3x3x8``."""
    return 'x'.join(map(str, shape)) or 'a single number'
