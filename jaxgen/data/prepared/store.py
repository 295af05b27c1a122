"""Prepared images in the cache: made once on all cores, stored completely or not at all, and made again when a file changes.

Each folder of the cache holds ``images.npy`` (a row for each listed file), ``items.npz`` (the row, label, split and size of each
image that can be used) and ``about.json``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import math
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import cast

import joblib
import numpy as np

from jaxgen.data.dataset import Dataset, ImagesOnDisk, Origin
from jaxgen.data.options import FOLDER, HUB, TFDS, SourceOptions, kind_of
from jaxgen.data.prepared.convert import Conversion, Converted, convert_files
from jaxgen.data.prepared.folder import list_folder
from jaxgen.data.prepared.hub import list_hub
from jaxgen.data.prepared.listing import BY_HASH, TEST, TRAIN, Listing
from jaxgen.data.prepared.tfds import list_tfds
from jaxgen.errors import UserError, check
from jaxgen.io.files import cache_dir, load_npz, make_folder, parse_object, replacing, temporary_name
from jaxgen.io.names import safe_name
from jaxgen.runtime.progress import Stage, say
from jaxgen.types import Fields, JsonObject, PyTree

VERSION = 1  # version of the preparation: raise it when the same files give other images
SIDE = 64  # default side in pixels, for sources whose images have no common size
CHUNK = 32  # files that a process converts at once
# The fields of about.json that are read, in addition to the two that show whether the folder is complete and up to date.
KEYS = {'class_names', 'image_size', 'channels', 'crop', 'fingerprint', 'refused', 'notes'}
FILES = ('images.npy', 'items.npz', 'about.json')
SPLITS = {'train': TRAIN, 'test': TEST}
TEST_FRACTION, MAX_REFUSED = 0.1, 0.01  # if the options do not set them
LISTS = {FOLDER: list_folder, HUB: list_hub, TFDS: list_tfds}


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A set of prepared images in the cache. Their file stays open, so they do not change when they are prepared anew.

    Attributes:
      images: the images of all splits.
      folder: the folder of the cache that holds them.
      items: for each image its ``row`` in the file, ``label``, ``split``, ``size`` (original width and height), ``length`` and
        ``is_wide`` (see ``ImagesOnDisk``).
      about: ``class_names``, ``image_size``, ``channels``, ``crop``, ``fingerprint``, ``refused``, ``notes``.
    """

    images: ImagesOnDisk
    folder: pathlib.Path
    items: Mapping[str, np.ndarray]
    about: Fields

    @classmethod
    def opened(cls, folder: pathlib.Path, items: Mapping[str, np.ndarray], about: Fields) -> Prepared:
        """Return the images of a folder of the cache."""
        strips = (items['length'], items['is_wide']) if about['crop'] == 'random' else (None, None)
        return cls(ImagesOnDisk(folder / FILES[0], items['row'], *strips), folder, items, about)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class."""
        return tuple(self.about['class_names'])

    def split(self, name: str) -> Dataset:
        """Return the images of ``train`` or ``test``."""
        chosen = self.items['split'] == SPLITS[name]
        refused = tuple((name, why) for name, why in self.about['refused'])
        origin = Origin(
            self.folder, self.about['fingerprint'], self.items['size'][chosen], refused, tuple(self.about['notes'])
        )
        labels = self.items['label'][chosen].astype(np.int32)
        return Dataset(self.images.subset(chosen), labels, self.class_names, origin)


def prepared(options: SourceOptions) -> Prepared:
    """Return the images of a source, and prepare them first if the cache does not have them or a file has changed.

    Raises:
      UserError: if the source does not exist, too many of its files cannot be used, or the disk is full.
    """
    listing = LISTS[kind_of(options.name) or FOLDER](options)
    how = Conversion(
        options.image_size or listing.image_size or SIDE,
        options.channels or listing.channels or 3,
        options.crop or 'center',
        options.resize or 'bicubic',
        options.fill,
    )
    folder = _folder(options, how)
    found = _read(folder, listing.stamp)  # without the lock, so that a read-only cache works
    if found is not None:
        return found
    make_folder(folder.parent)
    with _locked(folder):
        found = _read(folder, listing.stamp)
        return found or _prepare(options, listing, how, folder)


def _folder(options: SourceOptions, how: Conversion) -> pathlib.Path:
    place = options.path and os.path.abspath(options.path)
    labels = options.labels and (
        options.labels if options.labels in ('none', 'subfolders') else os.path.abspath(options.labels)
    )
    source = [options.name, place, labels, options.image_key, options.label_key, options.test_fraction]
    digest = hashlib.sha256(json.dumps([VERSION, source, dataclasses.astuple(how)]).encode()).hexdigest()[:16]
    name = os.path.basename(place) if place else options.name
    return cache_dir() / 'images' / f'{safe_name(name)[:40]}-{how.size}-{digest}'


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Hold the lock of a folder of the cache; the system frees it when the process ends, however it ends."""
    path = folder.with_name(f'{folder.name}.lock')
    try:
        lock = open(path, 'a')  # noqa: SIM115  closed below
    except OSError as e:
        raise UserError(f'{path} cannot be written ({e.strerror}): allow it, or set JAXGEN_CACHE_DIR') from e
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with Stage(f'another process is preparing {folder.name}, waiting for it', sums_up=False):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(folder: pathlib.Path, stamp: str) -> Prepared | None:
    """Return the images in a folder of the cache; None if it is missing, damaged, or made from other files."""
    images, items, about = (folder / name for name in FILES)
    try:
        known = parse_object(about.read_bytes())
        arrays = load_npz(items)
        is_whole = known['stamp'] == stamp and images.stat().st_size == known['bytes'] and known.keys() >= KEYS
        return Prepared.opened(folder, arrays, known) if is_whole else None
    except (OSError, ValueError, KeyError):
        return None


