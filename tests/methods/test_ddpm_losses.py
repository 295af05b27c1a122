"""Losses that contain the bound, against NumPy versions of their papers' formulas: values, and the gradient of each part."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from jaxgen.apps.untrained import build_method
from tests.tiny import tiny_config

T = 20
BETAS = np.linspace(1e-4, 0.02, T)
KEPT = np.cumprod(1 - BETAS)
RNG = np.random.default_rng(0)
AT = np.array([0, 1, 7, T - 1])
X0 = np.round(RNG.uniform(0.1, 0.9, size=(4, 3, 3, 1)) * 255) / 127.5 - 1  # grey levels, none of them outermost
NOISE = RNG.normal(size=X0.shape)
PREDICTED = NOISE + 0.1 * RNG.normal(size=X0.shape)
FRACTION = RNG.uniform(-0.9, 0.9, size=X0.shape)


def method(**fields):
    return build_method(tiny_config(**{f'diffusion.{name}': value for name, value in fields.items()}), (3, 3, 1), 10)


def bound(predicted, fraction):
    """Return L_t of every pixel (Ho et al. 2020, equations 7, 11, 13; variance: Nichol & Dhariwal 2021, equation 15)."""
    t = AT.reshape(-1, 1, 1, 1)
    kept, before = KEPT[t], np.append(1.0, KEPT)[t]
    x = np.sqrt(kept) * X0 + np.sqrt(1 - kept) * NOISE
    posterior = BETAS * (1 - np.append(1.0, KEPT[:-1])) / (1 - KEPT)
    share = (fraction + 1) / 2
    variance = np.exp(share * np.log(BETAS[t]) + (1 - share) * np.log(posterior[np.maximum(t, 1)]))
    true = np.sqrt(before) * BETAS[t] / (1 - kept) * X0 + np.sqrt(1 - BETAS[t]) * (1 - before) / (1 - kept) * x
    mean = (x - BETAS[t] / np.sqrt(1 - kept) * predicted) / np.sqrt(1 - BETAS[t])
    ratio = np.where(t > 0, posterior[t], 1.0) / variance
    kl = 0.5 * (ratio - 1 - np.log(ratio) + (true - mean) ** 2 / variance)
    edges = [stats.norm.cdf((X0 - mean + side / 255) / np.sqrt(variance)) for side in (1, -1)]
    return np.where(t > 0, kl, -np.log(np.maximum(edges[0] - edges[1], 1e-300)))


def test_the_bound_in_the_hybrid_loss_trains_only_the_variance():
    """Nichol & Dhariwal 2021, equation 16: L_simple + 0.001 L_vlb, of which one of T terms is sampled."""
    with jax.enable_x64(True):
        objective = method(variance='learned').objective
        assert objective.sample_times(jax.random.key(0), 4, 0).t.shape == (4,)
        at = method(variance='learned').schedule.level(jnp.asarray(AT))

        def loss(output):
            return objective(lambda x, t: output, None, jnp.asarray(X0), jnp.asarray(NOISE), at)

        output = jnp.asarray(np.concatenate([PREDICTED, FRACTION], -1))
        got, slopes = jax.jit(loss)(output), jax.jit(jax.grad(lambda output: jnp.sum(loss(output))))(output)
    each = (PREDICTED - NOISE) ** 2 + 1e-3 * T * bound(PREDICTED, FRACTION)
    np.testing.assert_allclose(got, each.mean((1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(slopes[..., :1], 2 * (PREDICTED - NOISE) / 9, rtol=1e-9)
    step = 1e-5
    rise = bound(PREDICTED, FRACTION + step) - bound(PREDICTED, FRACTION - step)
    np.testing.assert_allclose(slopes[..., 1:], 1e-3 * T * rise / (2 * step) / 9, rtol=1e-4, atol=1e-9)


def test_the_loss_of_the_bound_is_equation_12():
    """Ho et al. 2020, for the posterior's variance: beta^2 / (2 variance alpha (1 - abar)) of the squared error, T times."""
    with jax.enable_x64(True):
        made = method(weighting='elbo')
        at = made.schedule.level(jnp.asarray(AT))
        got = made.objective(lambda x, t: jnp.asarray(PREDICTED), None, jnp.asarray(X0), jnp.asarray(NOISE), at)
    t = AT[1:]
    posterior = BETAS[t] * (1 - KEPT[t - 1]) / (1 - KEPT[t])
    weight = BETAS[t] ** 2 / (2 * posterior * (1 - BETAS[t]) * (1 - KEPT[t]))
    expected = T * weight * np.mean((PREDICTED - NOISE)[1:] ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(got[1:], expected, rtol=1e-6)
    np.testing.assert_allclose(got[0], T * bound(PREDICTED, -1.0)[0].mean(), rtol=1e-6)


def test_a_learned_schedule_minimises_the_bound_with_its_ends():
    """Kingma et al. 2021, equations 11, 13 and 18 at sampled times; the ends get its gradient, by finite differences."""

    def network(x, t, xp=jnp):
        return 0.3 * x * xp.cos(t / 700).reshape(-1, 1, 1, 1)

    times = np.array([0.05, 0.3, 0.6, 0.95])
    with jax.enable_x64(True):
        made = method(schedule='learned', weighting='elbo', parameterisation='x0')
        key = jax.random.key(0)
        params = jax.tree.map(lambda z: z + 0.5 * jax.random.normal(key, z.shape), made.schedule.init(key))
        way = [
            np.asarray(made.schedule_of({'params': {'schedule': params}}).gamma(times + d)) for d in (-1e-5, 0.0, 1e-5)
        ]

        def loss(params):
            at = jnp.asarray(X0), jnp.asarray(NOISE), jnp.asarray(times)
            return made.objective(network, {'schedule': params}, *at)

        got, slopes = jax.jit(loss)(params), jax.jit(jax.jacobian(loss))(params)['ends']
    ends = np.asarray(params['ends'])
    share, slope = ((z - ends[0]) / (ends[1] - ends[0]) for z in (way[1], way[2] - way[0] + ends[0]))

    def bound_of(ends):
        """Return the three parts of the bound of each example."""
        width = ends[1] - ends[0]

        def level(gamma):
            gamma = np.reshape(gamma, (-1, 1, 1, 1))
            return np.sqrt(special.expit(-gamma)), np.sqrt(special.expit(gamma))

        alpha, sigma = level(ends[0] + width * share)
        wrong = np.mean((X0 - network(alpha * X0 + sigma * NOISE, 1000 * share, np)) ** 2, axis=(1, 2, 3))
        diffusion = 0.5 * width * slope / 2e-5 * np.exp(-ends[0] - width * share) * wrong
        alpha, sigma = level(ends[1])
        prior = 0.5 * np.mean(sigma**2 + alpha**2 * X0**2 - 1 - np.log(sigma**2), axis=(1, 2, 3))
        alpha, sigma = level(ends[0])
        x = X0 + sigma / alpha * NOISE
        logits = -0.5 * ((x[..., None] - (np.arange(256) / 127.5 - 1)) * (alpha / sigma)[..., None]) ** 2
        own = -0.5 * ((x - X0) * alpha / sigma) ** 2
        return diffusion + prior + np.mean(special.logsumexp(logits, axis=-1) - own, axis=(1, 2, 3))

    np.testing.assert_allclose(got, bound_of(ends), rtol=1e-5)
    step = 1e-4
    for i, moved in enumerate(np.eye(2) * step):
        expected = (bound_of(ends + moved) - bound_of(ends - moved)) / (2 * step)
        np.testing.assert_allclose(slopes[:, i], expected, rtol=1e-4, atol=1e-6)
