"""List the images of a folder, a zip archive or a tar archive.

- Files with the suffix of an image format are listed at any depth, in natural order. Hidden files and folders are skipped.
- If all images lie in folders named ``train`` and ``test`` (or ``val``, ``valid``, ``validation``), these are the splits.
- The classes are the subfolders of the folder or of its splits, or a JSON file names them; see ``labels``.
- If an archive has a single folder at the top, that folder is skipped, since it comes from archiving a folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import tarfile
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np

from jaxgen.data.options import SourceOptions
from jaxgen.data.prepared import labels
from jaxgen.data.prepared.listing import BY_HASH, TEST, TRAIN, Key, Listing, Reader, natural_order
from jaxgen.errors import UserError, check, on_one_line, reason, shortened
from jaxgen.io.folders import files_below, is_hidden
from jaxgen.io.pictures import SUFFIXES, read_file

MAX_BYTES = 2**28  # size in bytes of the largest file that is read
TRAIN_NAMES = ('train', 'training')
TEST_NAMES = ('test', 'val', 'valid', 'validation')  # the first that exists is the test split
SYSTEM = '__MACOSX'  # a folder that macOS adds to archives


@dataclasses.dataclass(frozen=True)
class Files:
    """A list of the files in a folder or an archive.

    Attributes:
      names: paths of all files that are not hidden, relative to the folder, with ``/`` between their parts.
      keys: the reader's key of each name.
      reader: reads the files.
      stamp: a text that changes when a file does.
    """

    names: Sequence[str]
    keys: dict[str, Key]
    reader: Reader
    stamp: str


@dataclasses.dataclass(frozen=True)
class FolderReader:
    """A reader of the files of a folder. Its keys are paths relative to the folder."""

    folder: str

    def read(self, keys: Sequence[str]) -> Iterator[bytes | UserError]:
        """Yield the bytes of each file, or why it cannot be read."""
        for key in keys:
            path, name = pathlib.Path(self.folder, key), on_one_line(key)
            try:
                check(path.stat().st_size <= MAX_BYTES, f'{name} has more than {MAX_BYTES // 2**20} MiB')
                yield read_file(path, name)
            except OSError as e:
                yield UserError(f'{name} cannot be read ({e.strerror or e})')
            except UserError as e:
                yield e


@dataclasses.dataclass(frozen=True)
class ZipReader:
    """A reader of the members of a zip archive. Its keys are the names of the members."""

    archive: str
    stamp: str  # changes with the archive, so that a process that has it open opens it again

    def read(self, keys: Sequence[str]) -> Iterator[bytes | UserError]:
        """Yield the bytes of each member, or why it cannot be read."""
        archive = _zip(self.archive, self.stamp)
        for key in keys:
            name = on_one_line(key)
            try:
                size = archive.getinfo(key).file_size
                check(size <= MAX_BYTES, f'{name} has more than {MAX_BYTES // 2**20} MiB')
                with archive.open(key) as member:
                    yield member.read(size + 1)
            except UserError as e:
                yield e
            except Exception as e:  # zipfile raises errors of many types, depending on which byte is damaged
                yield UserError(f'{name} cannot be read ({reason(e)})')


@dataclasses.dataclass(frozen=True)
class TarReader:
    """A reader of the members of a tar archive. Its keys are the offset and the size of each member, in bytes."""

    archive: str

    def read(self, keys: Sequence[tuple[int, int]]) -> Iterator[bytes | UserError]:
        """Yield the bytes of each member, or why it cannot be read."""
        with open(self.archive, 'rb') as file:
            for offset, size in keys:
                if size > MAX_BYTES:
                    yield UserError(f'the file at byte {offset} of the archive has more than {MAX_BYTES // 2**20} MiB')
                    continue
                file.seek(offset)
                yield file.read(size)


@functools.lru_cache(maxsize=2)
def _zip(path: str, stamp: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


def list_folder(options: SourceOptions) -> Listing:
    """List the images of ``options.path``.

    Raises:
      UserError: if it does not exist, holds no image, or does not have the classes that ``options.labels`` asks for.
    """
    files = _files(options)
    images = natural_order(name for name in files.names if name.lower().endswith(SUFFIXES))
    others = len(files.names) - len(images)
    check(
        bool(images),
        f'path={options.path} holds no image ({" ".join(SUFFIXES)})' + f', only {others} other files' * bool(others),
    )
    inner, splits, notes = _splits(images)
    notes += labels.mixed_note(options, inner) + _empty_note(options, images, inner)
    known = labels.read(options, images, inner, functools.partial(_member, files))
    kept = [i for i in range(len(images)) if splits[i] is not None]
    names = [images[i] for i in kept]
    return Listing(
        [on_one_line(name) for name in names],
        [files.keys[name] for name in names],
        files.reader,
        known.labels[kept],
        known.class_names,
        np.array([splits[i] for i in kept], np.int8),
        hashlib.sha256(f'{files.stamp}\0{known.stamp}'.encode()).hexdigest(),
        notes=notes,
    )


def _files(options: SourceOptions) -> Files:
    if options.path is None:
        raise UserError(
            'path is not set: name a folder of images, a .zip or a .tar. Only a model that is already trained needs no path'
        )
    path = pathlib.Path(options.path)
    suffix = path.suffix.lower()
    if path.is_dir():
        return _files_of_folder(path)
    check(path.exists(), f'path={path} does not exist: name a folder of images, or a .zip or .tar')
    try:
        with open(path, 'rb'):
            pass
        if suffix == '.zip':
            return _files_of_zip(path)
        if suffix == '.tar':
            return _files_of_tar(path)
    except OSError as e:
        raise UserError(f'path={path} cannot be read ({e.strerror or e}): allow it, or name another') from e
    raise UserError(f'path={path} is neither a folder, nor a .zip, nor a .tar: unpack it, and name the folder')


def _files_of_folder(folder: pathlib.Path) -> Files:
    stamp = hashlib.sha256()
    names = []
    for file in files_below(folder):
        name = file.relative_to(folder).as_posix()
        names.append(name)
        with contextlib.suppress(OSError):  # a broken link is refused when it is read
            stamp.update(_stamp(file).encode())
        stamp.update(os.fsencode(name) + b'\0')
    return Files(names, {name: name for name in names}, FolderReader(str(folder)), stamp.hexdigest())


def _files_of_zip(path: pathlib.Path) -> Files:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except Exception as e:  # zipfile raises errors of many types, depending on which byte is damaged
        if isinstance(e, OSError):
            raise
        raise UserError(f'path={path} is not a zip archive that can be read ({reason(e)}): save it again') from e
    check(not any(m.flag_bits & 1 for m in members), f'path={path} is encrypted: unpack it, and name the folder')
    keys = _keys_by_name(path, [member.filename for member in members], [member.filename for member in members])
    stamp = _stamp(path)
    return Files(list(keys), keys, ZipReader(str(path), stamp), stamp)


def _files_of_tar(path: pathlib.Path) -> Files:
    try:
        with tarfile.open(path, 'r:') as archive:
            entries = list(archive)
            members = [entry for entry in entries if entry.isreg()]
            end = archive.offset
    except tarfile.TarError as e:
        raise UserError(
            f'path={path} is not an uncompressed tar archive that can be read ({reason(e)}): unpack it, and name the folder'
        ) from e
    with open(path, 'rb') as file:
        file.seek(end)
        is_whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    check(
        is_whole, f'path={path} ends too early, or is damaged, after {len(members):,} files: copy or download it again'
    )
    others = [entry.name for entry in entries if entry.issym() or entry.islnk() or entry.issparse()]
    check(
        not others,
        f'path={path} has links or sparse files, such as {shortened(next(iter(others), ""))}, which are not read from an '
        f'archive: unpack it, and name the folder',
    )
    names = [member.name for member in members]
    keys = _keys_by_name(path, names, [(member.offset_data, member.size) for member in members])
    return Files(list(keys), keys, TarReader(str(path)), _stamp(path))


def _keys_by_name(archive: pathlib.Path, names: Sequence[str], keys: Sequence[Key]) -> dict[str, Key]:
    """Return the key of each member of an archive by its name; a single folder at the top is removed from the names.

    Raises:
      UserError: if a name points outside the archive, or two members have the same name.
    """
    found: dict[str, Key] = {}
    for name, key in zip((name.removeprefix('./') for name in names), keys, strict=True):
        parts = name.split('/')
        check('\\' not in name, f'path={archive} has backslashes in its names: unpack it, and name the folder')
        check(
            '..' not in parts and '' not in parts and '\0' not in name,
            f'path={archive} has the member {shortened(name)!r}, whose name points outside the archive: make the archive again',
        )
        check(
            name not in found, f'path={archive} has two files with the name {shortened(name)!r}: make the archive again'
        )
        if not any(is_hidden(part) or part == SYSTEM for part in parts):
            found[name] = key
    tops = {name.partition('/')[0] for name in found}
    if len(tops) == 1 and all('/' in name for name in found) and not tops & {*TRAIN_NAMES, *TEST_NAMES}:
        return {name.partition('/')[2]: key for name, key in found.items()}
    return found


def _stamp(file: pathlib.Path) -> str:
    status = file.stat()
    return f'{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} '


def _member(files: Files, name: str) -> bytes | None:
    """Return the bytes of a file of the source, or None if there is no such file."""
    if name not in files.keys:
        return None
    (data,) = files.reader.read([files.keys[name]])
    if isinstance(data, UserError):
        raise data
    return data


def _empty_note(options: SourceOptions, images: Sequence[str], inner: Sequence[str]) -> tuple[str, ...]:
    """Return a note if a subfolder that could be a class holds no image.

    Raises:
      UserError: if the options ask for subfolders as classes.
    """
    root = pathlib.Path(options.path or '')
    if options.labels not in (None, 'subfolders') or not root.is_dir():
        return ()
    places = {
        image.removesuffix(name) for image, name in zip(images, inner, strict=True)
    }  # '', or the folders of the splits
    empty = []
    for place in sorted(places):
        tops = {image.removeprefix(place).partition('/')[0] for image in images if image.startswith(place)}
        entries = [entry for entry in os.scandir(root / place) if not is_hidden(entry.name)]
        folders = [
            entry.name for entry in entries if entry.is_dir(follow_symlinks=False)
        ]  # a link may lead to a parent
        empty += [place + name for name in sorted(set(folders) - tops)]
    if not empty:
        return ()
    sentence = f'{len(empty)} subfolders of {root} hold no image, such as {shortened(empty[0])}'
    check(options.labels is None, f'labels=subfolders, but {sentence}: remove them, or add images')
    return (f'{sentence}: they are not classes',)


def _splits(images: Sequence[str]) -> tuple[list[str], list[int | None], tuple[str, ...]]:
    """Return each name relative to the folder of its split, each split (None for an image that is left out), and notes."""
    tops = [name.partition('/')[0].lower() if '/' in name else '' for name in images]
    if not set(tops) <= {*TRAIN_NAMES, *TEST_NAMES} or not set(tops) & set(TRAIN_NAMES):
        return list(images), [BY_HASH] * len(images), ()
    inner = [name.partition('/')[2] for name in images]
    tests = [name for name in TEST_NAMES if name in tops]
    if not tests:
        return inner, [BY_HASH] * len(images), ()
    split_of = {name: TRAIN for name in TRAIN_NAMES} | {tests[0]: TEST}
    notes = tuple(f'the folder {name} is not used: {tests[0]} is the test split' for name in tests[1:])
    return inner, [split_of.get(top) for top in tops], notes
