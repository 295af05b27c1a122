"""Samplers: each a table of coefficients and a step, over which one ``lax.scan`` goes.

All share one signature. ``denoise(x, level)`` is the network's estimate of x_0 from ``x`` ([N, ...]) at a scalar level,
clipped or not as the caller likes; ``levels`` are those visited, ``[S + 1]`` of them, the last being the data; ``x`` is
the start, at the first; ``noise(i)`` gives the standard normal of step ``i`` in the shape of ``x``. All randomness comes
in through these two, so that a sampler is a deterministic function, and its law can be read off its derivatives.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.diffusion.schedules import Level, Schedule

Array = jax.Array
Denoiser = Callable[[Array, Level], Any]
Noise = Callable[[Array], Array]
SIGMA_DATA = 0.5  # the deviation of images, about


class Transition(NamedTuple):
    """q(x_next | x, x_0) = N(of_x0 x_0 + of_x x, small) of a Gaussian process, and the variance ``large`` of x given x_next."""

    of_x0: Any
    of_x: Any
    small: Any
    large: Any


def transition(alpha, sigma, alpha_next, sigma_next) -> Transition:
    """From each level to a cleaner one, not necessarily its neighbour (Ho et al. 2020, equations 6 and 7; Kingma et al.
    2021, appendix A): for a variance-preserving process ``large`` is the beta of the step.
    """
    ratio = alpha / alpha_next
    large = sigma**2 - ratio**2 * sigma_next**2
    return Transition(
        alpha_next * large / sigma**2, ratio * sigma_next**2 / sigma**2, large * sigma_next**2 / sigma**2, large
    )


def between(fraction: Array, small: Array, large: Array) -> Array:
    """The variance that a network means by ``fraction``: in the logarithm, -1 is ``small`` and 1 is ``large`` (Nichol &
    Dhariwal 2021, equation 15).
    """
    share = (fraction + 1) / 2
    return jnp.exp(share * jnp.log(large) + (1 - share) * jnp.log(small))


def _numpy_of(levels: Level):
    """NumPy for tables of float64, JAX's for levels that depend on parameters."""
    return jnp if isinstance(levels.alpha, jax.Array) else np


def _pairs(levels: Level) -> tuple[Any, Any, Any, Any]:
    return levels.alpha[:-1], levels.sigma[:-1], levels.alpha[1:], levels.sigma[1:]


class Loop(NamedTuple):
    """A sampler's work: ``carry = step(carry, i, level, *rows)`` over all steps, ``x`` being the first array carried."""

    step: Callable
    carry: Any
    levels: Level
    tables: tuple[Any, ...]

    def rows(self) -> tuple[Array, Level, tuple[Any, ...]]:
        """What ``advance`` takes of each step, stacked; tables are rounded to the dtype of x."""
        dtype = first(self.carry).dtype
        here = Level(*(jnp.asarray(x[:-1], dtype) for x in self.levels))
        tables = jax.tree.map(lambda table: jnp.asarray(table, dtype), self.tables)
        return jnp.arange(len(here.t)), here, tables

    def advance(self, carry: Any, row: tuple[Array, Level, tuple[Any, ...]]) -> Any:
        """What is carried after one step, by its row: neither the levels nor the tables of this loop matter."""
        i, level, tables = row
        return self.step(carry, i, level, *tables)

    def run(self, keep: bool = False) -> Array:
        """x at the end; with ``keep`` x after each step, ``[S, N, ...]``."""

        def body(carry, row):
            carry = self.advance(carry, row)
            return carry, first(carry) if keep else None

        last, kept = jax.lax.scan(body, self.carry, self.rows())
        return kept if keep else first(last)


def first(carry: Any) -> Array:
    """x of what a loop carries."""
    return jax.tree.leaves(carry)[0]


def ancestral(denoise: Denoiser, levels: Level, x: Array, noise: Noise, variance: str = 'fixedlarge') -> Loop:
    """The sampler of Ho et al. 2020 (algorithm 2), on all timesteps or, respaced, on some (Nichol & Dhariwal 2021).

    Args:
      variance: 'fixedlarge' (beta), 'fixedsmall' (the posterior's variance), or 'learned': then ``denoise`` returns with
        x_0 where between the logarithms of the two (-1 .. 1) it lies. The last step adds no noise in all.
    """
    table = transition(*_pairs(levels))
    xp = _numpy_of(levels)
    last = xp.arange(len(table.small)) == len(table.small) - 1
    small = xp.where(last, table.large, table.small)  # nothing is left of the posterior's there, nor is it used

    def step(x, i, level, of_x0, of_x, small, large, moves):
        if variance == 'learned':
            x0, fraction = denoise(x, level)
            std = jnp.sqrt(between(fraction, small, large))
        else:
            x0, std = denoise(x, level), jnp.sqrt({'fixedlarge': large, 'fixedsmall': small}[variance])
        return of_x0 * x0 + of_x * x + moves * std * noise(i)

    return Loop(step, x, levels, (table.of_x0, table.of_x, small, table.large, ~last))


