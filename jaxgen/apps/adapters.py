"""The file of an adapter: the factors of ``lora``, and of which base they are."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from flax import traverse_util
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jaxgen.apps.config import Config
from jaxgen.errors import UserError
from jaxgen.io.files import write_atomically

FILE = 'adapter.safetensors'  # in the workdir of a fine-tuning
METADATA = 'jaxgen'  # the entry of the file's header that says what is in it
FIELDS = ('base', 'class_names', 'finetune', 'model', 'diffusion')


@dataclasses.dataclass(frozen=True)
class Adapter:
    """What changes a base.

    Attributes:
      factors: see ``lora``.
      base: the hash of the weights that the base draws with.
      class_names: what the labels of the adapted network mean; those of its base come first.
      finetune: ``config.finetune`` but for the base's place.
      model: ``config.model`` of the base.
      diffusion: ``config.diffusion`` of the base.
    """

    factors: dict[str, dict[str, Any]]
    base: str
    class_names: tuple[str, ...]
    finetune: Mapping[str, Any]
    model: Mapping[str, Any]
    diffusion: Mapping[str, Any]

    @property
    def strength(self) -> float:
        return self.finetune['alpha'] / self.finetune['rank']


def of_config(config: Config, factors: Any, base: str, class_names: tuple[str, ...]) -> Adapter:
    """The adapter that a fine-tuning makes."""
    fields = config.to_tree()
    how = {name: fields['finetune'][name] for name in ('method', 'rank', 'alpha', 'targets')}
    return Adapter(factors, base, class_names, how, fields['model'], fields['diffusion'])


def write(path: epath.PathLike, adapter: Adapter) -> None:
    """Writes the whole file or nothing."""
    tensors = traverse_util.flatten_dict(adapter.factors, sep='/')
    about = json.dumps({name: getattr(adapter, name) for name in FIELDS})  # one entry: of several the order is random
    write_atomically(path, save({name: np.ascontiguousarray(x) for name, x in tensors.items()}, {METADATA: about}))


def read(path: epath.PathLike, field: str) -> Adapter:
    """The same from a file.

    Raises:
      UserError: if there is none, it is damaged, or no adapter.
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
    except (SafetensorError, ValueError, KeyError, TypeError) as e:
        raise UserError(f'{field}={path} is damaged, or no adapter: name the {FILE} of a fine-tuning') from e
    factors: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.items():
        layer, _, part = name.rpartition('/')
        factors.setdefault(layer, {})[part] = value
    return Adapter(factors, **{**about, 'class_names': tuple(about['class_names'])})
