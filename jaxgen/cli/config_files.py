"""Load config files: Python files whose ``get_config`` returns the draft of a config. An error message names the line."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import pathlib
import re
import traceback
import types
from collections.abc import Callable, Iterator

from ml_collections import ConfigDict

import jaxgen
from jaxgen.apps.config import RunOptions, nearest_fields, section_classes
from jaxgen.errors import UserError, described
from jaxgen.schema import located, specs

FOLDER = 'configs'
STORED = 'config.json'  # the config of a run directory
OF_ANOTHER_KIND = 'name a config file, as in configs/ddpm_digits.py, or the config.json of a run directory'


def load(path: pathlib.Path, variant: str | None) -> ConfigDict:
    """Return the draft that a config file makes.

    Args:
      path: the file.
      variant: the argument of ``get_config``; None to call it without one.

    Raises:
      UserError: if the file does not exist, is not a config file or has an error, or there is no such variant.
    """
    if not path.is_file():
        raise UserError(_missing(path))
    if path.suffix != '.py':
        raise UserError(f'--config={path} is not a Python file: {OF_ANOTHER_KIND}')
    get_config = _get_config(path)
    arguments = [] if variant is None else [variant]
    try:
        inspect.signature(get_config).bind(*arguments)
    except TypeError as e:
        remedy = f'needs a variant: write --config={path}:VARIANT'
        if variant is not None:
            remedy = f'has no variants: leave out :{variant}'
        raise UserError(f'--config={path} {remedy}') from e
    with _mistakes(path):
        draft = get_config(*arguments)
    _require_draft(draft, path)
    return draft


def _get_config(path: pathlib.Path) -> Callable[..., object]:
    """Run a config file and return its function ``get_config``."""
    try:
        code = compile(path.read_bytes(), str(path), 'exec', dont_inherit=True)
    except OSError as e:
        raise UserError(f'--config={path} cannot be read ({e.strerror}): {OF_ANOTHER_KIND}') from e
    except SyntaxError as e:
        raise UserError(f'--config={path} is not Python: {e.msg} in line {e.lineno or 1}') from e
    except (ValueError, RecursionError, MemoryError) as e:
        raise UserError(f'--config={path} is not Python ({described(e)}): {OF_ANOTHER_KIND}') from e
    module = types.ModuleType('config_file')
    module.__file__ = str(path)
    with _mistakes(path):
        exec(code, module.__dict__)
    get_config = getattr(module, 'get_config', None)
    if not callable(get_config):
        raise UserError(f'--config={path} has no function get_config: {OF_ANOTHER_KIND}')
    return get_config


@contextlib.contextmanager
def _mistakes(path: pathlib.Path) -> Iterator[None]:
    """Turn any error in a config file into a UserError with its line; a UserError that the file raises passes unchanged."""
    try:
        yield
    except (Exception, SystemExit) as e:
        frames = traceback.extract_tb(e.__traceback__)
        if isinstance(e, UserError) and frames[-1].filename == str(path):
            raise
        said = described(e, str(path))
        unknown = re.search(r'Key "(\w+)" does not exist|Did you mean "\w+" instead of "(\w+)"', str(e))
        if unknown is not None and isinstance(e, KeyError | AttributeError):
            name = unknown[1] or unknown[2]
            said = f'{said.partition(": ")[0]}: the field {name} {nearest_fields(name, "ddpm")}'
        raise UserError(f'--config={path}, {said}') from e


def _require_draft(draft: object, path: pathlib.Path) -> None:
    """Refuse an object that is not a draft of ``config.base``, or no longer has all of its sections.

    Raises:
      UserError: naming the file, and the field if there is one.
    """
    if not isinstance(draft, ConfigDict) or not {*specs(RunOptions)} <= {*draft}:
        raise UserError(f'--config={path}: get_config must return the config that config.base made')
    with located(f'--config={path}: config.'):
        family = specs(RunOptions)['family'].checked(draft.family)
        specs(RunOptions)['plugins'].checked(draft.plugins)
    for section, options in section_classes(family).items():
        if not isinstance(draft.get(section), ConfigDict):
            raise UserError(
                f'--config={path}: config.{section} is not a section with the fields {", ".join(specs(options))}: begin with '
                f'config.base({family!r}), and set fields alone'
            )


def _missing(path: pathlib.Path) -> str:
    """Return a message about a path that is not a file; it names the most similar config, or all of them."""
    kind = 'is a folder and not a file' if path.is_dir() else 'is not a file'
    stored = [folder / STORED for folder in (path, path.parent) if (folder / STORED).is_file()]
    if stored and path.suffix != '.py':
        return f'--config={path} {kind}; did you mean {stored[0]}?'
    known = _configs()
    near = difflib.get_close_matches(path.stem, [config.stem for config in known], n=1)
    if near:
        found = next(config for config in known if config.stem == near[0])
        return f'--config={path} {kind}; did you mean {found}?'
    if known:
        return f'--config={path} {kind}; there are {", ".join(map(str, known))}'
    return f'--config={path} {kind}, and no folder {FOLDER} is here: run this in a checkout of jaxgen, or name a file of yours'


def _configs() -> list[pathlib.Path]:
    """Return the config files of the current folder, or else of the checkout from which jaxgen is imported."""
    for folder in (pathlib.Path(FOLDER), pathlib.Path(jaxgen.__path__[0]).parent / FOLDER):
        found = sorted(folder.glob('[!_]*.py'))
        if found:
            return found
    return []
