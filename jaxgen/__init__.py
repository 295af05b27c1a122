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
    from jaxgen.apps import config
    from jaxgen.apps.load import load
    from jaxgen.apps.register import register
    from jaxgen.training import Trainer

__version__ = '0.1.0'
__all__ = [
    'Trainer',
    '__version__',
    'config',
    'data',
    'diffusion',
    'gan',
    'load',
    'methods',
    'metrics',
    'models',
    'register',
]

# The module that defines each public name, and the name of the attribute there; None if the name is the module itself.
_PUBLIC: dict[str, tuple[str, str | None]] = {
    'Trainer': ('jaxgen.training', 'Trainer'),
    'config': ('jaxgen.apps.config', None),
    'data': ('jaxgen.data', None),
    'diffusion': ('jaxgen.diffusion', None),
    'gan': ('jaxgen.gan', None),
    'load': ('jaxgen.apps.load', 'load'),
    'methods': ('jaxgen.methods', None),
    'metrics': ('jaxgen.metrics', None),
    'models': ('jaxgen.models', None),
    'register': ('jaxgen.apps.register', 'register'),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module_name, attribute = _PUBLIC[name]
    module = importlib.import_module(module_name)
    value = module if attribute is None else getattr(module, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
