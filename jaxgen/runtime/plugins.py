"""Import the user's own modules, which register further parts."""

from __future__ import annotations

import importlib
import pathlib
import sys
import traceback
from collections.abc import Iterable

from jaxgen.errors import UserError, described


def import_plugins(plugins: Iterable[str]) -> None:
    """Import modules from the current folder or from installed packages, so that configs can choose what they register.

    Raises:
      UserError: if one of them cannot be found, or fails.
    """
    here = str(pathlib.Path.cwd())
    for name in plugins:
        if here not in sys.path:
            sys.path.insert(0, here)
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as e:
            raise UserError(
                f'config.plugins={name} cannot be imported ({e}): write the name of a module in this folder or of an '
                f'installed package'
            ) from e
        except (Exception, SystemExit) as e:  # a user's module can raise anything
            frame = traceback.extract_tb(e.__traceback__)[-1]
            place = '' if frame.filename.startswith('<') else f'{frame.filename}, line {frame.lineno}: '
            raise UserError(f'config.plugins={name} cannot be imported: {place}{described(e)}') from e
