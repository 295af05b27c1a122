"""The settings with which a diffusion model generates images, and a run of its sampler."""

from __future__ import annotations

import dataclasses

import jax
from jaxtyping import Float

from jaxgen.diffusion.guidance import Guidance
from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.noise import Noise
from jaxgen.diffusion.samplers import DDIM, SAMPLERS, Ancestral, Sampler
from jaxgen.diffusion.samplers.base import Carry, Denoiser, Step
from jaxgen.diffusion.schedules import LearnedSchedule
from jaxgen.methods.diffusion.options import DiffusionSampleOptions
from jaxgen.types import Array, JsonObject


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
