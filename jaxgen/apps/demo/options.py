"""The options of the demo page: the section ``demo``."""

from __future__ import annotations

import dataclasses

from jaxgen.schema import Options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoOptions(Options):
    """Which models the page shows, and where it listens."""

    workdirs: tuple[str, ...] | None = option(
        None, 'run directories that the page shows; --workdir and all under runs/ and pretrained/ if not set'
    )
    host: str = option('127.0.0.1', 'address to listen at; 0.0.0.0 accepts connections from the whole network')
    port: int = option(7860, 'port to listen at', at_least=1, at_most=65535)