def ddim(denoise: Denoiser, levels: Level, x: Array, noise: Noise, eta: float = 0.0) -> Loop:
    """The sampler of Song et al. 2021 (DDIM, equation 12): alpha_next x_0 + sqrt(sigma_next^2 - std^2) eps + std z,
    eps = (x - alpha x_0) / sigma, std^2 = ``eta``^2 times the posterior's variance; with ``eta`` 0 it is deterministic.

    The noise estimate is taken from the (clipped) x_0, so that both always explain x. For ``flow``, eta 0 is Euler's
    method for its differential equation.
    """
    xp = _numpy_of(levels)
    alpha, sigma, alpha_next, sigma_next = _pairs(levels)
    std = eta * xp.sqrt(transition(*_pairs(levels)).small)
    b = xp.sqrt(sigma_next**2 - std**2) / sigma
    a = alpha_next - b * alpha

    def step(x, i, level, a, b, std):
        x = a * denoise(x, level) + b * x
        return x + std * noise(i) if eta else x

    return Loop(step, x, levels, (a, b, std))


def ddim_inversion(denoise: Denoiser, levels: Level, x: Array, iterations: int = 3) -> Array:
    """The start from which ``ddim`` draws the image ``x``, by ``iterations`` fixed-point steps a level (Pan et al. 2023).

    One of them is the usual inversion, which takes the noise estimate of the cleaner image for that of the noisier.
    """
    pairs = [jnp.flip(jnp.asarray(z, x.dtype)) for z in _pairs(levels)]
    times = jnp.flip(jnp.asarray(levels.t[:-1], x.dtype))

    def step(x, row):
        t, alpha, sigma, alpha_next, sigma_next = row
        shrink, kept = sigma_next / sigma, alpha / alpha_next
        # x_0 moves with x by about so much. The step is solved for the x that contracts faster: in its noise where there is
        # little of it, in itself where there is much, and for want of alpha nothing else to solve for.
        gain = alpha * SIGMA_DATA**2 / (alpha**2 * SIGMA_DATA**2 + sigma**2)
        in_noise = jnp.abs(1 - kept * shrink) * jnp.abs(1 - alpha * gain) < (alpha_next / shrink - alpha) * gain

        def again(guess, _):
            x0 = denoise(guess, Level(alpha, sigma, t))
            eps = (guess - alpha * x0) / sigma
            of_noise = kept * (x - sigma_next * eps) + sigma * eps
            of_itself = (x - (alpha_next - shrink * alpha) * x0) / jnp.where(shrink > 0, shrink, 1)
            return jnp.where(in_noise, of_noise, of_itself), None

        return jax.lax.scan(again, x, None, length=iterations)[0], None

    return jax.lax.scan(step, x, (times, *pairs))[0]


def heun(denoise: Denoiser, levels: Level, x: Array, noise: Noise, hat: Level | None = None) -> Loop:
    """The second-order sampler of Karras et al. 2022 (algorithm 2, and algorithm 1 without ``hat``), on y = x / alpha
    and s = sigma / alpha: y + (s_next - s) (d + d_next) / 2, d = (y - x_0) / s, d_next that of Euler's y + (s_next - s) d.

    A step ends uncorrected where it ends at the data, and where it begins without signal.

    Args:
      hat: the levels that noise is added up to before each step, ``[S]``; see ``churned``.
    """
    alpha, sigma, alpha_next, sigma_next = _pairs(levels)
    xp = _numpy_of(levels)
    start = hat or Level(*(z[:-1] for z in levels))
    up = start.alpha / xp.where(alpha > 0, alpha, 1.0) if hat else xp.ones_like(alpha)
    added = start.alpha * xp.sqrt(
        xp.maximum((start.sigma / _or_1(xp, start.alpha)) ** 2 - (sigma / _or_1(xp, alpha)) ** 2, 0.0)
    )
    up, added = xp.where(alpha > 0, up, 1.0), xp.where(alpha > 0, added, 0.0)
    b = sigma_next / start.sigma
    a = alpha_next - b * start.alpha
    corrected = _corrected(levels)
    then = Level(*(z[1:] for z in levels))

    def step(x, i, _, start, then, up, added, a, b, corrected):
        if hat:
            x = up * x + added * noise(i)
        x0 = denoise(x, start)
        euler = a * x0 + b * x

        def correct(euler):
            # In s = sigma / alpha and y = x / alpha, dy/ds = (y - x_0) / s; half of it at each end of the step.
            s, s_next = start.sigma / start.alpha, then.sigma / then.alpha
            slope = (x / start.alpha - x0) / s
            slope_next = (euler / then.alpha - denoise(euler, then)) / s_next
            return then.alpha * (x / start.alpha + (s_next - s) * 0.5 * (slope + slope_next))

        return jax.lax.cond(corrected > 0, correct, lambda euler: euler, euler)

    return Loop(step, x, levels, (start, then, up, added, a, b, corrected))


