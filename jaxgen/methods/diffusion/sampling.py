"""How a diffusion model generates images: its network as samplers call it, the settings, and a run of the sampler."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from jaxgen.diffusion import predictions
from jaxgen.diffusion.compatibility import CONSISTENCY, MEAN_FLOW
from jaxgen.diffusion.guidance import Guidance, Predict
from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.predictions import Prediction
from jaxgen.diffusion.samplers import DDIM, SAMPLERS, Ancestral, Sampler
from jaxgen.diffusion.samplers.base import Carry, Denoiser, Noise, Step
from jaxgen.diffusion.samplers.mean_flow import Jump
from jaxgen.diffusion.schedules import LearnedSchedule
from jaxgen.methods.diffusion.options import DiffusionSampleOptions
from jaxgen.types import Array, JsonObject, PyTree

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


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """The settings with which ``Diffusion.sample`` uses the network.

    Attributes:
      sampler_name: the sampler's name in ``SAMPLERS``.
      sampler: the sampling algorithm with its settings.
      num_steps: steps from noise to image.
      clip: whether each estimate of x_0 is clipped to [-1, 1].
      guidance: a ``scale`` of 1 turns classifier-free guidance off, a ``guide_scale`` of 1 autoguidance.
    """

    sampler_name: str = 'ddim'
    sampler: Sampler = DDIM()
    num_steps: int = 50
    clip: bool = True
    guidance: Guidance = Guidance()

    @classmethod
    def from_options(cls, options: DiffusionSampleOptions, learned_variance: bool) -> SamplingSettings:
        """Return the settings for these options; ``ddpm`` uses the variance that a network has learned."""
        sampler = SAMPLERS[options.sampler]
        sampler = sampler.with_options(**{name: getattr(options, name) for name in sampler.options})
        if learned_variance and options.sampler == 'ddpm':
            sampler = Ancestral(variance='learned')
        return cls(
            sampler_name=options.sampler,
            sampler=sampler,
            num_steps=options.num_steps,
            clip=options.clip,
            guidance=Guidance(
                scale=options.guidance_scale,
                low=options.guidance_low,
                high=options.guidance_high,
                rescale=options.guidance_rescale,
                guide_scale=_guide_scale(options),
            ),
        )

    @property
    def is_guided(self) -> bool:
        """Whether there is classifier-free guidance."""
        return bool(self.guidance.scale != 1)

    @property
    def is_autoguided(self) -> bool:
        """Whether there is autoguidance."""
        return self.guidance.guide_scale != 1

    def protocol(self, schedule: Schedule) -> JsonObject:
        """Return how an image is generated, as JSON values; a ``guidance_high`` of 0 stands for no limit."""
        if isinstance(schedule, LearnedSchedule):
            # The number of network calls is the same for all parameters.
            schedule = schedule.with_params(schedule.init(jax.random.key(0)))
        protocol = {
            'sampler': self.sampler_name,
            'num_steps': self.num_steps,
            'network_calls': self.sampler.network_calls(self.sampler.levels(schedule, self.num_steps)),
            **{name: getattr(self.sampler, name) for name in self.sampler.options},
            'guidance_scale': self.guidance.scale,
        }
        if self.is_autoguided:
            protocol['guide_scale'] = self.guidance.guide_scale
        if self.is_guided or self.is_autoguided:
            protocol['guidance_low'] = self.guidance.low
            protocol['guidance_high'] = 0.0 if self.guidance.high is None else self.guidance.high
            protocol['guidance_rescale'] = self.guidance.rescale
        if not self.clip:
            protocol['clip'] = False
        return protocol


def _guide_scale(options: DiffusionSampleOptions) -> float:
    if not options.has_guide:
        return 1.0
    return 2.0 if options.guide_scale is None else options.guide_scale


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


@dataclasses.dataclass(frozen=True)
class SamplingRun:
    """A run of a sampler that is ready to start, as a whole or step by step.

    ::

        images = run.images()

        carry = run.carry
        for i in range(len(run.levels.t) - 1):
            carry = run.step(carry, jax.tree.map(lambda table: table[i], run.steps))

    Attributes:
      sampler: the sampling algorithm.
      denoiser: the function that the sampler calls at each noise level.
      noise: standard normal noise of each step.
      levels: noise levels ``[S + 1]``, from the start to the data.
      carry: the state before the first step, with ``carry.x`` at the first of the levels.
      steps: all steps, stacked.
    """

    sampler: Sampler
    denoiser: Denoiser
    noise: Noise
    levels: Level
    carry: Carry
    steps: Step

    def images(self) -> Float[Array, 'n h w c']:
        """Return the images at the last of the levels."""
        return self.sampler.run(self.denoiser, self.carry, self.steps, self.noise)

    def path(self) -> Float[Array, 's n h w c']:
        """Return x after each step."""
        return self.sampler.run(self.denoiser, self.carry, self.steps, self.noise, keep_path=True)

    def step(self, carry: Carry, step: Step) -> Carry:
        """Take the given step, which need not be one of ``steps``."""
        return self.sampler.step(self.denoiser, carry, step, self.noise)
