"""Options: frozen dataclasses whose fields have a type, a range or a list of choices, and one sentence of help.

Each part of the library declares its options next to the code that reads them. The command line derives its flags, its help and
its messages from the same declarations::

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class OptimizerOptions(Options):
        learning_rate: float = option(2e-4, 'learning rate at its peak', above=0, at_most=1000)
        decay: str = option('none', 'how the learning rate falls', choices=('none', 'cosine'))
        decay_steps: int | None = option(None, 'step at which the decay ends; the length of the run if not set', at_least=1)

    OptimizerOptions(learning_rate=-1.0)  # OptionError: learning_rate=-1.0 must be above 0
"""

from jaxgen.schema.options import Options, Sections, from_tree, option, spec, specs, to_tree, with_default
from jaxgen.schema.paths import expanded
from jaxgen.schema.refusals import OptionError, located, require, require_one_of
from jaxgen.schema.spec import Spec

__all__ = [
    'OptionError',
    'Options',
    'Sections',
    'Spec',
    'expanded',
    'from_tree',
    'located',
    'option',
    'require',
    'require_one_of',
    'spec',
    'specs',
    'to_tree',
    'with_default',
]