def _prepare(options: SourceOptions, listing: Listing, how: Conversion, folder: pathlib.Path) -> Prepared:
    for old in folder.parent.glob(f'.*.{folder.name}'):  # left by processes that were killed
        shutil.rmtree(old, ignore_errors=True)
    what = options.path or options.name
    total = len(listing.names)
    say(f'preparing {total:,} images of {what} at {how.size}x{how.size} in {folder} (once)')
    needed, free = total * int(np.prod(how.stored_shape)), shutil.disk_usage(folder.parent).free
    check(
        needed < free,
        f'the prepared images of {what} take {needed / 2**30:.1f} GiB, but {folder.parent} has {free / 2**30:.1f} GiB free: '
        f'choose a smaller image_size, or point JAXGEN_CACHE_DIR at a larger disk',
    )
    temporary = pathlib.Path(make_folder(temporary_name(folder)))
    try:
        results = _convert_all(listing, how, temporary / FILES[0])
        check(
            LISTS[kind_of(options.name) or FOLDER](options).stamp == listing.stamp,
            f'files of {what} changed while they were prepared: run this again when they do not',
        )
        items, about = _collect(options, listing, how, results, folder)
        about['bytes'] = (temporary / FILES[0]).stat().st_size
        np.savez(temporary / FILES[1], **cast(PyTree, items))
        (temporary / FILES[2]).write_text(json.dumps(about))
        if folder.exists():
            folder.rename(temporary_name(folder))  # processes that read it keep its files open
        temporary.rename(folder)
    except OSError as e:
        raise UserError(f'{folder} cannot be written ({e.strerror or e}): make room, or set JAXGEN_CACHE_DIR') from e
    finally:
        for old in folder.parent.glob(f'.*.{folder.name}'):
            shutil.rmtree(old, ignore_errors=True)
    for note in about['notes']:
        say(note)
    return Prepared.opened(folder, items, about)


