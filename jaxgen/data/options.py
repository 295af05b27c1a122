"""The options of the training images: the section ``data``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

from PIL import ImageColor

from jaxgen.data.resize import FILTERS
from jaxgen.data.sources import LARGEST, SOURCES
from jaxgen.errors import UserError, pick, shortened
from jaxgen.io.pictures import Colour
from jaxgen.schema import Options, option, require, require_one_of

FOLDER, HUB, TFDS = 'folder', 'hf:', 'tfds:'
CROPS = ('center', 'random', 'none')
# The fields that only sources of your own images read, by the kind of source.
READ_BY_ALL = ('labels', 'test_fraction', 'channels', 'resize', 'background', 'max_refused')
READ = {
    FOLDER: ('path', *READ_BY_ALL),
    HUB: ('image_key', 'label_key', *READ_BY_ALL),
    TFDS: ('image_key', 'label_key', *READ_BY_ALL),
}


def kind_of(name: str) -> str | None:
    """Return the kind of source whose images are prepared in the cache; None for a data set of the registry."""
    if name == FOLDER:
        return FOLDER
    return next((kind for kind in (HUB, TFDS) if name.startswith(kind)), None)


def _shown(value: object) -> str:
    return shortened(str(value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceOptions(Options):
    """A source of images, and how its images are cropped and resized.

    Example:
      >>> SourceOptions(name='folder', path='holiday', image_size=64, crop='random').fill
      (255, 255, 255)
    """

    name: str = option(
        'cifar10',
        'data set: a registered one such as cifar10, folder (see path), hf:OWNER/NAME[:CONFIG] on the Hugging Face Hub, or '
        'tfds:NAME[/CONFIG][:VERSION] of TensorFlow Datasets',
    )
    path: str | None = option(
        None,
        'for name=folder: a folder of images in any depth, or a .zip or .tar with such a folder; no folder if not set',
        path=True,
    )
    labels: str | None = option(
        None,
        'where the classes of your own images come from: subfolders, none, or a JSON file that maps file names to classes; '
        'if not set, the subfolders if every image lies in one. none also ignores the labels of hf: and tfds:',
        path=True,
    )
    image_key: str | None = option(
        None, 'column of hf: or feature of tfds: that holds the images; if not set, the only such column'
    )
    label_key: str | None = option(
        None,
        'column of hf: or feature of tfds: that holds the classes; if not set, the only such column, if there is one',
    )
    test_fraction: float | None = option(
        None,
        'share of the images that become the test split if the source has none, chosen by a hash of each file; 0.1 if not set',
        at_least=0,
        at_most=0.9,
    )
    image_size: int | None = option(
        None,
        "side of the images in pixels, to which they are resized; the data set's own size if not set, or 64 if it has none",
        at_least=1,
        at_most=8192,
    )
    channels: int | None = option(
        None,
        'channels to which your own images are converted: 1 for grey or 3 for colour; if not set, those of tfds:, otherwise 3',
        at_least=1,
        at_most=3,
    )
    crop: str | None = option(
        None,
        'how a square is cropped from an image that is not square; for your own images center, random (another square in '
        'each training step) or none (such images are refused); the default of the data set if not set',
    )
    resize: str | None = option(
        None, 'filter with which images are resized, always antialiased; bicubic if not set', choices=lambda: FILTERS
    )
    background: str | None = option(
        None, 'background colour of transparent images, such as black or #80c0ff; white if not set'
    )
    max_refused: float | None = option(
        None,
        'largest share of the files that may be unusable: the preparation stops if there are more; 0.01 if not set',
        at_least=0,
        at_most=1,
    )

    @property
    def title(self) -> str:
        """The name of the data set or the folder, for pages and reports."""
        return os.path.basename(os.path.normpath(self.path)) if self.path else self.name

    @property
    def fill(self) -> Colour:
        """The background colour of transparent images: red, green and blue from 0 to 255."""
        return ImageColor.getrgb(self.background or 'white')[:3]

    def check(self) -> None:
        """Refuse values that do not go together."""
        if kind_of(self.name) is None:
            self._check_name()
        if self.crop is not None:
            require_one_of([self.crop], SOURCES[self.name].crops if kind_of(self.name) is None else CROPS, 'crop')
        require(self.channels != 2, 'channels', '=2 must be 1 or 3, or None')
        try:
            self.fill  # noqa: B018
        except ValueError:
            require(
                False, 'background', f'={_shown(self.background)} is not a colour: name one, such as white or #80c0ff'
            )

    def require_read(self) -> None:
        """Refuse fields that this kind of source does not read, since the user probably meant another source.

        Raises:
          OptionError: naming the first such field.
        """
        kind, name = kind_of(self.name), _shown(self.name)
        read = READ.get(kind or '', ())
        for field in dict.fromkeys(field for fields in READ.values() for field in fields):
            value = getattr(self, field)
            require(
                value is None or field in read, field, f'={_shown(value)} has no effect with name={name}: leave it out'
            )
        wanted = self.labels
        require(
            kind in (None, FOLDER) or wanted in (None, 'none'),
            'labels',
            f'={_shown(wanted)} is for name=folder: for {name} choose none, or label_key',
        )
        require(
            wanted in (None, 'none', 'subfolders') or str(wanted).endswith('.json'),
            'labels',
            f'={_shown(wanted)} must be subfolders, none, or a .json file',
        )

    def _check_name(self) -> None:
        try:
            pick(self.name, SOURCES, 'the data set')
        except UserError as e:
            require(False, 'name', f': {e} For your own images, use folder with a path, hf:OWNER/NAME, or tfds:NAME')


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions(SourceOptions):
    """A choice of training images, and how they are batched.

    Example:
      >>> DataOptions(name='digits', classes=('7', '1')).batch_size
      128
    """

    batch_size: int = option(
        128, 'images in a training step, over all devices and processes', at_least=1, at_most=100_000_000
    )
    classes: tuple[str, ...] | None = option(None, 'classes to train on; all classes of the data set if not set')
    max_examples: int | None = option(
        None, 'number of training images to keep, counted from the first; all of them if not set', at_least=1
    )
    random_flip: bool = option(False, 'mirror half of the training images, chosen at random in each step')
    class_names: tuple[str, ...] | None = option(
        None,
        'all classes of the images of folder, hf: or tfds:; found when the images are prepared if not set',
    )
    fingerprint: str | None = option(
        None,
        'hash of the images and classes of folder, hf: or tfds:, which shows later changes; computed when the images are '
        'prepared if not set',
    )

    def check(self) -> None:
        """Refuse values that do not go together."""
        super().check()
        classes = self.classes or ()
        names = self.class_names if kind_of(self.name) else SOURCES[self.name].class_names
        if names is not None:
            require_one_of(classes, names, 'classes')
        require(len(set(classes)) == len(classes), 'classes', f'={",".join(classes)} names a class twice')


def require_memory(counts: Mapping[str, int], image_shape: tuple[int, int, int]) -> None:
    """Refuse numbers of images that need too much memory as float32, summed over all devices.

    Args:
      counts: the number of images in memory at once, by the option that decides it, such as ``sample.num``.
      image_shape: height, width and channels.

    Raises:
      OptionError: naming the section and the field.
    """
    height, width, channels = image_shape
    for field, count in counts.items():
        size = 4 * count * height * width * channels
        require(
            size <= LARGEST,
            field,
            f': {count:,} images of {height}x{width}x{channels} take {size / 2**30:,.0f} GiB as float32, and at most '
            f'{LARGEST // 2**30} GiB are held at once: choose a smaller number, or smaller images',
        )
