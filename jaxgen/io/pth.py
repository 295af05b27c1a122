"""Read PyTorch's ``.pth`` files without PyTorch and without running any code that they may contain.

A ``.pth`` file is a pickle next to raw numbers. Since 2020 it is a zip archive; before, it was one stream. A pickle can name
and call any function, so this reader accepts only the names that make up a dictionary of tensors.
"""

from __future__ import annotations

import collections
import io
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import IO

import numpy as np

from jaxgen.errors import UserError
from jaxgen.types import PyTree

DTYPES = {
    'FloatStorage': '<f4',
    'DoubleStorage': '<f8',
    'HalfStorage': '<f2',
    'LongStorage': '<i8',
    'IntStorage': '<i4',
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict, by name.

    Raises:
      UserError: if the file does not exist, is cut short, or holds anything but a dictionary of tensors; the message names
        what it holds.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f'{path} is not a file')
    try:
        tensors = _read_zip(path) if zipfile.is_zipfile(path) else _read_stream(path)
    except _Refused as e:
        raise UserError(f'{path} holds {e}, but only a dictionary of tensors can be read') from e
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, struct.error, zipfile.BadZipFile, IndexError) as e:
        raise UserError(f'{path} is not a complete file of PyTorch tensors ({e}): get it again') from e
    if not isinstance(tensors, dict) or not all(isinstance(v, np.ndarray) for v in tensors.values()):
        raise UserError(f'{path} holds something other than a dictionary of tensors')
    return dict(tensors)


class _Refused(pickle.UnpicklingError):
    """A name in the pickle that no tensor needs."""


class _Storage:
    """The numbers that tensors are views of; in a stream they follow after the tensors."""

    def __init__(self, dtype: str):
        self.dtype = np.dtype(dtype)
        self.data: np.ndarray = np.empty(0, self.dtype)


class _Tensor:
    """A view of a storage; offset and strides count numbers, not bytes."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple, strides: tuple, *unused):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        """Return a copy of the numbers in the shape of the tensor."""
        needed = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)) + 1
        if min((*self.shape, *self.strides, self.offset), default=0) < 0 or needed > len(self.storage.data):
            raise ValueError('a tensor reaches beyond its numbers')
        numbers = self.storage.data[self.offset :]
        strides = [s * numbers.itemsize for s in self.strides]
        return np.lib.stride_tricks.as_strided(numbers, self.shape, strides, writeable=False).copy()


class _Unpickler(pickle.Unpickler):
    """An unpickler that builds dictionaries and tensors and refuses every other name."""

    def __init__(self, file: IO[bytes], storage: Callable[[tuple], object]):
        super().__init__(file, encoding='utf-8')
        self._storage = storage

    def persistent_load(self, pid: tuple) -> object:
        return self._storage(pid)

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
            return _Tensor
        if (module, name) == ('torch._utils', '_rebuild_parameter'):
            return lambda tensor, *unused: tensor
        if module == 'torch' and name in DTYPES:
            return DTYPES[name]
        raise _Refused(f'{module}.{name}')


def _arrays(tree: PyTree) -> PyTree:
    if not isinstance(tree, dict):
        return tree
    return {name: value.array() if isinstance(value, _Tensor) else value for name, value in tree.items()}


def _read_zip(path: pathlib.Path) -> PyTree:
    with zipfile.ZipFile(path) as archive:
        (index,) = (n for n in archive.namelist() if n.endswith('/data.pkl') or n == 'data.pkl')
        folder = index.removesuffix('data.pkl')
        storages: dict[str, _Storage] = {}

        def storage(pid: tuple) -> _Storage:
            _, dtype, key, _, size = pid
            if key not in storages:
                storages[key] = _Storage(dtype)
                storages[key].data = np.frombuffer(archive.read(f'{folder}data/{key}'), storages[key].dtype, size)
            return storages[key]

        return _arrays(_Unpickler(io.BytesIO(archive.read(index)), storage).load())


def _read_stream(path: pathlib.Path) -> PyTree:
    with open(path, 'rb') as file:
        # The header is three pickles: magic number, protocol, and byte order with sizes of types.
        header = [_Unpickler(file, _no_storage).load() for _ in range(3)]
        if header[:2] != [LEGACY_MAGIC, LEGACY_PROTOCOL]:
            raise pickle.UnpicklingError('its magic number is missing')
        storages: dict[str, _Storage] = {}

        def storage(pid: tuple) -> _Storage:
            _, dtype, key, _, _, view = pid
            if view is not None:
                raise _Refused('a storage that is a view of another')
            return storages.setdefault(key, _Storage(dtype))

        tree = _Unpickler(file, storage).load()
        for key in _Unpickler(file, _no_storage).load():
            (size,) = struct.unpack('<q', file.read(8))
            dtype = storages[key].dtype
            storages[key].data = np.frombuffer(file.read(size * dtype.itemsize), dtype, size)
        return _arrays(tree)


def _no_storage(pid: tuple) -> None:
    raise pickle.UnpicklingError('a storage where none belongs')
