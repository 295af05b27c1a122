"""The loss of each example, as ``config.diffusion`` has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxgen.diffusion import compatibility as fits
from jaxgen.diffusion import likelihood
from jaxgen.diffusion import losses as objectives
from jaxgen.diffusion.predictions import estimate
from jaxgen.diffusion.schedules import Learned, Level

if TYPE_CHECKING:
    from jaxgen.methods.diffusion.method import DDPM

Array = jax.Array
HYBRID_WEIGHT = 1e-3  # of the bound beside the simple loss (Nichol & Dhariwal 2021, equation 16)


class Losses:
    """Of a family: ``losses(network, params, x0, noise, at)`` is ``[N]`` for what ``draw`` drew."""

    def __init__(self, family: DDPM):
        self._family = family
        self._mean_flow = family.parameterisation == fits.MEAN_FLOW
        self._learned_schedule = isinstance(family.schedule, Learned)

    def draw(self, key: Array, num: int) -> Any:
        """Levels, or the times that a level is made of: a pytree of ``[num]`` arrays."""
        if self._mean_flow:
            return objectives.draw_mean_flow_times(key, num)
        if self._learned_schedule:
            return self._family.schedule.times(key, num)
        return self._family.schedule.draw(key, num)

    def __call__(self, network: Callable[..., Array], params: Any, x0: Array, noise: Array, at: Any) -> Array:
        family = self._family
        if self._mean_flow:
            return objectives.mean_flow_loss(lambda x, t, r: network(x, 1000 * t, 1000 * (t - r)), x0, noise, *at)
        if self._learned_schedule:
            return self._learned(network, params, x0, noise, at)
        if family.learned_variance:
            return self._hybrid(network, x0, noise, at)
        if family.weighting == 'elbo':
            return family.schedule.timesteps * self._term(network, x0, noise, at)
        return objectives.prediction_loss(family.parameterisation, family.weighting, network, x0, noise, at)

    def _term(self, network: Callable[..., Array], x0: Array, noise: Array, level: Level) -> Array:
        x = objectives.add_noise(x0, noise, level)
        estimated = estimate(self._family.parameterisation, network, x, level)
        return likelihood.discrete_term(self._family.schedule, x0, noise, level.t, estimated)

    def _hybrid(self, network: Callable[..., Array], x0: Array, noise: Array, level: Level) -> Array:
        """L_simple + 0.001 T L_t (Nichol & Dhariwal 2021, equation 16); the bound teaches the variance alone."""
        family, fractions = self._family, []

        def mean(x, t):
            predicted, fraction = jnp.split(network(x, t), 2, axis=-1)
            fractions[:] = [predicted, fraction]
            return predicted

        loss = objectives.prediction_loss(family.parameterisation, 'simple', mean, x0, noise, level)
        predicted, fraction = fractions
        fixed = jax.lax.stop_gradient(predicted)
        x = objectives.add_noise(x0, noise, level)
        estimated = estimate(family.parameterisation, lambda *_: fixed, x, level)
        bound = likelihood.discrete_term(family.schedule, x0, noise, level.t, estimated, fraction)
        return loss + HYBRID_WEIGHT * family.schedule.timesteps * bound

    def _learned(self, network: Callable[..., Array], params: Any, x0: Array, noise: Array, times: Array) -> Array:
        """Kingma et al. 2021: the whole bound of infinitely many steps, in nats a pixel and channel.

        Its gradient moves the two ends; the way between them follows ``schedule_variance_loss``.
        """
        schedule = self._family.schedule_of(params)
        fixed = self._family.schedule_of(jax.lax.stop_gradient(params))
        gamma, slope = jax.jvp(fixed.gamma, (times,), (jnp.ones_like(times),))
        start, end = schedule.params['ends']
        low, high = fixed.params['ends']
        level = schedule.level(start + (end - start) * (gamma - low) / (high - low))
        x = objectives.add_noise(x0, noise, level)
        estimated = estimate(self._family.parameterisation, network, x, level)
        stretch = (end - start) / (high - low)
        diffusion = likelihood.continuous_term(x0, level, estimated, slope * stretch)
        ends = [schedule.level(jnp.full_like(times, 1.0) * gamma) for gamma in (start, end)]
        error = jax.lax.stop_gradient(2 * diffusion / (slope * stretch))
        way = self._family.schedule_of({**params, 'schedule': {**params['schedule'], 'ends': fixed.params['ends']}})
        variance = objectives.schedule_variance_loss(way, times, error)
        return (
            diffusion
            + likelihood.reconstruction_term(x0, noise, ends[0])
            + likelihood.prior_term(x0, ends[1])
            + (variance - jax.lax.stop_gradient(variance))
        )
