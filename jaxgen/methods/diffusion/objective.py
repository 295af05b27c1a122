"""The objectives of diffusion models: the loss of a network on images x_0, one number for each example.

``sample_times`` samples what the loss needs besides images and noise: a noise level or a time for each example. The objective
itself is called with the network::

    times = objective.sample_times(key, len(x0), updates)
    losses = objective(network, params, x0, noise, times)  # network(x, t) is F, x0 and noise are [N, H, W, C]

``params`` are the parameters under training; only the objective of a learned schedule uses them.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple, Protocol, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxgen.diffusion import likelihood, losses
from jaxgen.diffusion.compatibility import CONSISTENCY, MEAN_FLOW
from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.predictions import PREDICTIONS, Network, estimate_x0, split_variance
from jaxgen.diffusion.schedules import DiscreteSchedule, LearnedSchedule
from jaxgen.types import Array, Fields, PyTree

CLOSEST = 256  # largest q^(stage + 1) of consistency tuning (Geng et al. 2024, CIFAR-10)
HYBRID_WEIGHT = 1e-3  # weight of the bound in the hybrid loss (Nichol & Dhariwal 2021, equation 16)


class Objective(Protocol):
    """The interface of all objectives."""

    def sample_times(self, key: Array, num: int, updates: Array) -> PyTree:
        """Sample the noise levels or times of ``num`` examples: a pytree of arrays ``[num]``.

        ``updates`` is the number of updates made so far.
        """

    def __call__(self, network: Network, params: PyTree, x0: Array, noise: Array, times: PyTree) -> Float[Array, ' n']:
        """Return the loss of each example."""


def make_objective(
    schedule: Schedule,
    prediction: str,
    weighting: str,
    learned_variance: bool,
    consistency: ConsistencyStages | None = None,
) -> Objective:
    """Return the objective of a combination that ``diffusion.compatibility`` allows.

    ``consistency`` has the stages of consistency tuning, and is needed for that prediction only.
    """
    if prediction == MEAN_FLOW:
        return MeanFlowObjective()
    if prediction == CONSISTENCY:
        if consistency is None:
            raise ValueError('the stages of the consistency tuning are not set: pass ConsistencyStages')
        return ConsistencyObjective(schedule, consistency)
    if isinstance(schedule, LearnedSchedule):
        return LearnedScheduleObjective(schedule, prediction)
    if learned_variance:
        return HybridObjective(cast(DiscreteSchedule, schedule), prediction)
    if weighting == 'elbo':
        return BoundObjective(cast(DiscreteSchedule, schedule), prediction)
    return PredictionObjective(schedule, prediction, weighting)


class Examples(NamedTuple):
    """A batch of images with everything that is sampled for their loss, ``[N, ...]`` each.

    Attributes:
      x0: images in [-1, 1].
      noise: standard normal noise in the shape of the images.
      times: what the objective's ``sample_times`` returned.
      labels: class labels, some of them withheld.
      augment: condition numbers of the augmentation of the images; None for a network that takes none.
    """

    x0: Array
    noise: Array
    times: PyTree
    labels: Array
    augment: Array | None = None


def drop_labels(labels: Int[Array, ' n'], key: Array, share: float, null_label: int) -> Int[Array, ' n']:
    """Replace a random share of the labels by the label that stands for no class."""
    return jnp.where(jax.random.bernoulli(key, share, labels.shape), null_label, labels)


def mean_loss(
    objective: Objective, network: nn.Module, params: PyTree, examples: Examples, dropout_key: Array
) -> Array:
    """Return the mean loss of a network in training."""

    def apply(x: Array, t: Array) -> Array:
        # A network that is trained without augmentation need not have the argument.
        conditions: Fields = {} if examples.augment is None else {'augment': examples.augment}
        rngs = {'dropout': dropout_key}
        output: PyTree = network.apply({'params': params}, x, t, examples.labels, train=True, rngs=rngs, **conditions)
        return output

    return jnp.mean(objective(apply, params, examples.x0, examples.noise, examples.times))


@dataclasses.dataclass(frozen=True)
class PredictionObjective:
    """The weighted squared error of the network's prediction, see ``losses.prediction_loss``."""

    schedule: Schedule
    prediction: str
    weighting: str

    def sample_times(self, key: Array, num: int, updates: Array) -> Level:
        """Sample noise levels of the schedule."""
        return self.schedule.sample_levels(key, num)

    def __call__(self, network: Network, params: PyTree, x0: Array, noise: Array, times: Level) -> Array:
        """Return the loss of each example."""
        return losses.prediction_loss(network, x0, noise, times, prediction=self.prediction, weighting=self.weighting)


@dataclasses.dataclass(frozen=True)
class BoundObjective:
    """The variational bound of Ho et al. 2020: T times one of its T terms, at a random timestep."""

    schedule: DiscreteSchedule
    prediction: str

    def sample_times(self, key: Array, num: int, updates: Array) -> Level:
        """Sample noise levels of the schedule."""
        return self.schedule.sample_levels(key, num)

    def __call__(self, network: Network, params: PyTree, x0: Array, noise: Array, times: Level) -> Array:
        """Return the loss of each example."""
        x0_estimate = estimate_x0(self.prediction, network, losses.add_noise(x0, noise, times), times)
        term = likelihood.timestep_term(self.schedule, x0, noise, times.t, x0_estimate)
        return self.schedule.timesteps * term


