"""Classifier-free guidance (Ho & Salimans 2022)."""

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

    Attributes:
      scale: w in x_0(no class) + w (x_0(class) - x_0(no class)); 1 is the conditional estimate. It may be traced.
      low, high: noise levels sigma / alpha between which the estimate is guided (Kynkaanniemi et al. 2024); a ``high`` of
        None sets no limit.
      rescale: how far the contrast of the guided estimate is brought back to that of the conditional one, 0 to 1.

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

    def __call__(self, conditional_predict: ConditionalPredict, labels: Int[Array, ' n'], null_label: int) -> Predict:
        """Return the guided denoiser of images of these labels.

        Args:
          conditional_predict: called once a step, with twice the batch where the estimate is guided.
          labels: class labels of the images.
          null_label: the label that stands for no class.

        Returns:
          A function whose ``variance_fraction``, if any, is that of the conditional prediction.
        """

        def predict_both(x: Array, level: Level) -> Prediction:
            with_class, without_class = jnp.asarray(labels), jnp.full_like(labels, null_label)
            both = conditional_predict(jnp.concatenate([x, x]), level, jnp.concatenate([with_class, without_class]))
            conditional, unconditional = jnp.split(both.mean, 2)
            variance_fraction = None
            if both.variance_fraction is not None:
                variance_fraction, _ = jnp.split(both.variance_fraction, 2)
            return Prediction(self.combine(conditional, unconditional), variance_fraction)

        def predict(x: Array, level: Level) -> Prediction:
            return jax.lax.cond(
                self._applies_at(level),
                lambda x: predict_both(x, level),
                lambda x: conditional_predict(x, level, labels),
                x,
            )

        return predict

    def combine(
        self, conditional: Float[Array, 'n ...'], unconditional: Float[Array, 'n ...']
    ) -> Float[Array, 'n ...']:
        """Return the guided estimate of x_0 from the estimates with and without the class."""
        guided = unconditional + self.scale * (conditional - unconditional)
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
      share: how far; 0 returns the guided images, 1 those of the conditional deviation.
    """
    if not share:
        return guided
    axes = tuple(range(1, conditional.ndim))
    ratio = jnp.std(conditional, axes, keepdims=True) / jnp.std(guided, axes, keepdims=True)
    return guided * (share * ratio + 1 - share)
