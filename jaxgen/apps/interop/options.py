"""The options of importing and exporting weights: the section ``interop``."""

from __future__ import annotations

import dataclasses

from jaxgen.errors import UserError
from jaxgen.io.hub import require_name
from jaxgen.schema import OptionError, Options, option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class InteropOptions(Options):
    """The place from which weights are imported or to which they are exported, and their format."""

    path: str | None = option(
        None,
        'folder to import from or export to; an import also accepts a name on the Hugging Face Hub; needed by both modes, unless '
        'hub is set',
        path=True,
    )
    format: str = option(
        'pytorch',
        'format of an export: pytorch, or jaxgen for bfloat16 weights and a config.json, to use as a run directory',
        choices=('pytorch', 'jaxgen'),
    )
    hub: str | None = option(
        None,
        'repository OWNER/NAME on the Hugging Face Hub to which an export of format=jaxgen is uploaded with a model card; no '
        'upload if not set',
    )
    private: bool = option(False, 'make a new repository on the Hub visible to its owner only')
    license: str = option(
        'other',
        'licence that the model card states, by its identifier on the Hub, such as apache-2.0 or mit',
    )

    def check(self) -> None:
        """Refuse a name that the Hub cannot have, and an upload of another format."""
        if self.hub is None:
            return
        try:
            require_name(self.hub)
        except UserError as e:
            raise OptionError('hub', f'={e}') from e
        require(
            self.format == 'jaxgen',
            'hub',
            f'={self.hub} is for exports of interop.format=jaxgen, which jaxgen.load reads: set that too, or leave hub out',
        )
