"""A trained model in memory, with its config and the names of its classes."""

from __future__ import annotations

import dataclasses

from jax.sharding import Mesh

from jaxgen.apps import from_config
from jaxgen.apps.config import Config
from jaxgen.errors import check
from jaxgen.methods.base import Method
from jaxgen.training.sampling import SamplePipeline
from jaxgen.types import PyTree


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
      config: the options of training and of sampling.
      method: the networks and the mathematics of the model.
      mesh: the devices of the model.
      step: the training step of the parameters.
      model: the full state of the method.
      class_names: the classes in the order of their labels.
    """

    config: Config
    method: Method
    mesh: Mesh
    step: int
    model: PyTree
    class_names: tuple[str, ...]

    def sampler(self, seed: int | None = None, stream: str = 'sample') -> SamplePipeline:
        """Return the pipeline that samples with the options of ``config.sample``; see ``from_config.sample_pipeline``.

        Raises:
          UserError: if the method generates no images.
        """
        check(
            self.method.capabilities.samples,
            f'config.family={self.config.method} generates no images: pass the --config of a diffusion model or a GAN',
        )
        return from_config.sample_pipeline(
            self.config, self.method, self.mesh, self.model, self.class_names, seed=seed, stream=stream
        )
