"""Classifier-free guidance (Ho & Salimans 2022), and autoguidance by a worse model (Karras et al. 2024)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.predictions import Prediction
from jaxgen.types import Array

ConditionalPredict = Callable[[Array, Level, Array], Prediction]  # predict(x, level, labels)
Predict = Callable[[Array, Level], Prediction]  # predict(x, level)


@dataclasses.dataclass(frozen=True)
class Guidance:
    """A wrapper that guides a denoiser: ``predict = Guidance(scale=3.0)(conditional_predict, labels, null_label)``.

    Classifier-free guidance moves the estimate of x_0 away from the estimate without a class. Autoguidance moves it away from
    the estimate of the guide, a worse model of the same data::

        x_0 + (scale - 1) (x_0 - x_0(no class)) + (guide_scale - 1) (x_0 - x_0(guide))

    Attributes:
      scale: scale of classifier-free guidance; 1 gives the conditional estimate. It may be traced.
      low, high: noise levels sigma / alpha between which the estimate is guided (Kynkaanniemi et al. 2024); there is no
        upper limit if ``high`` is None.
      rescale: how far the contrast of the guided estimate is brought back to the contrast of the conditional estimate, from 0
        (not at all) to 1.
      guide_scale: scale of autoguidance, w in Karras et al. 2024 (Guiding a Diffusion Model with a Bad Version
        of Itself); 1 gives the model's own estimate.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import diffusion
      >>> guidance = diffusion.Guidance(scale=3.0)
      >>> guidance.combine(conditional=jnp.array([[0.5]]), unconditional=jnp.array([[0.25]])).tolist()
      [[1.0]]
    """

    scale: float | Array = 1.0
    low: float = 0.0
    high: float | None = None
    rescale: float = 0.0
    guide_scale: float = 1.0

    def __call__(
        self,
        conditional_predict: ConditionalPredict,
        labels: Int[Array, ' n'],
        null_label: int | None = None,
        guide: ConditionalPredict | None = None,
    ) -> Predict:
        """Return the guided denoiser for images with these labels.

        Args:
          conditional_predict: called once a step, with twice the batch where classifier-free guidance applies.
          labels: class labels of the images.
          null_label: the label that stands for no class; None turns classifier-free guidance off.
          guide: the worse model, called once a step where the estimate is guided; None turns autoguidance off.

        Returns:
          ``predict(x, level)``. Its ``variance_fraction``, if there is one, comes from the conditional prediction.
        """

        def predict_guided(x: Array, level: Level) -> Prediction:
            if null_label is None:
                conditional, unconditional = conditional_predict(x, level, labels), None
            else:
                conditional, unconditional = predict_both(x, level, null_label)
            of_guide = None if guide is None else guide(x, level, labels).mean
            return Prediction(self.combine(conditional.mean, unconditional, of_guide), conditional.variance_fraction)

        def predict_both(x: Array, level: Level, null_label: int) -> tuple[Prediction, Array]:
            with_class, without_class = jnp.asarray(labels), jnp.full_like(labels, null_label)
            both = conditional_predict(jnp.concatenate([x, x]), level, jnp.concatenate([with_class, without_class]))
            conditional, unconditional = jnp.split(both.mean, 2)
            variance_fraction = None
            if both.variance_fraction is not None:
                variance_fraction, _ = jnp.split(both.variance_fraction, 2)
            return Prediction(conditional, variance_fraction), unconditional

        def predict(x: Array, level: Level) -> Prediction:
            return jax.lax.cond(
                self._applies_at(level),
                lambda x: predict_guided(x, level),
                lambda x: conditional_predict(x, level, labels),
                x,
            )

        return predict

    def combine(
        self,
        conditional: Float[Array, 'n ...'],
        unconditional: Float[Array, 'n ...'] | None = None,
        of_guide: Float[Array, 'n ...'] | None = None,
    ) -> Float[Array, 'n ...']:
        """Return the guided estimate of x_0, given the estimates with the class, without it, and by the guide."""
        guided = conditional
        if unconditional is not None:
            guided = unconditional + self.scale * (conditional - unconditional)
        if of_guide is not None:
            guided += (self.guide_scale - 1) * (conditional - of_guide)
        return rescale_contrast(guided, conditional, self.rescale)

    def _applies_at(self, level: Level) -> Array | bool:
        applies = level.sigma > self.low * level.alpha
        if self.high is not None:
            applies &= level.sigma < self.high * level.alpha
        return applies


def rescale_contrast(
    guided: Float[Array, 'n ...'], conditional: Float[Array, 'n ...'], share: float
) -> Float[Array, 'n ...']:
    """Bring the standard deviation of each guided image back to that of the conditional one (Lin et al. 2023, section 3.4).

    Args:
      guided: guided estimates of x_0.
      conditional: estimates with the class, not guided.
      share: how far to go: 0 leaves the guided images as they are, 1 gives them the standard deviation of the conditional ones.
    """
    if not share:
        return guided
    axes = tuple(range(1, conditional.ndim))
    ratio = jnp.std(conditional, axes, keepdims=True) / jnp.std(guided, axes, keepdims=True)
    return guided * (share * ratio + 1 - share)
