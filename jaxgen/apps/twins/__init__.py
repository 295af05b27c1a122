"""The PyTorch counterparts of jaxgen's methods, with the same weights.

Each twin trains and samples as a method with its default options does. Nothing here needs JAX: a twin is made of the files
that ``jaxgen.apps.benchmark.describe`` writes, and of the config as a JSON object.
"""

from jaxgen.apps.twins.base import ConfigTree, Execution
from jaxgen.apps.twins.dcgan import DCGANTwin
from jaxgen.apps.twins.diffusion import DiffusionTwin

__all__ = ['TWINS', 'AnyTwin', 'ConfigTree', 'Execution']

AnyTwin = DiffusionTwin | DCGANTwin
TWINS: dict[str, type[AnyTwin]] = {'ddpm': DiffusionTwin, 'dcgan': DCGANTwin}
