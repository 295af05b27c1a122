"""The PyTorch counterparts of jaxgen's methods, with the same weights.

Each twin trains and samples like a method with its default options. Nothing here needs JAX: a twin is built from the files that
``jaxgen.apps.benchmark.describe`` writes, and from the config as a JSON object.
"""

from jaxgen.apps.twins.base import ConfigTree, Execution
from jaxgen.apps.twins.dcgan import DCGANTwin
from jaxgen.apps.twins.diffusion import DiffusionTwin

__all__ = ['TWINS', 'AnyTwin', 'ConfigTree', 'Execution']

AnyTwin = DiffusionTwin | DCGANTwin
TWINS: dict[str, type[AnyTwin]] = {'ddpm': DiffusionTwin, 'dcgan': DCGANTwin}