@dataclasses.dataclass(frozen=True)
class HybridObjective:
    """The loss of a network that learns its variance: L_simple + 0.001 L_vlb (Nichol & Dhariwal 2021, equation 16).

    The bound trains the variance only: its gradient does not reach the prediction.
    """

    schedule: DiscreteSchedule
    prediction: str

    def sample_times(self, key: Array, num: int, updates: Array) -> Level:
        """Sample noise levels of the schedule."""
        return self.schedule.sample_levels(key, num)

    def __call__(self, network: Network, params: PyTree, x0: Array, noise: Array, times: Level) -> Array:
        """Return the loss of each example."""
        here = times.broadcast_to(x0)
        p = PREDICTIONS[self.prediction](here.alpha, here.sigma)
        x = losses.add_noise(x0, noise, times)
        predicted, variance_fraction = split_variance(network(p.c_in * x, here.t))
        simple = losses.mean_of_each(jnp.square(predicted - p.target(x0, noise)))
        x0_estimate = p.c_skip * x + p.c_out * jax.lax.stop_gradient(predicted)
        bound = likelihood.timestep_term(self.schedule, x0, noise, times.t, x0_estimate, variance=variance_fraction)
        return simple + HYBRID_WEIGHT * self.schedule.timesteps * bound


@dataclasses.dataclass(frozen=True)
class MeanFlowObjective:
    """The loss of MeanFlow, see ``losses.mean_flow_loss``; the network is given 1000 t and 1000 (t - r)."""

    def sample_times(self, key: Array, num: int, updates: Array) -> tuple[Array, Array]:
        """Sample the two times t and r."""
        return losses.sample_mean_flow_times(key, num)

    def __call__(self, network: Network, params: PyTree, x0: Array, noise: Array, times: tuple[Array, Array]) -> Array:
        """Return the loss of each example."""

        def mean_velocity(x: Array, t: Array, r: Array) -> Array:
            return network(x, jnp.stack((1000 * t, 1000 * (t - r)), 1))

        return losses.mean_flow_loss(mean_velocity, x0, noise, *times)


class ConsistencyStages(NamedTuple):
    """The stages in which the noise levels of consistency tuning approach each other (``losses.sample_consistency_sigmas``).

    Attributes:
      steps: updates in a stage.
      q: factor by which the distance shrinks from stage to stage.
    """

    steps: int
    q: float

    @property
    def last(self) -> int:
        """The stage that does not end: the last whose distance is at least 1 / ``CLOSEST``, or else the first.

        With q = 2 it is the eighth, as in the paper. After it the two images would differ by little more than rounding.
        """
        return max(0, int(np.log(CLOSEST) / np.log(self.q) + 1e-9) - 1)

    def at(self, updates: Array) -> Array:
        """Return the stage, from 0, after a number of updates."""
        return jnp.minimum(updates // self.steps, self.last)


@dataclasses.dataclass(frozen=True)
class ConsistencyObjective:
    """The loss of easy consistency tuning, see ``losses.consistency_loss``; the network is preconditioned as in EDM."""

    schedule: Schedule
    stages: ConsistencyStages

    def sample_times(self, key: Array, num: int, updates: Array) -> tuple[Array, Array]:
        """Sample the two noise levels t and r."""
        return losses.sample_consistency_sigmas(key, num, self.stages.at(updates), self.stages.q)

    def __call__(self, network: Network, params: PyTree, x0: Array, noise: Array, times: tuple[Array, Array]) -> Array:
        """Return the loss of each example."""

        def function(x: Array, sigma: Array) -> Array:
            return estimate_x0('edm', network, x, self.schedule.at(sigma))

        return losses.consistency_loss(function, x0, noise, *times)


@dataclasses.dataclass(frozen=True)
class LearnedScheduleObjective:
    """The bound of infinitely many steps with a learned schedule (Kingma et al. 2021), in nats a pixel and channel.

    The gradient of the bound moves the two ends of the schedule; ``losses.schedule_variance_loss`` moves the curve between them.
    """

    schedule: LearnedSchedule
    prediction: str

    def sample_times(self, key: Array, num: int, updates: Array) -> Float[Array, ' num']:
        """Sample times in [0, 1]."""
        return self.schedule.sample_times(key, num)

    def __call__(self, network: Network, params: PyTree, x0: Array, noise: Array, times: Array) -> Array:
        """Return the loss of each example."""
        schedule = self.schedule.with_params(params['schedule'])
        fixed = self.schedule.with_params(jax.lax.stop_gradient(params['schedule']))
        gamma, slope = jax.jvp(fixed.gamma, (times,), (jnp.ones_like(times),))
        start, end = schedule.params['ends']
        fixed_start, fixed_end = fixed.params['ends']
        level = schedule.level(start + (end - start) * (gamma - fixed_start) / (fixed_end - fixed_start))
        x0_estimate = estimate_x0(self.prediction, network, losses.add_noise(x0, noise, level), level)
        stretch = (end - start) / (fixed_end - fixed_start)
        diffusion = likelihood.diffusion_term(x0, level, x0_estimate, slope * stretch)
        cleanest, noisiest = (schedule.level(jnp.full_like(times, 1.0) * gamma) for gamma in (start, end))
        error = jax.lax.stop_gradient(2 * diffusion / (slope * stretch))
        curve = self.schedule.with_params({**params['schedule'], 'ends': fixed.params['ends']})
        variance = losses.schedule_variance_loss(curve, times, error)
        return (
            diffusion
            + likelihood.reconstruction_term(x0, noise, cleanest)
            + likelihood.prior_term(x0, noisiest)
            + (variance - jax.lax.stop_gradient(variance))
        )
