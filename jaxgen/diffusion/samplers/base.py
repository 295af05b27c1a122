"""The interface of all samplers, the loop over their steps, and the noise that they start from and add.

``init`` computes tables of coefficients with one row for each step, and ``step`` takes one step with its row. The same object
therefore runs as one compiled loop (``sample``) or step by step::

    carry, steps = sampler.init(levels, x)
    for i in range(num_steps):
        carry = sampler.step(denoiser, carry, jax.tree.map(lambda table: table[i], steps), noise)

All randomness enters through ``x`` and ``noise``, so that a sampler is a deterministic function, and the distribution of its
samples can be computed from its derivatives.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Key

from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.runtime.random import normal_of_each
from jaxgen.types import Array, PyTree

Noise = Callable[[Array], Array]  # noise(i): standard normal noise for step i of a sampler
Denoiser = Callable[..., Any]  # denoiser(x, level): the estimate of x_0 from x [N, ...] at a scalar level


class Carry(NamedTuple):
    """The state between two steps.

    Attributes:
      x: the noisy images, ``[N, ...]``.
      previous_x0: the estimate of x_0 in the previous step, for samplers that use it.
    """

    x: Array
    previous_x0: Array | None = None


class Step(NamedTuple):
    """A step of a sampler, or all S steps stacked into arrays ``[S]``.

    Attributes:
      number: number of the step, from 0.
      level: noise level at which the step begins.
      coefficients: coefficients of the step, in a named tuple that each sampler defines.
    """

    number: Array
    level: Level
    coefficients: PyTree


@dataclasses.dataclass(frozen=True)
class Sampler(abc.ABC):
    """A sampling algorithm with its settings.

    Attributes:
      order: order of convergence: the error of the sample distribution falls as ``num_steps ** -order``.
      options: names of the fields that a user may set, see ``with_options``.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import diffusion
      >>> levels = diffusion.cosine(1000).levels(4)
      >>> sampler = diffusion.samplers.SAMPLERS['ddim']
      >>> carry, steps = sampler.init(levels, jnp.ones((1, 2)))
      >>> steps.number.tolist()
      [0, 1, 2, 3]
    """

    order: ClassVar[int] = 1
    options: ClassVar[tuple[str, ...]] = ()

    @property
    def stochastic(self) -> bool:
        """Whether the steps add noise."""
        return False

    @property
    def needs_variance(self) -> bool:
        """Whether the denoiser must return a ``Prediction`` with a variance fraction instead of x_0."""
        return False

    @abc.abstractmethod
    def coefficients(self, levels: Level, schedule: Schedule | None) -> PyTree:
        """Return the coefficients of all steps, a named tuple of arrays ``[S]``."""

    @abc.abstractmethod
    def step(self, denoiser: Denoiser, carry: Carry, step: Step, noise: Noise) -> Carry:
        """Take one step; ``noise(i)`` is the standard normal of step i, in the shape of x."""

    def with_options(self, **values: object) -> Sampler:
        """Return the sampler with other values of its ``options``."""
        return dataclasses.replace(self, **values)

    def levels(self, schedule: Schedule, num_steps: int) -> Level:
        """Return the levels that the sampler visits on a schedule, from noise to data: arrays ``[num_steps + 1]``."""
        return schedule.levels(num_steps)

    def network_calls(self, levels: Level) -> int:
        """Return how often the sampler calls the denoiser."""
        return len(levels.t) - 1

    def first_carry(self, x: Array) -> Carry:
        """Return the state before the first step."""
        return Carry(x)

    def init(self, levels: Level, x: Float[Array, 'n ...'], schedule: Schedule | None = None) -> tuple[Carry, Step]:
        """Prepare sampling from ``x``.

        Args:
          levels: the noise levels to visit, ``[S + 1]``, from noise to data.
          x: the images at the first of the levels.
          schedule: the schedule of the levels, for a sampler that adds noise up to levels between them.

        Returns:
          The state before the first step, and all steps stacked, with tables rounded to the dtype of ``x``.
        """
        starts = Level(*(jnp.asarray(array[:-1], x.dtype) for array in levels))
        coefficients = jax.tree.map(lambda table: jnp.asarray(table, x.dtype), self.coefficients(levels, schedule))
        return self.first_carry(x), Step(jnp.arange(len(starts.t)), starts, coefficients)

    def run(
        self, denoiser: Denoiser, carry: Carry, steps: Step, noise: Noise, keep_path: bool = False
    ) -> Float[Array, ' ...']:
        """Take all steps in one loop on the device; return x at the end, or x after each step, ``[S, N, ...]``."""

        def body(carry: Carry, step: Step) -> tuple[Carry, PyTree]:
            carry = self.step(denoiser, carry, step, noise)
            return carry, carry.x if keep_path else None

        last, path = jax.lax.scan(body, carry, steps)
        return path if keep_path else last.x

    def sample(
        self,
        denoiser: Denoiser,
        levels: Level,
        x: Float[Array, 'n ...'],
        *,
        key: Array | None = None,
        noise: Noise | None = None,
        schedule: Schedule | None = None,
        keep_path: bool = False,
    ) -> Float[Array, ' ...']:
        """Sample images ``[N, ...]``.

        Args:
          denoiser: ``denoiser(x, level)`` is the estimate of x_0, at a scalar level.
          levels: the noise levels to visit, ``[S + 1]``, as ``schedule.levels(num_steps)`` returns them.
          x: the noise to start from, as ``initial_noise(levels, normal)`` returns it.
          key: random key of the noise that the steps add.
          noise: the noise itself, instead of ``key``: ``noise(i)`` is the standard normal noise of step i.
          schedule: see ``init``.
          keep_path: whether to return x after each step instead, ``[S, N, ...]``.

        Raises:
          ValueError: if the sampler adds noise and neither ``key`` nor ``noise`` is given.
        """
        if noise is None and key is None and self.stochastic:
            raise ValueError(f'{type(self).__name__} adds noise in its steps: pass key=jax.random.key(0), for example')
        if noise is None:
            noise = noise_of_key(jax.random.key(0) if key is None else key, x)  # without a key, no step calls it
        carry, steps = self.init(levels, x, schedule)
        return self.run(denoiser, carry, steps, noise, keep_path)


def step_noise(keys: Key[Array, ' n'], i: Array | int, image_shape: tuple[int, ...]) -> Float[Array, 'n h w c']:
    """Return standard normal noise number ``i`` of each image, which depends only on the image's key and ``i``.

    Number 0 is the noise that sampling starts from, and step i of a sampler adds number i + 1; see ``noise_of_steps``.
    """
    numbered = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
    return normal_of_each(numbered, image_shape)


def noise_of_steps(keys: Key[Array, ' n'], image_shape: tuple[int, ...]) -> Noise:
    """Return the function that gives a sampler the noise of its step ``i``."""
    return lambda i: step_noise(keys, i + 1, image_shape)


def initial_noise(levels: Level, normal: Float[Array, 'n ...']) -> Float[Array, 'n ...']:
    """Scale standard normal noise to alpha^2 + sigma^2 at the first level, the variance of noisy images of unit variance.

    Args:
      levels: the noise levels that a sampler visits, ``[S + 1]``, from noise to data.
      normal: standard normal noise in the shape of the images.

    Returns:
      The noise from which the sampler starts.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxgen import diffusion
      >>> levels = diffusion.EDMSchedule().levels(18)  # from sigma = 80 on
      >>> round(float(diffusion.initial_noise(levels, jnp.ones((1, 8, 8, 3))).max()), 2)
      80.01
    """
    std = jnp.sqrt(jnp.asarray(levels.alpha[0] ** 2 + levels.sigma[0] ** 2, jnp.float32))
    return std * normal


def noise_of_key(key: Array, x: Float[Array, 'n ...']) -> Noise:
    """Return ``noise(i)``, standard normal noise for step i in the shape and dtype of ``x``."""
    return lambda i: jax.random.normal(jax.random.fold_in(key, i), x.shape, x.dtype)


def step_ends(levels: Level) -> tuple[Level, Level]:
    """Return the levels at which the steps begin and the levels at which they end, ``[S]`` each."""
    return Level(*(array[:-1] for array in levels)), Level(*(array[1:] for array in levels))


def array_module(levels: Level) -> Any:
    """Return NumPy for tables of float64, and ``jax.numpy`` for levels that depend on parameters."""
    return jnp if isinstance(levels.alpha, jax.Array) else np
