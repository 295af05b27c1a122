"""Noise schedules: which levels of noise there are, which of them training draws and which a sampler visits.

At a level x = alpha x_0 + sigma noise. Tables are float64 NumPy wherever no parameter decides them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


class Level(NamedTuple):
    """Levels of noise, arrays of one shape: x = ``alpha`` x_0 + ``sigma`` noise, and ``t`` is what the network is told."""

    alpha: Array | np.ndarray
    sigma: Array | np.ndarray
    t: Array | np.ndarray

    def like(self, x: Array) -> Level:
        """Shaped to broadcast against ``x`` ``[N, ...]``, in its dtype; ``t`` keeps its shape, in float32 or better."""
        shape = np.shape(self.alpha) + (1,) * (x.ndim - np.ndim(self.alpha))
        alpha, sigma = (jnp.asarray(a, x.dtype).reshape(shape) for a in self[:2])
        return Level(alpha, sigma, jnp.asarray(self.t, jnp.promote_types(x.dtype, jnp.float32)))


class Schedule(Protocol):
    """What all schedules can do."""

    def draw(self, key: Array, num: int) -> Level:
        """``num`` independent levels of training."""

    def levels(self, num_steps: int) -> Level:
        """The ``num_steps`` levels that a sampler visits, noisiest first, and last the data: ``[num_steps + 1]``."""

    def at(self, ratio: np.ndarray) -> Level:
        """The levels, continuous ones between those of a table, at which sigma / alpha is ``ratio``."""


def trailing_timesteps(timesteps: int, num_steps: int) -> np.ndarray:
    """``num_steps`` of the timesteps 0 .. T-1, falling, evenly spaced and beginning at T-1 (Lin et al. 2023, table 2).

    Raises:
      ValueError: if there are fewer timesteps than steps.
    """
    if not 1 <= num_steps <= timesteps:
        raise ValueError(f'num_steps must lie between 1 and the {timesteps} timesteps, not {num_steps}')
    return np.round(np.arange(num_steps, 0, -1) * timesteps / num_steps).astype(np.int32) - 1


@dataclasses.dataclass(frozen=True)
class Discrete:
    """A variance-preserving process of T timesteps, alpha^2 = alphas_cumprod = 1 - sigma^2, by tables.

    Attributes:
      betas: ``[T]`` float64, the variance added at each timestep (Ho et al. 2020, equation 2); the last may be 1.
    """

    betas: np.ndarray

    def __post_init__(self):
        betas = np.asarray(self.betas, np.float64)
        if betas.ndim != 1 or not np.all((betas > 0) & (betas <= 1)) or np.any(betas[:-1] == 1):
            raise ValueError('betas must be a vector of numbers between 0 and 1, the last of which may be 1')
        object.__setattr__(self, 'betas', betas)

    @property
    def timesteps(self) -> int:
        return len(self.betas)

    @property
    def alphas_cumprod(self) -> np.ndarray:
        """``[T]`` float64, the cumulative product of 1 - betas."""
        return np.cumprod(1.0 - self.betas)

    def draw(self, key: Array, num: int) -> Level:
        return self.level(jax.random.randint(key, (num,), 0, self.timesteps))

    def level(self, t: Array) -> Level:
        """Of integer timesteps."""
        ac = self.alphas_cumprod
        return Level(jnp.asarray(np.sqrt(ac))[t], jnp.asarray(np.sqrt(1 - ac))[t], t)

    def levels(self, num_steps: int) -> Level:
        t = trailing_timesteps(self.timesteps, num_steps)
        ac = np.append(self.alphas_cumprod[t], 1.0)
        return Level(np.sqrt(ac), np.sqrt(1 - ac), np.append(t, 0).astype(np.float64))

    def at(self, ratio: np.ndarray) -> Level:
        with np.errstate(divide='ignore'):
            known = np.sqrt(1 / self.alphas_cumprod - 1)
        finite = np.isfinite(known)
        t = np.interp(np.log(ratio), np.log(known[finite]), np.arange(self.timesteps)[finite])
        alpha = 1 / np.sqrt(1 + ratio**2)
        return Level(alpha, ratio * alpha, t)


def linear(timesteps: int) -> Discrete:
    """betas from 1e-4 to 0.02 in equal steps (Ho et al. 2020, section 4) on 1,000 timesteps, and on any other number the
    same noise at the same fraction of the way: alphas_cumprod interpolated in its logarithm.
    """
    of_1000 = np.concatenate([[0.0], np.cumsum(np.log1p(-np.linspace(1e-4, 0.02, 1000)))])
    logs = np.interp(np.arange(timesteps + 1) * (1000 / timesteps), np.arange(1001), of_1000)
    return Discrete(-np.expm1(np.diff(logs)))


def linear_betas(timesteps: int, beta_start: float = 1e-4, beta_end: float = 0.02) -> Discrete:
    """The betas of Ho et al. 2020 (section 4) whatever T is, as diffusers has them: below some 500 timesteps much of the
    image is left at the end.
    """
    return Discrete(np.linspace(beta_start, beta_end, timesteps, dtype=np.float64))


def cosine(timesteps: int) -> Discrete:
    """alphas_cumprod proportional to cos^2((t/T + s) / (1 + s) pi/2), s = 0.008, betas at most 0.999 (Nichol & Dhariwal
    2021, equation 17).
    """
    f = np.cos((np.arange(timesteps + 1) / timesteps + 0.008) / 1.008 * np.pi / 2) ** 2
    return Discrete(np.minimum(1 - f[1:] / f[:-1], 0.999))


def zero_terminal_snr(schedule: Discrete) -> Discrete:
    """Shifted and scaled so that nothing of the image is left at the last timestep: alpha = sqrt(alphas_cumprod) becomes
    (alpha - alpha_T) alpha_1 / (alpha_1 - alpha_T) (Lin et al. 2023, algorithm 1).
    """
    root = np.sqrt(schedule.alphas_cumprod)
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alphas_cumprod = root**2
    return Discrete(1 - alphas_cumprod / np.append(1.0, alphas_cumprod[:-1]))


@dataclasses.dataclass(frozen=True)
class EDM:
    """Noise of any size on images left as they are, alpha = 1 (Karras et al. 2022, table 1).

    Training draws ln sigma from N(-1.2, 1.2^2); a sampler goes from ``sigma_max`` to ``sigma_min`` in equal steps of
    sigma^(1/rho), then to 0; the network is told ln(sigma) / 4.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    mean: float = -1.2
    std: float = 1.2

    def draw(self, key: Array, num: int) -> Level:
        sigma = jnp.exp(self.mean + self.std * jax.random.normal(key, (num,)))
        return Level(jnp.ones_like(sigma), sigma, jnp.log(sigma) / 4)

    def levels(self, num_steps: int) -> Level:
        ends = np.array([self.sigma_max, self.sigma_min]) ** (1 / self.rho)
        level = self.at(np.linspace(*ends, num_steps) ** self.rho)
        return Level(*(np.append(x, end) for x, end in zip(level, (1.0, 0.0, level.t[-1]), strict=True)))

    def at(self, ratio: np.ndarray) -> Level:
        xp = jnp if isinstance(ratio, jax.Array) else np
        return Level(xp.ones_like(ratio), ratio, xp.log(ratio) / 4)


