"""The options of importing and exporting weights: the section ``interop``."""

from __future__ import annotations

import dataclasses

from jaxgen.schema import Options, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class InteropOptions(Options):
    """Where weights come from or go to, and in which format."""

    path: str | None = option(
        None,
        'folder to import or export; an import also takes a name on the Hugging Face Hub; needed by both modes',
        path=True,
    )
    format: str = option(
        'pytorch',
        'format of an export: pytorch, or jaxgen for bfloat16 weights and a config.json, to use as a run directory',
        choices=('pytorch', 'jaxgen'),
    )
