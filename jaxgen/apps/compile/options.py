"""The options of compiling for TPUs: the section ``compile``."""

from __future__ import annotations

import dataclasses
import re

from jaxgen.apps.compile.chips import CHIPS
from jaxgen.errors import shortened
from jaxgen.schema import Options, option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompileOptions(Options):
    """The TPU slice for which programs are compiled."""

    topology: str = option('v5e:2x4', 'chips of a TPU slice, as in v5e:2x4 or v5p:2x2x1')
    largest_batch: bool = option(False, 'compile with further batch sizes until the largest that fits is found')

    def check(self) -> None:
        """Refuse a topology that is written in another form, or whose chips are not known."""
        generation, _, shape = self.topology.partition(':')
        require(
            generation in CHIPS and re.fullmatch('[0-9]{1,3}x[0-9]{1,3}(x[0-9]{1,3})?', shape) is not None,
            'topology',
            f'={shortened(self.topology)} is not a TPU slice of {", ".join(CHIPS)}: write it as in v5e:2x4 or v5p:2x2x1',
        )
