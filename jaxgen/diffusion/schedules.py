"""Noise schedules: the noise levels that are sampled in training, and those that a sampler visits.

At a noise level, x = alpha x_0 + sigma noise. Tables are float64 NumPy arrays unless they depend on learned parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import ModuleType
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxgen.diffusion.levels import Level, Numbers, Schedule
from jaxgen.types import Array, PyTree


def trailing_timesteps(timesteps: int, num_steps: int) -> np.ndarray:
    """Return ``num_steps`` evenly spaced timesteps that fall from T-1 (Lin et al. 2023, table 2).

    Raises:
      ValueError: if there are fewer timesteps than steps.
    """
    if not 1 <= num_steps <= timesteps:
        raise ValueError(f'num_steps={num_steps} must lie between 1 and the {timesteps} timesteps of the schedule')
    return np.round(np.arange(num_steps, 0, -1) * timesteps / num_steps).astype(np.int32) - 1


@dataclasses.dataclass(frozen=True)
class DiscreteSchedule:
    """A variance-preserving process of T timesteps: alpha^2 = alphas_cumprod and sigma^2 = 1 - alphas_cumprod.

    Attributes:
      betas: float64 ``[T]``, the variance added at each timestep (Ho et al. 2020, equation 2); the last may be 1.

    Raises:
      ValueError: if ``betas`` is not such a vector.

    Example:
      >>> import numpy as np
      >>> from jaxgen import diffusion
      >>> diffusion.DiscreteSchedule(np.array([0.5, 0.5])).alphas_cumprod.tolist()
      [0.5, 0.25]
    """

    betas: np.ndarray

    def __post_init__(self):
        betas = np.asarray(self.betas, np.float64)
        if betas.ndim != 1 or not np.all((betas > 0) & (betas <= 1)) or np.any(betas[:-1] == 1):
            raise ValueError('betas must be a vector of numbers between 0 and 1, of which only the last may be 1')
        object.__setattr__(self, 'betas', betas)

    @property
    def timesteps(self) -> int:
        """The number of timesteps, T."""
        return len(self.betas)

    @property
    def alphas_cumprod(self) -> np.ndarray:
        """The cumulative product of 1 - betas: float64 ``[T]``."""
        return np.cumprod(1.0 - self.betas)

    def sample_levels(self, key: Array, num: int) -> Level:
        """Sample ``num`` timesteps uniformly."""
        return self.level(jax.random.randint(key, (num,), 0, self.timesteps))

    def level(self, t: Int[Array, ' ...']) -> Level:
        """Return the noise levels of integer timesteps."""
        alphas_cumprod = self.alphas_cumprod
        return Level(jnp.asarray(np.sqrt(alphas_cumprod))[t], jnp.asarray(np.sqrt(1 - alphas_cumprod))[t], t)

    def levels(self, num_steps: int) -> Level:
        """Return the levels of ``trailing_timesteps``, followed by the level of the data."""
        t = trailing_timesteps(self.timesteps, num_steps)
        alphas_cumprod = np.append(self.alphas_cumprod[t], 1.0)
        return Level(np.sqrt(alphas_cumprod), np.sqrt(1 - alphas_cumprod), np.append(t, 0).astype(np.float64))

    def at(self, ratio: Numbers) -> Level:
        """Return the levels at which sigma / alpha is ``ratio``, with t interpolated in the logarithm of the ratio."""
        with np.errstate(divide='ignore'):
            table = np.sqrt(1 / self.alphas_cumprod - 1)
        finite = np.isfinite(table)
        t = np.interp(np.log(ratio), np.log(table[finite]), np.arange(self.timesteps)[finite])
        alpha = 1 / np.sqrt(1 + ratio**2)
        return Level(alpha, ratio * alpha, t)


def linear(timesteps: int) -> DiscreteSchedule:
    """Make the linear schedule of Ho et al. 2020 (section 4), stretched to any number of timesteps.

    For 1,000 timesteps the betas rise evenly from 1e-4 to 0.02. For another number of timesteps the logarithm of alphas_cumprod
    is interpolated, so that the noise level is the same at the same fraction of the timesteps.

    Args:
      timesteps: number of timesteps, T.

    Returns:
      The schedule.

    Example:
      >>> schedule = linear(1000)
      >>> float(schedule.betas[0]), float(schedule.betas[-1])
      (0.0001..., 0.02...)
    """
    logs_of_1000 = np.concatenate([[0.0], np.cumsum(np.log1p(-np.linspace(1e-4, 0.02, 1000)))])
    logs = np.interp(np.arange(timesteps + 1) * (1000 / timesteps), np.arange(1001), logs_of_1000)
    return DiscreteSchedule(-np.expm1(np.diff(logs)))


def linear_betas(timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> DiscreteSchedule:
    """Make the schedule whose betas rise evenly between the same two ends for any T, as in diffusers.

    With fewer than about 500 timesteps much of the image is left at the noisiest level.

    Args:
      timesteps: number of timesteps, T.
      beta_start: the first beta.
      beta_end: the last beta.

    Returns:
      The schedule.

    Example:
      >>> from jaxgen import diffusion
      >>> diffusion.linear_betas(3, 0.1, 0.3).betas.tolist()
      [0.1, 0.2, 0.3]
    """
    return DiscreteSchedule(np.linspace(beta_start, beta_end, timesteps, dtype=np.float64))


def cosine(timesteps: int) -> DiscreteSchedule:
    """Make the cosine schedule of Nichol & Dhariwal 2021 (equation 17).

    alphas_cumprod is proportional to cos^2((t/T + s) / (1 + s) pi/2) with s = 0.008, and betas are at most 0.999.

    Args:
      timesteps: number of timesteps, T.

    Returns:
      The schedule.

    Example:
      >>> from jaxgen import diffusion
      >>> schedule = diffusion.cosine(1000)
      >>> schedule.timesteps, schedule.levels(50).alpha.shape
      (1000, (51,))
    """
    f = np.cos((np.arange(timesteps + 1) / timesteps + 0.008) / 1.008 * np.pi / 2) ** 2
    return DiscreteSchedule(np.minimum(1 - f[1:] / f[:-1], 0.999))


def zero_terminal_snr(schedule: DiscreteSchedule) -> DiscreteSchedule:
    """Shift and scale a schedule so that its last timestep is pure noise (Lin et al. 2023, algorithm 1).

    alpha = sqrt(alphas_cumprod) becomes (alpha - alpha_T) alpha_1 / (alpha_1 - alpha_T).

    Args:
      schedule: the schedule to change.

    Returns:
      A schedule with the same number of timesteps, whose last beta is 1.

    Example:
      >>> float(zero_terminal_snr(cosine(1000)).alphas_cumprod[-1])
      0.0
    """
    alpha = np.sqrt(schedule.alphas_cumprod)
    alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    alphas_cumprod = alpha**2
    return DiscreteSchedule(1 - alphas_cumprod / np.append(1.0, alphas_cumprod[:-1]))


@dataclasses.dataclass(frozen=True)
class EDMSchedule:
    """The variance-exploding process of Karras et al. 2022 (table 1): alpha = 1, and the network is given ln(sigma) / 4.

    Attributes:
      sigma_min, sigma_max: the lowest and the highest noise level of a sampler, which takes equal steps of sigma^(1/rho)
        between them, and then a step to 0.
      rho: how much shorter the steps are near the image; 1 makes them equal.
      log_mean, log_std: mean and standard deviation of the normal distribution of ln(sigma) in training.

    Example:
      >>> from jaxgen import diffusion
      >>> diffusion.EDMSchedule().levels(5).sigma.round(3).tolist()
      [80.0, 17.528, 2.515, 0.17, 0.002, 0.0]
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    log_mean: float = -1.2
    log_std: float = 1.2

    def sample_levels(self, key: Array, num: int) -> Level:
        """Sample ``num`` levels whose ln(sigma) is normally distributed."""
        sigma = jnp.exp(self.log_mean + self.log_std * jax.random.normal(key, (num,)))
        return Level(jnp.ones_like(sigma), sigma, jnp.log(sigma) / 4)

    def levels(self, num_steps: int) -> Level:
        """Return the levels of equation 5, followed by the level of the data."""
        ends = np.array([self.sigma_max, self.sigma_min]) ** (1 / self.rho)
        level = self.at(np.linspace(ends[0], ends[1], num_steps) ** self.rho)
        return _with_data_at_the_end(level, np)

    def at(self, ratio: Numbers) -> Level:
        """Return the levels at which sigma is ``ratio``."""
        xp = jnp if isinstance(ratio, jax.Array) else np
        return Level(xp.ones_like(ratio), ratio, xp.log(ratio) / 4)


