"""The config of a workdir as a config file, so that ``--config=runs/NAME/config.json`` needs no other flag."""

from __future__ import annotations

import json

from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps.config import base
from jaxgen.apps.same_run import flatten
from jaxgen.errors import UserError
from jaxgen.methods import METHODS


def get_config(path: epath.PathLike) -> ConfigDict:
    """The fields of a ``config.json``; those that came later have their defaults, and the path of an import is forgotten.

    Raises:
      UserError: if it is none.
    """
    try:
        return from_json(json.loads(epath.Path(path).read_text()))
    except OSError as e:
        raise UserError(f'--config={path} cannot be read ({e.strerror})') from e
    except (ValueError, AttributeError, KeyError) as e:
        raise UserError(f'--config={path} is not the config.json of a workdir') from e


def from_json(tree: dict) -> ConfigDict:
    """The same of what such a file holds.

    Raises:
      ValueError, AttributeError or KeyError: if it is no config.
    """
    stored = flatten(tree)
    config = base(stored['family'] if stored.get('family') in METHODS else '')
    known = flatten(config.to_dict())
    config.update_from_flattened_dict(
        {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items() if k in known}
    )
    config.interop.path = ''
    return config
