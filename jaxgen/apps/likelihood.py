"""``--mode=likelihood``: a variational bound on a diffusion model's bits a dimension, on held-out images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps.config import Config
from jaxgen.apps.evaluate.evaluator import load_options
from jaxgen.apps.restore import restore
from jaxgen.apps.trained import Trained
from jaxgen.data import Dataset, load
from jaxgen.diffusion import likelihood
from jaxgen.diffusion.losses import add_noise
from jaxgen.diffusion.noise import step_noise
from jaxgen.diffusion.schedules import DiscreteSchedule, LearnedSchedule, Level
from jaxgen.errors import check
from jaxgen.io.files import write_json
from jaxgen.io.hashes import weights_hash
from jaxgen.io.images import from_uint8
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.runtime.mesh import batch_sharding
from jaxgen.runtime.random import image_keys, root_key, stream

Array = jax.Array
RATIOS = (0.002, 80.0)  # sigma / alpha between which a continuous schedule without ends is judged


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``likelihood/<step>.json``; see ``bound``."""
    trained = restore(config, workdir)
    dataset = load(config.data.name, config.likelihood.split, **load_options(config))
    result = bound(config, trained, dataset.relabelled(trained.class_names))
    path = workdir / 'likelihood' / f'{trained.step}.json'
    write_json(path, result)
    bits = f'{result["bits_per_dim"]:.4f} +- {result["standard_error"]:.4f}'
    print(f'at most {bits} bits per dimension; all terms: {path}')


def bound(config: ConfigDict, trained: Trained, dataset: Dataset) -> dict[str, Any]:
    """Bits a dimension of the first ``config.likelihood.num`` images, and what they are made of.

    For a schedule of timesteps this is the bound of Ho et al. 2020 (equation 5), all of its terms or a choice of
    them; for a continuous one that of infinitely many steps (Kingma et al. 2021). Estimates of x_0 are clipped or not as
    in sampling; guidance is not part of a model, and is left out.

    Returns:
      ``bits_per_dim``, its standard error over images, ``prior``, ``terms`` (``level``: t, or log SNR; ``bits`` of each,
      such that they sum to the rest), ``protocol``.

    Raises:
      UserError: if the method has no such bound.
    """
    method, options = trained.method, config.likelihood
    check(
        method.supports.has_likelihood,
        f'config.family={config.family} has no bound on its likelihood: a diffusion model that goes step by step has',
    )
    check(
        method.capabilities.has_likelihood,
        'config.diffusion.parameterisation=mean_flow has no bound on its likelihood, as it estimates no image at a level of '
        'noise: take a model that was trained with flow, say',
    )
    variables = method.sampling_variables(trained.model, root_key(config.seed, config.train.prng), config.sample.ema)
    judge = (
        _Discrete(method, variables, options.terms)
        if isinstance(method.schedule, DiscreteSchedule)
        else _Continuous(method, variables, options.terms or 100)
    )
    each = _of_images(config, trained, judge, dataset)
    per_image = each.sum(0)
    terms = each.mean(1)
    known = {'bits_per_dim': per_image.mean(), 'standard_error': per_image.std(ddof=1) / np.sqrt(len(per_image))}
    return {
        **{name: float(value) for name, value in known.items()},
        'prior': float(terms[0]),
        'terms': [{'level': float(at), 'bits': float(bits)} for at, bits in zip(judge.where, terms[1:], strict=True)],
        'protocol': {
            'bound': judge.name,
            'data': f'{config.data.name}:{options.split}',
            'images': each.shape[1],
            'step': trained.step,
            'ema': config.sample.ema,
            'clip': method.sampling.clip,
            'seed': config.evaluation.seed,
            'weights': weights_hash(variables),
        },
    }


def _of_images(config: ConfigDict, trained: Trained, judge: Any, dataset: Dataset) -> np.ndarray:
    """float64 ``[1 + terms, images]`` in bits."""
    size = config.sample.batch_size
    num = min(config.likelihood.num or len(dataset.images), len(dataset.images))
    key = stream(root_key(config.evaluation.seed, config.train.prng), 'evaluation')
    work = jax.jit(judge)
    pieces = []
    for start in range(0, num, size):
        rows = np.arange(start, start + size) % len(dataset.images)
        batch = jax.device_put((dataset.images[rows], dataset.labels[rows], rows), batch_sharding(trained.mesh))
        pieces.append(np.asarray(work(judge.variables, key, *batch), np.float64)[:, : min(size, num - start)])
        print(f'{min(start + size, num)}/{num} images', flush=True)
    return np.concatenate(pieces, axis=1) / np.log(2)


