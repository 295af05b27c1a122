"""Diffusion models and GANs for images, in JAX.

The public names are imported when they are first used, so that ``import jaxgen`` takes no time and does not start JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from jaxgen.runtime import xla_flags

xla_flags.set_defaults()  # before anything else: XLA reads its flags when it compiles its first program

if TYPE_CHECKING:
    from jaxgen import data, diffusion, gan, methods, metrics, models
    from jaxgen.apps.load import load
    from jaxgen.apps.register import register
    from jaxgen.training import Trainer

__version__ = '0.1.0'
__all__ = ['Trainer', '__version__', 'data', 'diffusion', 'gan', 'load', 'methods', 'metrics', 'models', 'register']

_MODULES = ('data', 'diffusion', 'gan', 'methods', 'metrics', 'models')
_OBJECTS = {
    'Trainer': 'jaxgen.training',
    'load': 'jaxgen.apps.load',
    'register': 'jaxgen.apps.register',
}  # by the module that defines them


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f'jaxgen.{name}')
    if name not in _OBJECTS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(_OBJECTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