def _convert_all(listing: Listing, how: Conversion, file: pathlib.Path) -> list[Converted | str]:
    """Convert all files of a listing on all cores; return a record of each image, or the reason why it cannot be used."""
    total, size = len(listing.names), int(np.prod(how.stored_shape))
    images = np.lib.format.open_memmap(file, 'w+', np.uint8, (total, *how.stored_shape))
    offset = images.offset
    del images
    starts = range(0, total, CHUNK)
    jobs = (
        joblib.delayed(_convert_chunk)(
            start,
            listing.reader,
            listing.keys[start : start + CHUNK],
            listing.names[start : start + CHUNK],
            how,
            file,
            offset + start * size,
        )
        for start in starts
    )
    found: dict[int, list[Converted | str]] = {}
    cores = len(os.sched_getaffinity(0))
    with Stage('preparing', total) as stage:
        try:
            workers = joblib.Parallel(min(cores, len(starts)), return_as='generator_unordered', batch_size=1)
            for start, results in workers(jobs):
                found[start] = results
                stage.advance(len(results))
        except joblib.externals.loky.process_executor.TerminatedWorkerError as e:
            raise UserError(
                'a process that prepares images was ended by the system, probably for want of memory: run this again with '
                'fewer cores, as in taskset -c 0-3'
            ) from e
    return [result for start in starts for result in found[start]]


def _convert_chunk(start: int, *arguments: PyTree) -> tuple[int, list[Converted | str]]:
    return start, convert_files(*arguments)


def _collect(
    options: SourceOptions,
    listing: Listing,
    how: Conversion,
    results: list[Converted | str],
    folder: pathlib.Path,
) -> tuple[dict[str, np.ndarray], JsonObject]:
    """Return the arrays and the description of the images that can be used.

    Raises:
      UserError: if too many files cannot be used, or a class has no image to train on.
    """
    rows = [i for i, result in enumerate(results) if isinstance(result, Converted)]
    refused = [(listing.names[i], result) for i, result in enumerate(results) if isinstance(result, str)]
    _require_few(options, refused, len(results), folder)
    kept = [result for result in results if isinstance(result, Converted)]
    fraction = TEST_FRACTION if options.test_fraction is None else options.test_fraction
    by_hash = np.array([int(c.sha256[:8], 16) < fraction * 2**32 for c in kept])
    splits = listing.splits[rows]
    items = {
        'row': np.array(rows, np.int64),
        'label': listing.labels[rows],
        'split': np.where(splits == BY_HASH, by_hash, splits).astype(np.int8),
        'size': np.array([(c.width, c.height) for c in kept], np.int32),
        'length': np.array([c.length for c in kept], np.int32),
        'is_wide': np.array([c.is_wide for c in kept], bool),
    }
    _require_classes(listing, items)
    fingerprint = hashlib.sha256(json.dumps(listing.class_names).encode())
    for i, converted in enumerate(kept):
        fingerprint.update(f'{converted.sha256} {items["label"][i]} {items["split"][i]}\n'.encode())
    notes = list(listing.notes)
    if refused:
        notes.append(f'{len(refused):,} of {len(results):,} files cannot be used, such as {refused[0][1]}')
    about = {
        'stamp': listing.stamp,
        'class_names': listing.class_names,
        'image_size': how.size,
        'channels': how.channels,
        'crop': how.crop,
        'fingerprint': fingerprint.hexdigest()[:16],
        'refused': refused,
        'notes': notes,
    }
    return items, about


def _require_few(options: SourceOptions, refused: list[tuple[str, str]], total: int, folder: pathlib.Path) -> None:
    """Refuse a source with too many files that cannot be used, and write a list of these files."""
    allowed = MAX_REFUSED if options.max_refused is None else options.max_refused
    if len(refused) < total and len(refused) <= allowed * total:
        return
    report = folder.with_name(f'{folder.name}.refused.txt')
    with replacing(report) as temporary:
        temporary.write_bytes(''.join(f'{why}\n' for _, why in refused).encode(errors='backslashreplace'))
    remedy = 'repair or remove them'
    if len(refused) < total:
        remedy += f', or allow them with max_refused={math.ceil(100 * len(refused) / total) / 100:g}'
    raise UserError(
        f'{len(refused):,} of {total:,} files of {options.path or options.name} cannot be used, such as {refused[0][1]} (all: '
        f'{report}): {remedy}'
    )


def _require_classes(listing: Listing, items: Mapping[str, np.ndarray]) -> None:
    in_train = items['split'] == TRAIN
    check(bool(in_train.any()), 'no image is left to train on: all are in the test split; set test_fraction=0')
    counts = np.bincount(items['label'][in_train], minlength=len(listing.class_names))
    for name, count in zip(listing.class_names, counts, strict=True):
        check(
            count > 0,
            f'the class {name!r} has no image to train on: add some, move its images from the test split, or leave it out',
        )
