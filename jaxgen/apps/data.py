"""Load the images of a config."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Sequence

from etils import epath

from jaxgen.apps import stored_config
from jaxgen.apps.config import Config
from jaxgen.data import Dataset, loading
from jaxgen.data.loading import Facts
from jaxgen.data.options import DataOptions, kind_of
from jaxgen.data.prepared.store import SPLITS
from jaxgen.errors import UserError
from jaxgen.runtime.progress import Stage
from jaxgen.schema import OptionError, specs


def facts(config: Config) -> Facts:
    """Return facts about the images of a config: class names, size, channels and splits. No image is read."""
    with _located():
        return loading.facts(config.data)


def load_split(
    config: Config, split: str, *, classes: Sequence[str] | None = None, max_examples: int | None = None
) -> Dataset:
    """Load a split of the data of a config.

    Args:
      config: the config.
      split: one of the splits of ``facts``.
      classes: classes to keep; those of the config if not set.
      max_examples: number of images to keep, regardless of the config; all if not set.

    Raises:
      UserError: as ``jaxgen.data.load`` does.
    """
    with _located(), Stage(f'reading the {split} images of {config.data.title}', sums_up=False):
        return loading.load_split(config.data, split, classes=classes or config.data.classes, max_examples=max_examples)


def resolve(config: Config, workdir: epath.Path | None) -> Config:
    """Return a config that includes facts about its images, such as class names, if they are not a data set known by name.

    The facts come from the config of the run in ``workdir``, so that only training needs the images. If there is no such run, or
    ``workdir`` is None, the images are prepared.

    Raises:
      UserError: as ``jaxgen.data.load`` does.
    """
    if kind_of(config.data.name) is None:
        return config
    stored = ((workdir and stored_config.read_run(workdir)) or {}).get('data', {})
    options = config.data
    if stored.get('name') == options.name:
        known = {field: stored.get(field) for field in specs(type(options)) if getattr(options, field) is None}
        options = dataclasses.replace(options, **{field: value for field, value in known.items() if value is not None})
    with _located():
        return config.replace({'data': loading.resolved(options)})


def is_split(config: Config, name: str) -> bool:
    """Return whether a name is a split of the data of a config, as in ``folder:test``."""
    return kind_of(config.data.name) is not None and name in [f'{config.data.name}:{split}' for split in SPLITS]


@contextlib.contextmanager
def _located() -> Iterator[None]:
    """Add the section to messages about the data: ``path=x does not exist`` becomes ``config.data.path=x does not exist``."""
    try:
        yield
    except OptionError as e:
        raise OptionError(f'config.data.{e.field}', e.reason) from e
    except UserError as e:
        first = re.match(r'\w*', str(e))
        is_field = first is not None and first[0] in specs(DataOptions)
        raise UserError(f'config.data.{e}' if is_field else f'config.data: {e}') from e
