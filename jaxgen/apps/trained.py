"""A trained model in memory, with its config and the names of its classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jax.sharding import Mesh

from jaxgen.apps.config import Config
from jaxgen.errors import check
from jaxgen.methods.base import Method
from jaxgen.training import SamplePipeline
from jaxgen.training.sampling import chosen_classes
from jaxgen.types import PyTree


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
      config: the options of training and of sampling.
      method: the networks and the mathematics of the model.
      mesh: the devices of the model.
      step: the training step of the parameters.
      model: the full state of the method, or the shapes of its arrays.
      class_names: the classes in the order of their labels.
    """

    config: Config
    method: Method
    mesh: Mesh
    step: int
    model: PyTree
    class_names: tuple[str, ...]

    def sampler(self, seed: int | None = None, stream: str = 'sample') -> SamplePipeline:
        """Return the pipeline that samples with the options of ``config.sample``.

        Args:
          seed: seed of the images; that of the config if not set.
          stream: stream of random keys that the images come from.

        Raises:
          UserError: if the method generates no images.
        """
        check(
            self.method.capabilities.samples,
            f'config.family={self.config.method} generates no images: pass the --config of a diffusion model or a GAN',
        )
        return SamplePipeline(
            self.method,
            self.mesh,
            self.model,
            classes=classes_to_sample(self.config, self.class_names),
            seed=self.config.seed if seed is None else seed,
            stream=stream,
            batch_size=self.config.sample.batch_size,
            ema=self.config.sample.ema,
        )


def classes_to_sample(config: Config, class_names: Sequence[str]) -> tuple[int, ...]:
    """Return the labels of the classes to sample in turn: those of config.sample, else of config.data, else of the model."""
    return chosen_classes(class_names, config.sample.classes, config.data.classes)
