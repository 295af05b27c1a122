"""The options of the training images: the section ``data``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jaxgen.data.dataset import LARGEST, SOURCES
from jaxgen.schema import Options, option, require, require_one_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions(Options):
    """Which images a model is trained on."""

    name: str = option('cifar10', 'data set to train on', choices=lambda: SOURCES)
    batch_size: int = option(
        128, 'images in a training step, over all devices and processes', at_least=1, at_most=100_000_000
    )
    classes: tuple[str, ...] | None = option(None, 'classes to train on; all classes of the data set if not set')
    max_examples: int | None = option(
        None, 'number of training images to keep, counted from the first; all of them if not set', at_least=1
    )
    image_size: int | None = option(
        None,
        "side of the images in pixels, to which they are resized; the data set's own size if not set",
        at_least=1,
        at_most=8192,
    )
    crop: str | None = option(
        None, 'how an image that is not square is made so; the usual way of the data set if not set'
    )
    random_flip: bool = option(False, 'mirror half of the training images, chosen at random in each step')

    def check(self) -> None:
        """Refuse values that do not go together."""
        source = SOURCES[self.name]
        classes = self.classes or ()
        require_one_of(classes, source.class_names, 'classes')
        require(len(set(classes)) == len(classes), 'classes', f'={",".join(classes)} names a class twice')
        if self.crop is not None:
            require_one_of([self.crop], source.crops, 'crop')


def require_memory(counts: Mapping[str, int], image_shape: tuple[int, int, int]) -> None:
    """Refuse numbers of images that no memory holds at once, as float32 on all devices together.

    Args:
      counts: numbers of images by the section and name of the fields that decide them.
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
