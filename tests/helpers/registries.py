"""Put the registries back as they were after code that registers pieces of its own."""

import contextlib

from jaxgen.apps.register import REGISTRIES


@contextlib.contextmanager
def restored():
    """Restore every registry at the end."""
    before = {kind: dict(registry) for kind, registry in REGISTRIES.items()}
    try:
        yield
    finally:
        for kind, registry in REGISTRIES.items():
            registry.clear()
            registry.update(before[kind])
