"""The preconditioned network of a diffusion model, in the form that samplers call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgen.diffusion import predictions
from jaxgen.diffusion.compatibility import CONSISTENCY, MEAN_FLOW
from jaxgen.diffusion.guidance import Predict
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.predictions import Prediction
from jaxgen.diffusion.samplers.base import Denoiser
from jaxgen.diffusion.samplers.mean_flow import Jump
from jaxgen.methods.diffusion.sampling import SamplingSettings
from jaxgen.types import Array, PyTree

Edit = Callable[[Array], Array]  # changes each estimate of x_0 [N, H, W, C]; ``editing.keep_known`` returns one


@dataclasses.dataclass(frozen=True)
class PreconditionedNetwork:
    """A network with its trained variables.

    Attributes:
      prediction: what the network predicts, one of ``compatibility.ALL_PREDICTIONS``.
      learned_variance: whether the network learns the variance of a step.
      variables: the variables of ``network``.
    """

    network: nn.Module
    prediction: str
    learned_variance: bool
    variables: PyTree

    @property
    def null_label(self) -> int:
        """The label that stands for no class, for a network that was trained with some labels withheld."""
        return self.network.num_classes - 1

    def predict(self, x: Float[Array, 'n h w c'], level: Level, labels: Int[Array, ' n']) -> Prediction:
        """Return the network's prediction for images at a scalar noise level, neither guided nor clipped."""

        def network(x: Array, t: Array) -> Array:
            return self._output(x, t, labels)

        prediction = 'edm' if self.prediction == CONSISTENCY else self.prediction  # it has the same preconditioning
        return predictions.predict(prediction, network, x, level, learned_variance=self.learned_variance)

    def predictor(self, labels: Int[Array, ' n'], *, clip: bool = False) -> Predict:
        """Return ``predict(x, level)`` for images with these labels; ``clip`` clips the estimates to [-1, 1]."""

        def predict(x: Array, level: Level) -> Prediction:
            return self.predict(x, level, labels)

        return clipped(predict) if clip else predict

    def jump(self, labels: Int[Array, ' n']) -> Jump:
        """Return ``jump(x, level, next_level)`` of a mean-flow network, which returns x at the next level."""

        def jump(x: Array, level: Level, next_level: Level) -> Array:
            duration = level.sigma - next_level.sigma
            return x - duration * self._output(x, jnp.stack([level.t, 1000 * duration]), labels)

        return jump

    def _output(self, x: Array, t: Array, labels: Array) -> Array:
        output: PyTree = self.network.apply(self.variables, x, jnp.broadcast_to(t, (len(x), *t.shape)), labels)
        return output


def clipped(predict: Predict) -> Predict:
    """Clip each estimate of x_0 to [-1, 1], the range of images."""

    def clipped_predict(x: Array, level: Level) -> Prediction:
        mean, variance_fraction = predict(x, level)
        return Prediction(jnp.clip(mean, -1.0, 1.0), variance_fraction)

    return clipped_predict


def edited(predict: Predict, edit: Edit) -> Predict:
    """Change each estimate of x_0 by ``edit``."""

    def edited_predict(x: Array, level: Level) -> Prediction:
        mean, variance_fraction = predict(x, level)
        return Prediction(edit(mean), variance_fraction)

    return edited_predict


def mean_only(predict: Predict) -> Denoiser:
    """Return ``denoiser(x, level)``, the estimate of x_0 without its variance fraction."""
    return lambda x, level: predict(x, level).mean


def sampling_denoiser(
    network: PreconditionedNetwork,
    labels: Int[Array, ' n'],
    settings: SamplingSettings,
    *,
    guide: PreconditionedNetwork | None = None,
    edit: Edit | None = None,
    guidance_scale: Array | None = None,
) -> Denoiser:
    """Return the function that ``settings.sampler`` calls: the guided, clipped and edited denoiser, or a mean flow's jump.

    Args:
      network: the network with its variables.
      labels: class labels ``[N]``.
      settings: how images are generated.
      guide: the worse model of autoguidance.
      edit: a function that changes each estimate of x_0.
      guidance_scale: a traced scale that replaces the scale of ``settings`` if they use classifier-free guidance.
    """
    if network.prediction == MEAN_FLOW:
        return network.jump(labels)
    predict = network.predictor(labels)
    if settings.is_autoguided and guide is None:
        raise ValueError('guide_scale is not 1, but there is no guide: name the run directory of one in sample.guide')
    if settings.is_guided or settings.is_autoguided:
        guidance = settings.guidance
        if guidance_scale is not None and settings.is_guided:
            guidance = dataclasses.replace(guidance, scale=guidance_scale)
        predict = guidance(
            network.predict,
            labels,
            null_label=network.null_label if settings.is_guided else None,
            guide=guide.predict if guide is not None and settings.is_autoguided else None,
        )
    if settings.clip:
        predict = clipped(predict)
    if edit is not None:
        predict = edited(predict, edit)
    return predict if settings.sampler.needs_variance else mean_only(predict)