@dataclasses.dataclass(frozen=True)
class Flow:
    """The straight way from noise to image, alpha = 1 - sigma (Liu et al. 2023, rectified flow; Lipman et al. 2023).

    Training draws sigma uniformly, a sampler takes equal steps from 1 to 0; the network is told 1000 sigma.
    """

    def draw(self, key: Array, num: int) -> Level:
        return self._level(1 - jax.random.uniform(key, (num,)))

    def levels(self, num_steps: int) -> Level:
        return self._level(np.linspace(1.0, 0.0, num_steps + 1))

    def at(self, ratio: np.ndarray) -> Level:
        return self._level(ratio / (1 + ratio))

    def _level(self, sigma):
        return Level(1 - sigma, sigma, 1000 * sigma)


@dataclasses.dataclass(frozen=True)
class Learned:
    """gamma = log(sigma^2 / alpha^2), rising over time 0 .. 1 by a small monotone network (Kingma et al. 2021, Variational
    Diffusion Models, appendix H): variance-preserving, its two ends and the way between them learned.

    Attributes:
      params: of ``init``; None before they are known.
    """

    params: Any = None
    hidden: ClassVar[int] = 64

    def init(self, key: Array) -> dict[str, Array]:
        """The noise runs from exp(-13.3) to exp(5), nearly linearly in gamma."""
        k1, k2 = jax.random.split(key)
        return {
            'ends': jnp.array([-13.3, 5.0]),
            'straight': jnp.zeros(()),
            'slopes': jax.random.normal(k1, (self.hidden,)),
            'offsets': jax.random.normal(k2, (self.hidden,)),
            'heights': jnp.full((self.hidden,), -6.0),
        }

    def gamma(self, time: Array) -> Array:
        """At times u of any shape: start + (end - start) (r(u) - r(0)) / (r(1) - r(0)), where r(u) =
        softplus(straight) u + the sum of softplus(heights) sigmoid(4 softplus(slopes) (u - 1/2) + offsets).
        """
        p = self.params

        def rising(time):
            waves = jax.nn.sigmoid(jax.nn.softplus(p['slopes']) * 4 * (time[..., None] - 0.5) + p['offsets'])
            return jax.nn.softplus(p['straight']) * time + waves @ jax.nn.softplus(p['heights'])

        low, high = rising(jnp.zeros(())), rising(jnp.ones(()))
        start, end = p['ends']
        return start + (end - start) * (rising(time) - low) / (high - low)

    def draw(self, key: Array, num: int) -> Level:
        return self.level(self.gamma(self.times(key, num)))

    def times(self, key: Array, num: int) -> Array:
        """Uniform in [0, 1) each, and together evenly spread, which lessens the variance of their mean (appendix I.1)."""
        return (jax.random.uniform(key) + jnp.arange(num) / num) % 1.0

    def levels(self, num_steps: int) -> Level:
        level = self.level(self.gamma(jnp.linspace(1.0, 0.0, num_steps + 1)[:-1]))
        return Level(*(jnp.append(x, end) for x, end in zip(level, (1.0, 0.0, level.t[-1]), strict=True)))

    def at(self, ratio: Array) -> Level:
        return self.level(2 * jnp.log(ratio))

    def level(self, gamma: Array) -> Level:
        start, end = self.params['ends']
        told = 1000 * (gamma - start) / (end - start)
        return Level(jnp.sqrt(jax.nn.sigmoid(-gamma)), jnp.sqrt(jax.nn.sigmoid(gamma)), told)


SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    'linear': linear,
    'linear_betas': linear_betas,
    'cosine': cosine,
    'linear_zero_snr': lambda timesteps: zero_terminal_snr(linear(timesteps)),
    'cosine_zero_snr': lambda timesteps: zero_terminal_snr(cosine(timesteps)),
    'edm': lambda timesteps: EDM(),
    'flow': lambda timesteps: Flow(),
    'learned': lambda timesteps: Learned(),
}
