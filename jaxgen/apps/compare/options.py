"""The options of a comparison of models: the section ``compare``."""

from __future__ import annotations

import dataclasses

from jaxgen.schema import Options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareOptions(Options):
    """Which models are compared."""

    workdirs: tuple[str, ...] | None = option(
        None,
        'run directories of the models, as in runs/ddpm_cifar,runs/dcgan_cifar; needed by --mode=compare',
        path=True,
    )
    seeds: int = option(
        1, 'number of seeds with which each model is evaluated, from evaluation.seed on', at_least=1, at_most=1000
    )