class _Bound:
    """``bound(variables, key, images, labels, numbers)`` is ``[1 + terms, N]`` in nats a dimension: the prior, then the rest."""

    name: str
    where: np.ndarray

    def __init__(self, method: Diffusion, variables: Any):
        self.method, self.variables = method, variables

    def __call__(self, variables: Any, key: Array, images: Array, labels: Array, numbers: Array) -> Array:
        x0 = from_uint8(images)
        keys = image_keys(key, numbers)

        def noise(i: Array) -> Array:
            return step_noise(keys, i, self.method.image_shape)

        prior, term, rows = self.terms(variables, x0, labels, noise, key)
        rest = jax.lax.map(lambda row: term(*row), (jnp.arange(len(self.where)), rows))
        return jnp.concatenate([prior[None], rest])


class _Discrete(_Bound):
    name = 'discrete'

    def __init__(self, method: Diffusion, variables: Any, terms: int):
        super().__init__(method, variables)
        timesteps = method.schedule.timesteps
        # Strata of timesteps that grow with t, as the terms fall with it; each is judged at its (geometric) middle. The
        # decoder's term is unlike the others, so it is always there.
        few = 0 < terms < timesteps
        edges = np.unique(np.round(np.geomspace(1, timesteps, terms))) if few else np.arange(1, timesteps + 1)
        self.where = np.append(0, np.sqrt(edges[:-1] * (edges[1:] - 1)).astype(int))
        self.weights = np.append(1, np.diff(edges))

    def terms(self, variables: Any, x0: Array, labels: Array, noise: Callable[[Array], Array], key: Array):
        method, schedule = self.method, self.method.schedule
        predict = method.predictor(variables, labels)

        def term(i, row):
            t, weight = row
            at = jnp.full(len(x0), t)
            n = noise(i)
            x0_estimate, fraction = predict(add_noise(x0, n, schedule.level(at)), schedule.level(t))
            variance = 'fixedsmall' if fraction is None else fraction
            return weight * likelihood.timestep_term(schedule, x0, n, at, x0_estimate, variance=variance)

        last = schedule.level(jnp.full(len(x0), schedule.timesteps - 1))
        return likelihood.prior_term(x0, last), term, (jnp.asarray(self.where), jnp.asarray(self.weights, jnp.float32))


class _Continuous(_Bound):
    """The last term is the reconstruction's; the levels of the others are stratified, anew in each."""

    name = 'continuous'

    def __init__(self, method: Diffusion, variables: Any, terms: int):
        super().__init__(method, variables)
        schedule = method.schedule_of(variables)
        learned = isinstance(schedule, LearnedSchedule)
        self.ends = np.asarray(schedule.params['ends'], np.float64) if learned else 2 * np.log(np.array(RATIOS))
        low, high = self.ends
        self.where = np.append(-(low + (high - low) * (np.arange(terms) + 0.5) / terms), -low)

    def terms(self, variables: Any, x0: Array, labels: Array, noise: Callable[[Array], Array], key: Array):
        method, (low, high) = self.method, self.ends
        schedule, count = method.schedule_of(variables), len(self.where) - 1
        predict = method.predictor(variables, labels)

        def at(gamma: Array) -> Level:
            return Level(*(jnp.broadcast_to(z, x0.shape[:1]) for z in schedule.at(jnp.exp(gamma / 2))))

        def term(i, row):
            n = noise(2 * i)
            within = jax.random.uniform(jax.random.fold_in(key, i))
            gamma = low + (high - low) * (i + within) / count
            level = at(gamma)
            x0_estimate, _ = predict(add_noise(x0, n, level), Level(*(z[0] for z in level)))
            diffusion = likelihood.diffusion_term(x0, level, x0_estimate, jnp.asarray(high - low)) / count
            return jnp.where(i < count, diffusion, likelihood.reconstruction_term(x0, n, at(jnp.asarray(low))))

        return likelihood.prior_term(x0, at(jnp.asarray(high))), term, jnp.zeros(len(self.where))
