"""``--mode=likelihood``: a variational bound on the bits per dimension of held-out images under a diffusion model."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Float, Int, UInt8

from jaxgen.apps import guides
from jaxgen.apps.config import Config
from jaxgen.apps.data import load_split
from jaxgen.apps.restore import restore
from jaxgen.apps.trained import Trained
from jaxgen.data import Dataset
from jaxgen.diffusion import likelihood
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.losses import add_noise
from jaxgen.diffusion.samplers.base import Noise, step_noise
from jaxgen.diffusion.schedules import DiscreteSchedule, LearnedSchedule
from jaxgen.errors import UserError, check
from jaxgen.io.files import write_json
from jaxgen.io.hashes import weights_hash
from jaxgen.io.images import from_uint8
from jaxgen.io.run_directory import output_folder
from jaxgen.methods.base import Method
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.models.layers import precision_of
from jaxgen.runtime import xla_flags
from jaxgen.runtime.compilation import compiled
from jaxgen.runtime.mesh import batch_sharding
from jaxgen.runtime.progress import Stage
from jaxgen.runtime.random import image_keys, root_key, stream
from jaxgen.types import Array, JsonObject, PyTree

# sigma / alpha at the two ends of a continuous schedule that has no ends of its own
ENDS = (0.002, 80.0)
CONTINUOUS_TERMS = 100  # default number of noise levels of a continuous schedule


def run(config: Config, workdir: epath.Path) -> None:
    """Write ``likelihood/<step>.json``; see ``bound``."""
    guides.require_none(config, 'likelihood')
    trained = restore(config, workdir)
    dataset = load_split(config, config.likelihood.split)
    result = bound(trained, dataset.relabelled(trained.class_names))
    path = output_folder(workdir) / 'likelihood' / f'{trained.step}.json'
    write_json(path, result)
    print(f'{summary(result)}; all terms: {path}')


def summary(result: JsonObject) -> str:
    """Describe the result of ``bound`` in words that distinguish a bound from an estimate of it."""
    protocol = result['protocol']
    bits = f'{result["bits_per_dim"]:.4f} +- {result["standard_error"]:.4f} bits per dimension'
    over = f'(standard error over {protocol["images"]} images)'
    if not result['is_estimate']:
        return f'at most {bits} {over}'
    total = protocol['all_terms']
    whole = 'of infinitely many noise levels, taken at random' if total is None else f'of {total} terms'
    return f'about {bits} {over}, an estimate of the bound from {protocol["terms"]} {whole}'


def bound(trained: Trained, dataset: Dataset) -> JsonObject:
    """Estimate the bits per dimension of the first ``config.likelihood.num`` images, and the terms of which they consist.

    For a schedule of timesteps this is the bound of Ho et al. 2020 (equation 5), of which all terms or a selection are computed;
    for a continuous schedule it is the bound of infinitely many steps (Kingma et al. 2021, equation 15). Estimates of x_0 are
    clipped as in sampling. Guidance is left out, because it is not part of the model.

    Args:
      trained: a diffusion model; its config has the options.
      dataset: the images, whose labels index ``trained.class_names``.

    Returns:
      JSON values: ``bits_per_dim`` and its ``standard_error`` over images; ``is_estimate``, which is true if not all terms of
      the bound were computed (the standard error does not include the error of that); ``prior``, and ``terms`` with the
      ``level`` (t, or log SNR) and the ``bits`` of each, which sum to the rest; and the ``protocol``.

    Raises:
      UserError: if the model has no such bound.
    """
    config, options = trained.config, trained.config.likelihood
    _require_likelihood(config, trained.method)
    method = cast(Diffusion, trained.method)
    variables = method.sampling_variables(trained.model, root_key(config.seed), config.sample.ema)
    kind = _DiscreteBound if isinstance(method.schedule, DiscreteSchedule) else _ContinuousBound
    terms = kind(method, variables, options.terms)
    bits = _bits_of_images(trained, terms, dataset)
    per_image, per_term = bits.sum(0), bits.mean(1)
    return {
        'bits_per_dim': float(per_image.mean()),
        'standard_error': float(per_image.std(ddof=1) / np.sqrt(len(per_image))),
        'is_estimate': len(terms.levels) != terms.total,
        'prior': float(per_term[0]),
        'terms': [
            {'level': float(level), 'bits': float(value)}
            for level, value in zip(terms.levels, per_term[1:], strict=True)
        ],
        'protocol': {
            'bound': terms.name,
            'terms': len(terms.levels),
            'all_terms': terms.total,
            'data': f'{config.data.name}:{options.split}',
            'images': bits.shape[1],
            'step': trained.step,
            'ema': config.sample.ema,
            'clip': method.sampling.clip,
            'seed': config.evaluation.seed,
            'weights': weights_hash(variables),
            'batch_size': config.sample.batch_size,
            **precision_of(method.network.dtype),
        },
    }


def _require_likelihood(config: Config, method: Method) -> None:
    check(
        method.supports.has_likelihood,
        f'config.family={config.method} has no bound on its likelihood, as a diffusion model has: pass the --config of one',
    )
    if not method.capabilities.has_likelihood:
        raise UserError(
            f'config.diffusion.parameterisation={config.diffusion.parameterisation} has no bound on its likelihood, because '
            f'it estimates no image at a noise level: take a model that was trained with another one, such as flow'
        )


def _bits_of_images(trained: Trained, terms: _BoundTerms, dataset: Dataset) -> np.ndarray:
    """Return float64 ``[1 + terms, images]``: the bits per dimension of the prior, and of each term."""
    config, total = trained.config, len(dataset.images)
    size, num = config.sample.batch_size, config.likelihood.num
    num = total if num is None else min(num, total)
    key = stream(root_key(config.evaluation.seed), 'evaluation')
    estimate = jax.jit(terms, compiler_options=xla_flags.options_of_samplers())
    program, stage = None, Stage('likelihood', num)
    batches = []
    for start in range(0, num, size):
        indices = np.arange(start, start + size) % total
        inputs = dataset.images[indices], dataset.labels[indices], indices
        given = (terms.variables, key, *jax.device_put(inputs, batch_sharding(trained.mesh)))
        if program is None:
            program = compiled('the bound', functools.partial(estimate.lower, *given))
        with stage:
            batches.append(np.asarray(program(*given), np.float64)[:, : min(size, num - start)])
            stage.reach(min(start + size, num))
    return np.concatenate(batches, axis=1) / np.log(2)


class _Estimates(NamedTuple):
    """The prior of a batch of N images, and the function that computes the other terms of the bound.

    Attributes:
      prior: the prior of each image, ``[N]``.
      term: ``term(i, row)`` returns term i of each image, ``[N]``.
      rows: the second argument of ``term`` for each term, stacked.
    """

    prior: Array
    term: Callable[[Array, PyTree], Array]
    rows: PyTree


class _BoundTerms(abc.ABC):
    """The terms of the bound, in nats per dimension, as a function of images.

    Attributes:
      name: name of the bound in the protocol.
      levels: the timestep or the log SNR of each term but the prior.
      total: number of all terms but the prior; None if there are infinitely many, of which ``levels`` are a sample.
      variables: the variables with which the model samples.
    """

    name: str
    levels: np.ndarray
    total: int | None

    def __init__(self, method: Diffusion, variables: PyTree):
        self.method, self.variables = method, variables

    def __call__(
        self,
        variables: PyTree,
        key: Array,
        images: UInt8[Array, 'n h w c'],
        labels: Int[Array, ' n'],
        indices: Int[Array, ' n'],
    ) -> Float[Array, 'terms n']:
        """Return the prior and then the other terms of each image; its noise depends on its index alone."""
        x0, keys = from_uint8(images), image_keys(key, indices)

        def noise(i: Array) -> Array:
            return step_noise(keys, i, self.method.image_shape)

        prior, term, rows = self.estimates(variables, x0, labels, noise, key)
        rest = jax.lax.map(lambda row: term(*row), (jnp.arange(len(self.levels)), rows))
        return jnp.concatenate([prior[None], rest])

    @abc.abstractmethod
    def estimates(self, variables: PyTree, x0: Array, labels: Array, noise: Noise, key: Array) -> _Estimates:
        """Return the prior of images x0, and the function that computes their other terms.

        Args:
          variables: the variables with which the model samples.
          x0: images in [-1, 1].
          labels: their class labels.
          noise: ``noise(i)`` is the standard normal noise number i of each image.
          key: random key of the noise levels.
        """


class _DiscreteBound(_BoundTerms):
    """The terms of a schedule of timesteps: all of them, or one for each stratum of neighbouring timesteps.

    The terms fall as t rises, so the strata get longer; each is represented by its geometric middle. The decoder's term, at
    t = 0, differs from the others and is always computed.
    """

    name = 'discrete'

    def __init__(self, method: Diffusion, variables: PyTree, num_terms: int | None):
        super().__init__(method, variables)
        self.schedule = cast(DiscreteSchedule, method.schedule)
        self.total = timesteps = self.schedule.timesteps
        if num_terms is None or num_terms >= timesteps:
            edges = np.arange(1, timesteps + 1)
        else:
            edges = np.unique(np.round(np.geomspace(1, timesteps, num_terms)))
        self.levels = np.append(0, np.sqrt(edges[:-1] * (edges[1:] - 1)).astype(int))
        self.weights = np.append(1, np.diff(edges))

    def estimates(self, variables: PyTree, x0: Array, labels: Array, noise: Noise, key: Array) -> _Estimates:
        schedule, predict = self.schedule, self.method.predictor(variables, labels)

        def term(i: Array, row: tuple[Array, Array]) -> Array:
            t, weight = row
            timesteps, n = jnp.full(len(x0), t), noise(i)
            x0_estimate, fraction = predict(add_noise(x0, n, schedule.level(timesteps)), schedule.level(t))
            variance = 'fixedsmall' if fraction is None else fraction
            return weight * likelihood.timestep_term(schedule, x0, n, timesteps, x0_estimate, variance=variance)

        last = schedule.level(jnp.full(len(x0), schedule.timesteps - 1))
        rows = jnp.asarray(self.levels), jnp.asarray(self.weights, jnp.float32)
        return _Estimates(likelihood.prior_term(x0, last), term, rows)


class _ContinuousBound(_BoundTerms):
    """The terms of a continuous schedule: one at a random level in each stratum of gamma = -log SNR, then the reconstruction."""

    name = 'continuous'
    total = None
    ends: np.ndarray

    def __init__(self, method: Diffusion, variables: PyTree, num_terms: int | None):
        super().__init__(method, variables)
        num_terms = CONTINUOUS_TERMS if num_terms is None else num_terms
        schedule = method.schedule_of(variables)
        if isinstance(schedule, LearnedSchedule):
            self.ends = np.asarray(schedule.params['ends'], np.float64)
        else:
            self.ends = 2 * np.log(np.array(ENDS))
        low, high = self.ends
        self.levels = np.append(-(low + (high - low) * (np.arange(num_terms) + 0.5) / num_terms), -low)

    def estimates(self, variables: PyTree, x0: Array, labels: Array, noise: Noise, key: Array) -> _Estimates:
        low, high = self.ends
        schedule: Any = self.method.schedule_of(variables)
        num_terms = len(self.levels) - 1
        predict = self.method.predictor(variables, labels)

        def level_at(gamma: Array) -> Level:
            level = schedule.at(jnp.exp(gamma / 2))
            return Level(*(jnp.broadcast_to(number, x0.shape[:1]) for number in level))

        def term(i: Array, row: Array) -> Array:
            n = noise(2 * i)
            within = jax.random.uniform(jax.random.fold_in(key, i))
            level = level_at(low + (high - low) * (i + within) / num_terms)
            x0_estimate, _ = predict(add_noise(x0, n, level), Level(*(number[0] for number in level)))
            diffusion = likelihood.diffusion_term(x0, level, x0_estimate, jnp.asarray(high - low)) / num_terms
            reconstruction = likelihood.reconstruction_term(x0, n, level_at(jnp.asarray(low)))
            return jnp.where(i < num_terms, diffusion, reconstruction)

        prior = likelihood.prior_term(x0, level_at(jnp.asarray(high)))
        return _Estimates(prior, term, jnp.zeros(len(self.levels)))
