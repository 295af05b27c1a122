"""Read PyTorch's ``.pth`` files without PyTorch, even from sources that cannot be trusted.

A ``.pth`` file consists of a pickle, which describes tensors, and of the raw numbers of their storages. Since 2020 it has been a
zip archive; before that it was a single stream. The pickle is not executed (see ``jaxgen.io.pickles``). Every size in the file
is compared with the number of bytes that exist before any memory is allocated, and the total memory is limited to a multiple of
the size of the file.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import pathlib
import struct
import zipfile
from collections.abc import Iterable, Mapping
from typing import IO, cast

import numpy as np

from jaxgen.errors import UserError, reason
from jaxgen.io import pickles

DTYPES = {
    'FloatStorage': '<f4',
    'DoubleStorage': '<f8',
    'HalfStorage': '<f2',
    'LongStorage': '<i8',
    'IntStorage': '<i4',
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_FILE = 16 * 2**30  # bytes
# The limits of memory; those of MAX_GROWTH and MAX_VIEWS apply beyond ALWAYS.
MAX_DIRECTORY = 4 * 2**20  # bytes of an archive's table of contents; PyTorch needs about 100 for each tensor
MAX_GROWTH = 8  # bytes of all storages per byte of the file; PyTorch does not compress its archives
MAX_VIEWS = 4  # bytes of all distinct tensors per byte of the storages that they are views of
ALWAYS = 64 * 2**20  # bytes that are always allowed
MAX_DIMENSIONS = 32
CHUNK = 2**20  # bytes to read at once


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict, by name.

    Tensors that are the same view of a storage share one array.

    Raises:
      UserError: if the file does not exist, is damaged, holds anything but a dictionary of tensors, or would take more memory
        than a file of its size can need; the message gives the reason.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise UserError(f'{path} is not a file')
    try:
        with _WeightFile(path) as file:
            return _read_zip(file) if zipfile.is_zipfile(file) else _read_stream(file)
    except pickles.Refused as e:
        raise UserError(f'{path} holds {reason(e)}, but only a dictionary of tensors can be read') from e
    except (
        Exception
    ) as e:  # zipfile, zlib, struct and NumPy raise errors of many types, depending on which byte is damaged
        raise UserError(f'{path} is not a complete file of PyTorch tensors ({reason(e)}): get it again') from e


class _WeightFile(io.BufferedReader):
    """An open file that never returns more than ``MAX_DIRECTORY`` bytes at once, whatever length a header claims."""

    def __init__(self, path: pathlib.Path):
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size
        if self.size > MAX_FILE:
            raise ValueError(f'it is larger than {MAX_FILE} bytes')

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes as any file does, or raise ValueError for more than ``MAX_DIRECTORY``."""
        least = MAX_DIRECTORY + 1 if size is None or size < 0 else size
        data = super().read(min(least, MAX_DIRECTORY + 1))
        if len(data) > MAX_DIRECTORY:
            raise ValueError('one of its headers is too long')
        return data


@dataclasses.dataclass(eq=False)
class _Storage:
    """An array of numbers that tensors are views of; it is read after all tensors are described."""

    dtype: np.dtype
    size: int
    data: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


