"""The file of an adapter: the trained factors, and the base to which they belong."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import numpy as np
from etils import epath
from flax import traverse_util
from safetensors.numpy import save

from jaxgen.apps.config import Config
from jaxgen.apps.finetune.options import FinetuneOptions
from jaxgen.errors import UserError, check
from jaxgen.errors import names as split_names
from jaxgen.io import run_directory, tensors
from jaxgen.io.files import parse_object, write_atomically
from jaxgen.schema import from_tree, located, to_tree
from jaxgen.types import Fields, JsonObject, PyTree

FILE = run_directory.ADAPTER
METADATA = 'jaxgen'  # the entry of the file's header that describes the adapter
HOW = ('method', 'rank', 'alpha', 'targets')  # the fields of config.finetune that are stored
FIELDS = ('base', 'class_names', 'finetune', 'model', 'diffusion')


@dataclasses.dataclass(frozen=True)
class Adapter:
    """An adapter: the update of a base that fine-tuning has trained.

    Attributes:
      factors: the factors of each adapted layer, see ``models.lora``.
      base: hash of the weights with which the base samples.
      class_names: the classes of the adapted network in the order of their labels; those of the base come first.
      finetune: ``config.finetune`` without the path of the base.
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
    how = {name: fields['finetune'][name] for name in HOW}
    return Adapter(factors, base, class_names, how, fields['model'], fields['diffusion'])


def write(path: epath.PathLike, adapter: Adapter) -> None:
    """Write an adapter: the whole file or nothing."""
    factors = traverse_util.flatten_dict(adapter.factors, sep='/')
    # The header gets a single entry, because several entries would be written in random order.
    about = json.dumps({name: getattr(adapter, name) for name in FIELDS})
    write_atomically(path, save({name: np.ascontiguousarray(x) for name, x in factors.items()}, {METADATA: about}))


def read(path: epath.PathLike, field: str) -> Adapter:
    """Read an adapter from a file.

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
        found, header = tensors.parse(data)
        about = _checked(parse_object(header.get(METADATA, '')))
    except ValueError as e:
        raise UserError(f'{field}={path} is damaged, or no adapter ({e}): name the {FILE} of a fine-tuning') from e
    factors: dict[str, dict[str, np.ndarray]] = {}
    for name, value in tensors.float32(found, f'{field}={path}').items():
        layer, _, part = name.rpartition('/')
        factors.setdefault(layer, {})[part] = value
    return Adapter(factors, **about)


def _checked(stored: JsonObject) -> JsonObject:
    """Return the entries ``FIELDS`` of the header of an adapter.

    Raises:
      ValueError: naming the entry that is missing or of another type.
    """
    for name, kind in (('base', str), ('class_names', list), ('finetune', dict), ('model', dict), ('diffusion', dict)):
        check(isinstance(stored.get(name), kind), f'{name} is missing or wrong')
    names = stored['class_names']
    check(
        bool(names) and all(isinstance(name, str) for name in names) and len(set(names)) == len(names),
        'class_names are not different names',
    )
    how = {name: stored['finetune'].get(name) for name in HOW}
    if isinstance(how['targets'], str):  # as earlier versions wrote them
        how['targets'] = split_names(how['targets'])
    with located('finetune.'):
        how = to_tree(from_tree(FinetuneOptions, how))
    return {
        **{name: stored[name] for name in FIELDS},
        'class_names': tuple(names),
        'finetune': {name: how[name] for name in HOW},
    }
