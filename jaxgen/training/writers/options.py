"""The options of logging: the section ``log``."""

from __future__ import annotations

import dataclasses
import re

from jaxgen.errors import shortened
from jaxgen.schema import Options, option, require

PROJECT = re.compile(r'([^/\\#?%:\s]+/)?[^/\\#?%:\r\n\t]{1,128}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogOptions(Options):
    """The places to which training reports, besides the files of the run directory."""

    wandb: str | None = option(
        None,
        'project of Weights & Biases, PROJECT or ENTITY/PROJECT, that also gets the metrics and the grids of samples; none if '
        'not set',
    )

    def check(self) -> None:
        """Refuse a name that no project can have."""
        require(
            self.wandb is None or PROJECT.fullmatch(self.wandb) is not None,
            'wandb',
            f'={shortened(self.wandb or "")} must be PROJECT or ENTITY/PROJECT, without any of \\ # ? % :',
        )


def require_installed(options: LogOptions) -> None:
    """Refuse options for which a package is not installed.

    Raises:
      OptionError: naming log.wandb.
    """
    if options.wandb is None:
        return
    try:
        import wandb

        is_installed = hasattr(
            wandb, 'init'
        )  # a folder wandb/ next to the program can be imported, too, but has no init
    except ImportError:
        is_installed = False
    require(is_installed, 'log.wandb', f'={options.wandb} needs the package wandb: pip install wandb, or leave it out')