class _Storages(dict[str, _Storage]):
    """A dictionary of the storages that a pickle refers to, by key."""

    def declare(self, pid: object) -> _Storage:
        """Return the storage of a persistent id, which is a tuple of tag, type, key, device, size, and sometimes a view."""
        if not isinstance(pid, tuple) or len(pid) not in (5, 6):
            raise TypeError('a storage is described in an unknown way')
        tag, dtype, key, _, size, *view = pid
        if view not in ([], [None]):
            raise pickles.Refused('a storage that is a view of another')
        if tag != 'storage' or type(key) is not str or not isinstance(dtype, np.dtype) or not _are_counts([size]):
            raise TypeError('a storage is described in an unknown way')
        storage = self.setdefault(key, _Storage(dtype, cast(int, size)))
        if (storage.dtype, storage.size) != (dtype, size):
            raise ValueError('a storage is described in two ways')
        return storage

    @property
    def nbytes(self) -> int:
        return sum(storage.nbytes for storage in self.values())


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A view of a storage; its offset and strides count numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __hash__(self) -> int:
        # Python hashes text with a secret, so a file cannot be made that holds thousands of tensors with the same hash.
        return hash(f'{id(self.storage)} {self.offset} {self.shape} {self.strides}')

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def check(self) -> None:
        """Raise ValueError if the tensor does not fit into its storage."""
        if not self.nbytes:
            return
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if last >= self.storage.size:
            raise ValueError('a tensor reaches beyond its numbers')
        if self.nbytes > self.storage.nbytes:
            raise ValueError('a tensor has more numbers than its storage')

    def array(self) -> np.ndarray:
        """Return a copy of the numbers, in the shape of the tensor."""
        if not self.nbytes:
            return np.zeros(self.shape, self.storage.dtype)
        if self.storage.data is None:
            raise ValueError('the numbers of a tensor are missing')
        numbers = self.storage.data[self.offset :]
        # A dimension of one element may have any stride.
        strides = [s * numbers.itemsize if n > 1 else 0 for n, s in zip(self.shape, self.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(numbers, self.shape, strides, writeable=False).copy()


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> _Tensor:
    """Describe a tensor, in place of the function of PyTorch that makes it."""
    for sizes in (shape, strides):
        if not isinstance(sizes, tuple) or len(sizes) > MAX_DIMENSIONS or not _are_counts(sizes):
            raise TypeError('the shape of a tensor is not a tuple of whole numbers')
    shape, strides = cast(tuple, shape), cast(tuple, strides)
    if not isinstance(storage, _Storage) or not _are_counts([offset]) or len(shape) != len(strides):
        raise TypeError('a tensor is described in an unknown way')
    return _Tensor(storage, cast(int, offset), shape, strides)


def _rebuild_parameter(tensor: object, *_: object) -> object:
    return tensor


def _are_counts(values: Iterable[object]) -> bool:
    return all(type(x) is int and x >= 0 for x in values)  # isinstance would accept True and False


NAMES: dict[str, object] = {
    'collections.OrderedDict': pickles.new_dictionary,
    'torch._utils._rebuild_tensor_v2': _rebuild_tensor,
    'torch._utils._rebuild_parameter': _rebuild_parameter,
    **{f'torch.{name}': np.dtype(dtype) for name, dtype in DTYPES.items()},
}


def _tensors(file: IO[bytes], storages: _Storages, file_size: int) -> dict[str, _Tensor]:
    """Return the tensors that a pickle describes, and add their storages to ``storages``.

    Raises:
      ValueError: if they need more memory than a file of this size can explain.
    """
    tree = pickles.load(file, NAMES, storages.declare)
    if not isinstance(tree, dict):
        raise pickles.Refused('something other than a dictionary')
    for name, tensor in tree.items():
        if not isinstance(tensor, _Tensor):
            raise pickles.Refused(f'{name}, which is not a tensor')
        tensor.check()
    if storages.nbytes > ALWAYS + MAX_GROWTH * file_size:
        raise ValueError(f'it declares {storages.nbytes} bytes of numbers, and has {file_size}')
    tensors = cast(dict[str, _Tensor], tree)
    if sum(tensor.nbytes for tensor in set(tensors.values())) > ALWAYS + MAX_VIEWS * storages.nbytes:
        raise ValueError('its tensors have far more numbers than their storages')
    return tensors


def _arrays(tensors: Mapping[str, _Tensor]) -> dict[str, np.ndarray]:
    arrays = {tensor: tensor.array() for tensor in set(tensors.values())}
    return {name: arrays[tensor] for name, tensor in tensors.items()}


def _read_zip(file: _WeightFile) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        indices = [info for info in infos if info.filename == 'data.pkl' or info.filename.endswith('/data.pkl')]
        members = {info.filename: info for info in infos}
        if len(indices) != 1 or len(members) != len(infos):
            raise ValueError('it is not the only archive in the file, or not an archive of PyTorch')
        folder = indices[0].filename.removesuffix('data.pkl')

        def content(name: str, size: int | None = None) -> np.ndarray:
            return _content(archive, members, folder + name, size)

        if f'{folder}byteorder' in members and content('byteorder', len(b'little')).tobytes() != b'little':
            raise ValueError('its numbers are big-endian')
        storages = _Storages()
        if indices[0].file_size > pickles.MAX_BYTES:
            raise ValueError('its pickle is too long')
        tensors = _tensors(io.BytesIO(content('data.pkl').tobytes()), storages, file.size)
        for key, storage in storages.items():
            storage.data = content(f'data/{key}', storage.nbytes).view(storage.dtype)
    return _arrays(tensors)


def _content(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], name: str, size: int | None
) -> np.ndarray:
    """Return the bytes of a member of an archive, and check that there are ``size`` of them if it is given."""
    info = members.get(name)
    if info is None:
        raise ValueError(f'{name} is missing')
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f'{name} is encrypted, or compressed in another way than PyTorch does')
    if size is not None and info.file_size != size:
        raise ValueError(f'{name} has {info.file_size} bytes, and {size} are declared')
    content, filled = np.empty(info.file_size, np.uint8), 0
    with archive.open(info) as member:
        while filled < len(content):
            chunk = np.frombuffer(member.read(min(CHUNK, len(content) - filled)), np.uint8)
            if not len(chunk):
                raise EOFError(f'{name} is cut short')
            content[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
    return content


def _read_stream(file: _WeightFile) -> dict[str, np.ndarray]:
    file.seek(0)
    # The header is three pickles: magic number, protocol, and byte order with sizes of types.
    magic, protocol, system = (pickles.load(file, {}, _no_storage) for _ in range(3))
    if (magic, protocol) != (LEGACY_MAGIC, LEGACY_PROTOCOL):
        raise ValueError('its magic number is missing')
    if not isinstance(system, dict) or system.get('little_endian') is not True:
        raise ValueError('its numbers are big-endian')
    storages = _Storages()
    tensors = _tensors(file, storages, file.size)
    keys = pickles.load(file, {}, _no_storage)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise ValueError('its storages are not those of its tensors')
    for key in keys:
        storage = storages[key]
        (size,) = struct.unpack('<q', file.read(8))
        if size != storage.size:
            raise ValueError(f'a storage has {size} numbers, and {storage.size} are declared')
        if storage.nbytes > file.size - file.tell():
            raise EOFError('it is cut short')
        storage.data = np.empty(size, storage.dtype)
        if file.readinto(storage.data.view(np.uint8).data) != storage.nbytes:
            raise EOFError('it is cut short')
    return _arrays(tensors)


def _no_storage(pid: object) -> None:
    raise ValueError('a storage where none belongs')
