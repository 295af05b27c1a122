"""The file of an adapter: the trained factors, and which base they belong to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import numpy as np
from etils import epath
from flax import traverse_util
from safetensors.numpy import load, save

from jaxgen.apps.config import Config
from jaxgen.errors import UserError
from jaxgen.io import run_directory
from jaxgen.io.files import write_atomically
from jaxgen.types import Fields, PyTree

FILE = run_directory.ADAPTER
METADATA = 'jaxgen'  # the entry of the file's header that says what is in it
FIELDS = {'base': str, 'class_names': list, 'finetune': dict, 'model': dict, 'diffusion': dict}


@dataclasses.dataclass(frozen=True)
class Adapter:
    """An adapter: the update of a base that fine-tuning has trained.

    Attributes:
      factors: the factors of each adapted layer, see ``models.lora``.
      base: hash of the weights with which the base samples.
      class_names: the classes of the adapted network in the order of their labels; those of the base come first.
      finetune: ``config.finetune`` without the place of the base.
      model: ``config.model`` of the base.
      diffusion: ``config.diffusion`` of the base.
    """

    factors: dict[str, PyTree]
    base: str
    class_names: tuple[str, ...]
    finetune: Fields
    model: Mapping[str, PyTree]
    diffusion: Fields

    @property
    def strength(self) -> float:
        """The scale of the product of the factors: alpha / rank."""
        return self.finetune['alpha'] / self.finetune['rank']


def of_config(config: Config, factors: PyTree, base: str, class_names: tuple[str, ...]) -> Adapter:
    """Return the adapter that the fine-tuning of a config has trained."""
    fields = config.to_tree()
    how = {name: fields['finetune'][name] for name in ('method', 'rank', 'alpha', 'targets')}
    return Adapter(factors, base, class_names, how, fields['model'], fields['diffusion'])


def write(path: epath.PathLike, adapter: Adapter) -> None:
    """Write an adapter: the whole file or nothing."""
    tensors = traverse_util.flatten_dict(adapter.factors, sep='/')
    about = json.dumps(
        {name: getattr(adapter, name) for name in FIELDS}
    )  # one entry, since the order of several is random
    write_atomically(path, save({name: np.ascontiguousarray(x) for name, x in tensors.items()}, {METADATA: about}))


def read(path: epath.PathLike, field: str) -> Adapter:
    """Return the adapter that a file holds.

    Args:
      path: the file.
      field: the option that names the file, for messages.

    Raises:
      UserError: if the file does not exist, is damaged, or is no adapter.
    """
    try:
        data = epath.Path(path).read_bytes()
    except OSError as e:
        raise UserError(f'{field}={path} cannot be read ({e.strerror}): name the {FILE} of a fine-tuning') from e
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], 'little')])
        stored = json.loads(header['__metadata__'][METADATA])
        about = {name: stored[name] for name in FIELDS}
        for name, kind in FIELDS.items():
            if not isinstance(about[name], kind):
                raise TypeError(f'{name} is no {kind.__name__}')
    except Exception as e:  # safetensors and JSON raise errors of many types
        raise UserError(f'{field}={path} is damaged, or no adapter: name the {FILE} of a fine-tuning') from e
    factors: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        layer, _, part = name.rpartition('/')
        factors.setdefault(layer, {})[part] = value
    return Adapter(factors, **{**about, 'class_names': tuple(about['class_names'])})
