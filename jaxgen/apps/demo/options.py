"""The options of the demo page: the section ``demo``."""

from __future__ import annotations

import dataclasses
import re

from jaxgen.errors import shortened
from jaxgen.schema import Options, option, require

HOST = re.compile(r'[\w.-]+|\[?[0-9a-fA-F:.]+\]?')


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoOptions(Options):
    """The models that the page shows, the address where it listens, and the limits of each visitor."""

    workdirs: tuple[str, ...] | None = option(
        None,
        'run directories that the page shows; --workdir and all under runs/ and pretrained/ if not set',
        path=True,
    )
    host: str = option('127.0.0.1', 'address to listen at; 0.0.0.0 accepts connections from the whole network')
    port: int = option(7860, 'port to listen at', at_least=1, at_most=65535)
    hosts: tuple[str, ...] | None = option(
        None,
        'names under which browsers may open the page, as in lab.example.org; only localhost and the addresses of this '
        'machine if not set',
    )
    proxies: tuple[str, ...] | None = option(
        None,
        'addresses of reverse proxies, whose X-Forwarded headers say who the visitor is; these headers are ignored if not set',
    )
    jobs_per_address: int = option(
        4, 'jobs of one address that may wait or run; each browser tab has one, its newest', at_least=1
    )
    calls_per_job: int = option(
        64_000, 'largest number of network calls of a job: images x steps, twice that with guidance', at_least=1
    )
    calls_per_minute: int = option(128_000, 'network calls that one address may ask for in a minute', at_least=1)

    def check(self) -> None:
        """Refuse invalid addresses and names, and a limit per job above the limit per minute."""
        for field in ('hosts', 'proxies'):
            for name in getattr(self, field) or ():
                require(
                    HOST.fullmatch(name) is not None or field == 'proxies' and '/' in name,
                    field,
                    f'={name} must be a name or an address alone, without http:// and without a port',
                )
        require(
            self.calls_per_job <= self.calls_per_minute,
            'calls_per_job',
            f'={self.calls_per_job} must be at most calls_per_minute={self.calls_per_minute}',
        )
        labels = self.host.split('.')
        require(
            re.fullmatch('[0-9A-Za-z.:_-]+', self.host) is not None and all(0 < len(label) < 64 for label in labels),
            'host',
            f'={shortened(self.host)} is not an address: write it as in 127.0.0.1 or localhost',
        )