@dataclasses.dataclass(frozen=True)
class FlowSchedule:
    """The straight line from noise to image, alpha = 1 - sigma (Liu et al. 2023, rectified flow; Lipman et al. 2023).

    In training, sigma is sampled uniformly; a sampler takes equal steps from 1 to 0, and the network is given 1000 sigma.

    Example:
      >>> from jaxgen import diffusion
      >>> diffusion.FlowSchedule().levels(4).sigma.tolist()
      [1.0, 0.75, 0.5, 0.25, 0.0]
    """

    def sample_levels(self, key: Array, num: int) -> Level:
        """Sample ``num`` levels whose sigma is uniformly distributed."""
        return self._level(1 - jax.random.uniform(key, (num,)))

    def levels(self, num_steps: int) -> Level:
        """Return the levels of ``num_steps`` equal steps of sigma."""
        return self._level(np.linspace(1.0, 0.0, num_steps + 1))

    def at(self, ratio: Numbers) -> Level:
        """Return the levels at which sigma / alpha is ``ratio``."""
        return self._level(ratio / (1 + ratio))

    def _level(self, sigma: Numbers) -> Level:
        return Level(1 - sigma, sigma, 1000 * sigma)


@dataclasses.dataclass(frozen=True)
class LearnedSchedule:
    """The learned schedule of Variational Diffusion Models (Kingma et al. 2021, appendix H), variance-preserving.

    gamma = log(sigma^2 / alpha^2) is a small monotone network of the time in [0, 1]; its values at both ends are learned, too.

    Attributes:
      params: the parameters, from ``init`` or from training; None until ``with_params`` sets them.
    """

    params: PyTree = None
    hidden: ClassVar[int] = 64

    def init(self, key: Array) -> dict[str, Array]:
        """Return initial parameters: gamma runs from -13.3 to 5, nearly linearly."""
        slopes_key, offsets_key = jax.random.split(key)
        return {
            'ends': jnp.array([-13.3, 5.0]),
            'straight': jnp.zeros(()),
            'slopes': jax.random.normal(slopes_key, (self.hidden,)),
            'offsets': jax.random.normal(offsets_key, (self.hidden,)),
            'heights': jnp.full((self.hidden,), -6.0),
        }

    def with_params(self, params: PyTree) -> LearnedSchedule:
        """Return the schedule with these parameters."""
        return dataclasses.replace(self, params=params)

    def gamma(self, time: Float[Array, ' ...']) -> Float[Array, ' ...']:
        """Return gamma at times u in [0, 1].

        gamma(u) = start + (end - start) (r(u) - r(0)) / (r(1) - r(0)), where
        r(u) = softplus(straight) u + sum softplus(heights) sigmoid(4 softplus(slopes) (u - 1/2) + offsets).
        """
        p = self.params

        def monotone_network(time: Array) -> Array:
            waves = jax.nn.sigmoid(jax.nn.softplus(p['slopes']) * 4 * (time[..., None] - 0.5) + p['offsets'])
            return jax.nn.softplus(p['straight']) * time + waves @ jax.nn.softplus(p['heights'])

        low, high = monotone_network(jnp.zeros(())), monotone_network(jnp.ones(()))
        start, end = p['ends']
        return start + (end - start) * (monotone_network(time) - low) / (high - low)

    def sample_levels(self, key: Array, num: int) -> Level:
        """Sample ``num`` levels at the times of ``sample_times``."""
        return self.level(self.gamma(self.sample_times(key, num)))

    def sample_times(self, key: Array, num: int) -> Float[Array, ' num']:
        """Sample ``num`` times that are each uniform in [0, 1] and jointly evenly spread (low discrepancy, appendix I.1)."""
        return (jax.random.uniform(key) + jnp.arange(num) / num) % 1.0

    def levels(self, num_steps: int) -> Level:
        """Return the levels at ``num_steps`` evenly spaced times, followed by the level of the data."""
        level = self.level(self.gamma(jnp.linspace(1.0, 0.0, num_steps + 1)[:-1]))
        return _with_data_at_the_end(level, jnp)

    def at(self, ratio: Numbers) -> Level:
        """Return the levels at which sigma / alpha is ``ratio``."""
        return self.level(2 * jnp.log(ratio))

    def level(self, gamma: Float[Array, ' ...']) -> Level:
        """Return the levels of these gammas; t is 1000 times the position of gamma between the two ends."""
        start, end = self.params['ends']
        t = 1000 * (gamma - start) / (end - start)
        return Level(jnp.sqrt(jax.nn.sigmoid(-gamma)), jnp.sqrt(jax.nn.sigmoid(gamma)), t)


def _with_data_at_the_end(level: Level, xp: ModuleType) -> Level:
    """Append the level of the data, alpha 1 and sigma 0; its t, which no sampler uses, repeats the last one."""
    last_t = level.t[-1]
    return Level(xp.append(level.alpha, 1.0), xp.append(level.sigma, 0.0), xp.append(level.t, last_t))


SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    'linear': linear,
    'linear_betas': linear_betas,
    'cosine': cosine,
    'linear_zero_snr': lambda timesteps: zero_terminal_snr(linear(timesteps)),
    'cosine_zero_snr': lambda timesteps: zero_terminal_snr(cosine(timesteps)),
    'edm': lambda timesteps: EDMSchedule(),
    'flow': lambda timesteps: FlowSchedule(),
    'learned': lambda timesteps: LearnedSchedule(),
}