def _corrected(levels: Level) -> Any:
    alpha, _, _, sigma_next = _pairs(levels)
    return (alpha > 0) & (sigma_next > 0)


def _or_1(xp: Any, alpha: Any) -> Any:
    return xp.where(alpha > 0, alpha, 1.0)


def churned(schedule: Schedule, levels: Level, churn: float) -> Level:
    """The levels that each step of Karras et al. 2022 (algorithm 2) first goes up to, ``[S]``: sigma / alpha is
    1 + min(S_churn / S, sqrt(2) - 1) times larger there. S_min is 0, S_max infinite and S_noise 1.
    """
    alpha, sigma = levels.alpha[:-1], levels.sigma[:-1]
    ratio = sigma / np.where(alpha > 0, alpha, 1.0)
    gamma = min(churn / len(ratio), np.sqrt(2) - 1)
    moved = alpha > 0
    hat = schedule.at(np.where(moved, ratio * (1 + gamma), 1.0))
    return Level(*(np.where(moved, z, z0[:-1]) for z, z0 in zip(hat, levels, strict=True)))


def dpmpp_2m(denoise: Denoiser, levels: Level, x: Array, noise: Noise, stochastic: bool = False) -> Loop:
    """DPM-Solver++(2M) and, ``stochastic``, SDE-DPM-Solver++(2M) (Lu et al. 2022, algorithm 2 and appendix A).

    With lambda = log(alpha / sigma), h its increase, and D = x_0 + h / (2 h_before) (x_0 - x_0 of the step before):
    sigma_next / sigma x + alpha_next (1 - e^-h) D, and the stochastic one e^-h sigma_next / sigma x
    + alpha_next (1 - e^-2h) D + sigma_next sqrt(1 - e^-2h) z.

    The steps that begin without signal and end at the data are of first order, as is the very first.
    """
    alpha, sigma, alpha_next, sigma_next = _pairs(levels)
    xp = _numpy_of(levels)
    with np.errstate(divide='ignore', invalid='ignore'):
        lam, lam_next = xp.log(alpha / sigma), xp.log(alpha_next / sigma_next)
        h = lam_next - lam  # infinite at both ends
        before = xp.concatenate([xp.full(1, xp.inf), h[:-1]])
        second = xp.where(xp.isfinite(h) & xp.isfinite(before), 0.5 * h / before, 0.0)
        shrink = xp.exp(-h)
    shrink = xp.where(alpha > 0, shrink, 0.0)
    b = sigma_next / sigma
    if stochastic:
        a, std = alpha_next * (1 - shrink**2), sigma_next * xp.sqrt(1 - shrink**2)
        b = b * shrink
    else:
        a, std = alpha_next - b * alpha, xp.zeros_like(b)

    def step(carry, i, level, a, b, std, second):
        x, previous = carry
        x0 = denoise(x, level)
        x = a * (x0 + second * (x0 - previous)) + b * x
        return (x + std * noise(i) if stochastic else x), x0

    return Loop(step, (x, jnp.zeros_like(x)), levels, (a, b, std, second))


def mean_flow(jump: Callable[[Array, Level, Level], Array], levels: Level, x: Array, noise: Noise) -> Loop:
    """One call a step, however long (Geng et al. 2025, equation 12): ``jump(x, level, next)`` is x at the next level."""
    then = Level(*(z[1:] for z in levels))
    return Loop(lambda x, i, level, then: jump(x, level, then), x, levels, (then,))


@dataclasses.dataclass(frozen=True)
class Sampler:
    """An entry of ``SAMPLERS``.

    Attributes:
      function: the loop, for the arguments above.
      order: with which the law of its samples nears that of the data as the steps grow, for a smooth schedule.
      calls: network calls, of the levels.
      options: names of ``sample``'s fields that it takes.
    """

    function: Callable[..., Loop]
    order: int = 1
    calls: Callable[[Level], int] = lambda levels: len(levels.t) - 1
    options: tuple[str, ...] = ()

    def __call__(
        self, denoise: Denoiser, levels: Level, x: Array, noise: Noise, keep: bool = False, **options: Any
    ) -> Array:
        """Images ``[N, ...]``; with ``keep`` x after every step, ``[S, N, ...]``."""
        return self.function(denoise, levels, x, noise, **options).run(keep)


def _calls_of_heun(levels: Level) -> int:
    return len(levels.t) - 1 + int(_corrected(levels).sum())


SAMPLERS: dict[str, Sampler] = {
    'ddpm': Sampler(ancestral),
    'ddpm_fixedsmall': Sampler(functools.partial(ancestral, variance='fixedsmall')),
    'ddim': Sampler(ddim, options=('eta',)),
    'heun': Sampler(heun, order=2, calls=_calls_of_heun),
    'edm': Sampler(heun, order=2, calls=_calls_of_heun, options=('churn',)),
    'dpmpp_2m': Sampler(dpmpp_2m, order=2),
    'dpmpp_2m_sde': Sampler(functools.partial(dpmpp_2m, stochastic=True), order=2),
    'mean_flow': Sampler(mean_flow),
}
