"""The classes of the images of a folder, from its subfolders or from a JSON file.

The JSON file maps paths relative to the folder to classes, ``{"cats/1.png": "cat", ...}``, or is a ``dataset.json`` as EDM writes
it, ``{"labels": [["00000/1.png", 3], ...]}``. A ``dataset.json`` in the folder or the archive is read by default. Classes are
texts, or whole numbers from 0.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxgen.data.dataset import UNLABELLED
from jaxgen.data.options import SourceOptions
from jaxgen.data.prepared.listing import natural_order
from jaxgen.errors import UserError, check, on_one_line, reason, shortened

EDM = 'dataset.json'
MAX_BYTES = 2**29  # size in bytes of the largest JSON file that is read


class Labels(NamedTuple):
    """A class for each image.

    Attributes:
      labels: the class of each image, int32 ``[N]``, indices into ``class_names``.
      class_names: the name of each class.
      stamp: a text that changes when the JSON file does.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    stamp: str = ''


def read(
    options: SourceOptions, names: Sequence[str], inner: Sequence[str], member: Callable[[str], bytes | None]
) -> Labels:
    """Return the class of each image of a folder.

    Args:
      options: ``options.labels`` decides where the classes come from.
      names: the path of each image relative to the folder.
      inner: the path of each image relative to the folder of its split.
      member: function that returns the bytes of a file in the folder, or None if there is no such file.

    Raises:
      UserError: if an image has no class, a class has no image, or the JSON file names images that do not exist.
    """
    wanted = options.labels
    if wanted == 'none':
        return _unlabelled(len(names))
    if wanted is None or wanted.endswith('.json'):
        data = _file(wanted, member)
        if data is not None:
            try:
                return _from_json(data, wanted or EDM, names, inner)
            except UserError as e:
                if wanted is None:
                    raise UserError(f'{e}; {EDM} was found in the folder, and labels=none ignores it') from e
                raise
    tops = [on_one_line(name.rpartition('/')[0].partition('/')[0]) for name in inner]
    if '' in tops:
        bare = inner[tops.index('')]
        check(
            wanted != 'subfolders',
            f'labels=subfolders, but {shortened(bare)} lies in no subfolder: move it into one, or choose labels=none',
        )
        return _unlabelled(len(names))
    class_names = tuple(natural_order(set(tops)))
    _require_names(class_names, len({name.partition('/')[0] for name in inner}), 'the subfolders')
    number = {name: i for i, name in enumerate(class_names)}
    return Labels(np.array([number[top] for top in tops], np.int32), class_names)


def mixed_note(options: SourceOptions, inner: Sequence[str]) -> tuple[str, ...]:
    """Return a note if some images lie in subfolders and others do not, since there are no classes then."""
    bare = sum('/' not in name for name in inner)
    if options.labels is not None or bare in (0, len(inner)):
        return ()
    return (f'{bare:,} of {len(inner):,} images lie in no subfolder, so subfolders are not classes here',)


def _unlabelled(count: int) -> Labels:
    return Labels(np.zeros(count, np.int32), UNLABELLED)


def _file(wanted: str | None, member: Callable[[str], bytes | None]) -> bytes | None:
    """Return the content of the JSON file of labels; None if the options name none and the folder holds none."""
    if wanted is None:
        return member(EDM)
    path = pathlib.Path(wanted)
    if not path.is_file():
        data = member(wanted)
        check(data is not None, f'labels={wanted} does not exist, neither here nor in the folder: name a JSON file')
        return data
    try:
        check(path.stat().st_size <= MAX_BYTES, f'labels={wanted} has more than {MAX_BYTES // 2**20} MiB')
        return path.read_bytes()
    except OSError as e:
        raise UserError(f'labels={wanted} cannot be read ({e.strerror}): allow it, or name another file') from e


def _from_json(data: bytes, file: str, names: Sequence[str], inner: Sequence[str]) -> Labels:
    classes = _parsed(data, file)
    stamp = hashlib.sha256(data).hexdigest()
    if classes is None:
        return _unlabelled(len(names))._replace(stamp=stamp)
    absent = classes.keys() - set(names) - set(inner)
    check(
        not absent,
        f'labels={file} names {len(absent):,} images that do not exist, such as {shortened(min(absent, default=""))}: '
        f'correct it, or bring them back',
    )
    found = [classes.get(name, classes.get(short)) for name, short in zip(names, inner, strict=True)]
    unnamed = [name for name, value in zip(names, found, strict=True) if value is None]
    check(
        not unnamed,
        f'labels={file} has no class for {len(unnamed):,} images, such as {shortened(next(iter(unnamed), ""))}: add them, or '
        f'move them away',
    )
    if all(isinstance(value, str) for value in found):
        count = len(set(found))
        found = [on_one_line(str(value)) for value in found]
        class_names = natural_order({str(value) for value in found})
        _require_names(class_names, count, f'labels={file}')
    else:
        present = set(found)
        count = next(i for i in itertools.count() if i not in present)
        check(
            count == len(present),
            f'labels={file}: no image has the class {count}: number the classes from 0 without gaps',
        )
        class_names = [str(i) for i in range(count)]
    number = {name: i for i, name in enumerate(class_names)}
    return Labels(np.array([number[str(value)] for value in found], np.int32), tuple(class_names), stamp)


def _require_names(class_names: Sequence[str], count: int, where: str) -> None:
    """Refuse blank names, and names that differ only by characters that cannot be printed."""
    check(
        all(name.strip() for name in class_names), f'{where}: a class has a blank name: give it another, or labels=none'
    )
    check(len(class_names) == count, f'{where}: two classes differ by characters that cannot be printed: rename one')


def _parsed(data: bytes, file: str) -> Mapping[str, str | int] | None:
    """Return the class of each name; None if the file states that there are no classes."""
    expected = 'a JSON object of names and classes, or {"labels": [[name, class], ...]}'
    try:
        tree = json.loads(data, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as e:
        raise UserError(f'labels={file} is not {expected} ({reason(e)})') from e
    if isinstance(tree, dict) and set(tree) >= {'labels'} and not isinstance(tree['labels'], str | int):
        pairs = tree['labels']
        if pairs is None:
            return None
        is_list = isinstance(pairs, list) and all(isinstance(p, list) and len(p) == 2 for p in pairs)
        check(is_list and all(isinstance(p[0], str) for p in pairs), f'labels={file} is not {expected}')
        tree = dict(pairs)
        check(len(tree) == len(pairs), f'labels={file} names an image twice: correct it')
    check(isinstance(tree, dict), f'labels={file} is not {expected}')
    kinds = {type(value) for value in tree.values()}
    is_valid = kinds in ({str}, {int}) and (kinds == {str} or min(tree.values()) >= 0)
    check(
        is_valid,
        f'labels={file}: all classes must be texts, or all whole numbers from 0; found {shortened(_odd(tree))}',
    )
    return tree


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the pairs of a JSON object as a dictionary.

    Raises:
      ValueError: if a name occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError('a name occurs twice')
    return found


def _odd(tree: Mapping[str, object]) -> str:
    odd = [value for value in tree.values() if not isinstance(value, str)]
    return repr(odd[0] if odd else tree)
