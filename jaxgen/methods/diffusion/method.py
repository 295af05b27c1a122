"""Denoising diffusion as a model family: Ho et al. 2020, and what ``config.diffusion`` makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxgen.diffusion import compatibility as fits
from jaxgen.diffusion.guidance import guided
from jaxgen.diffusion.predictions import estimate
from jaxgen.diffusion.samplers import SAMPLERS, Loop, churned
from jaxgen.diffusion.schedules import SCHEDULES, Learned, Level, Schedule
from jaxgen.methods.base import Family
from jaxgen.methods.diffusion.objective import Losses
from jaxgen.methods.diffusion.options import (
    DiffusionOptimizerOptions,
    DiffusionOptions,
    DiffusionSampleOptions,
    NetworkOptions,
)
from jaxgen.methods.diffusion.rules import require_together
from jaxgen.models.layers import at_least_float32
from jaxgen.models.networks import make_network
from jaxgen.optim import power_ema
from jaxgen.optim.optimizer import ema_update, learning_rate, make_optimizer, resolved, value_and_grad
from jaxgen.schema import Options

Array = jax.Array


@flax.struct.dataclass
class Denoiser:
    """Parameters, their moving average, the optimiser's state and the number of its updates."""

    params: Any
    ema: Any
    opt_state: Any
    updates: Array


@flax.struct.dataclass
class Averaged(Denoiser):
    """A denoiser with power-function averages, one for each of ``optimizer.ema_lengths``."""

    averages: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How images are drawn: the fields of ``config.sample`` that are this family's."""

    sampler: str = 'ddim'
    num_steps: int = 50
    eta: float = 0.0
    churn: float = 0.0
    clip: bool = True
    guidance_scale: float = 1.0
    guidance_low: float = 0.0
    guidance_high: float = 0.0
    guidance_rescale: float = 0.0

    @property
    def options(self) -> dict[str, float]:
        """Of the sampler."""
        return {name: getattr(self, name) for name in SAMPLERS[self.sampler].options}


@dataclasses.dataclass(frozen=True)
class DDPM(Family):
    """A network and what it predicts (``diffusion``: parameterisation, weighting, variance, label_dropout) at the levels of
    a schedule; without classes, ``network`` has none and ``label_dropout`` is 0.
    """

    draws: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ('loss', 'grad_norm', 'learning_rate')
    sections: ClassVar[Mapping[str, type[Options]]] = {
        'optimizer': DiffusionOptimizerOptions,
        'sample': DiffusionSampleOptions,
        'model': NetworkOptions,
        'diffusion': DiffusionOptions,
    }

    network: nn.Module
    schedule: Schedule
    optimizer: ConfigDict
    image_shape: tuple[int, int, int]
    grad_accumulation: int = 1
    drawing: Drawing = Drawing()
    parameterisation: str = 'eps'
    weighting: str = 'simple'
    learned_variance: bool = False
    label_dropout: float = 0.0

    @staticmethod
    def check_options(options: Mapping[str, Any], image_size: int) -> None:
        require_together(options['model'], options['diffusion'], options['optimizer'], options['sample'], image_size)

    @classmethod
    def from_config(cls, config: ConfigDict, image_shape: tuple[int, int, int], num_classes: int) -> DDPM:
        d = config.diffusion
        known = num_classes + (d.label_dropout > 0) if config.model.conditional else 0  # the last one stands for none
        return cls(
            network=make_network(
                config.model,
                num_classes=known,
                out_channels=image_shape[-1] * (2 if d.variance == 'learned' else 1),
            ),
            schedule=SCHEDULES[d.schedule](d.timesteps),
            optimizer=resolved(config),
            image_shape=image_shape,
            grad_accumulation=config.train.grad_accumulation,
            drawing=Drawing(**{f.name: config.sample[f.name] for f in dataclasses.fields(Drawing)}),
            parameterisation=d.parameterisation,
            weighting=d.weighting,
            learned_variance=d.variance == 'learned',
            label_dropout=d.label_dropout,
        )

    def init(self, key: Array) -> Denoiser:
        times = jnp.zeros((1, 2) if self.parameterisation == fits.MEAN_FLOW else 1)
        example = jnp.zeros((1, *self.image_shape)), times, jnp.zeros(1, jnp.int32)
        params = self.network.init(key, *example)['params']
        if isinstance(self.schedule, Learned):
            params = {**params, 'schedule': self.schedule.init(jax.random.fold_in(key, 0))}
        return self.start(params)

    def start(self, params: Any) -> Denoiser:
        """The model before the first step, with these parameters."""
        ema = jax.tree.map(jnp.copy, params)
        model = params, ema, make_optimizer(self.optimizer).init(params), jnp.zeros((), jnp.int32)
        lengths = self.optimizer.ema_lengths
        return Averaged(*model, power_ema.start(params, lengths)) if lengths else Denoiser(*model)

    def networks(self, model: Denoiser) -> dict[str, Any]:
        return {type(self.network).__name__.lower(): model.params}

    def averages(self, model: Denoiser) -> dict[float, Any]:
        return dict(zip(self.optimizer.ema_lengths, model.averages, strict=True)) if isinstance(model, Averaged) else {}

    def step(self, model: Denoiser, batch: dict[str, Array], key: Array) -> tuple[Denoiser, dict[str, Array]]:
        return self.advance(model, batch, key, lambda params: params)

    def advance(
        self, model: Denoiser, batch: dict[str, Array], key: Array, parameters: Callable[[Any], Any]
    ) -> tuple[Denoiser, dict[str, Array]]:
        """``step``, where the network's parameters are a function of those that are learnt."""
        time_key, noise_key, dropout_key = jax.random.split(key, 3)
        x0 = batch['image'].astype(at_least_float32(self.network.dtype))
        losses = Losses(self)
        examples = {
            'x0': x0,
            'noise': jax.random.normal(noise_key, x0.shape, x0.dtype),
            'at': losses.draw(time_key, len(x0)),
            'label': self._some_withheld(batch['label'], jax.random.fold_in(time_key, 1)),
        }

        def loss(learnt, ex, key):
            params = parameters(learnt)

            def network(x, *t):
                rngs = {'dropout': key}
                return self.network.apply(
                    {'params': params}, x, jnp.stack(t, 1) if t[1:] else t[0], ex['label'], train=True, rngs=rngs
                )

            return jnp.mean(losses(network, params, ex['x0'], ex['noise'], ex['at']))

        value, grads = value_and_grad(loss, model.params, examples, dropout_key, self.grad_accumulation)
        updates, opt_state = make_optimizer(self.optimizer).update(grads, model.opt_state, model.params)
        params = optax.apply_updates(model.params, updates)
        metrics = {
            'loss': value,
            'grad_norm': optax.tree.norm(grads),
            'learning_rate': jnp.asarray(learning_rate(self.optimizer)(model.updates), jnp.float32),
        }
        ema = ema_update(model.ema, params, model.updates, self.optimizer.ema_decay)
        after = {'params': params, 'ema': ema, 'opt_state': opt_state, 'updates': model.updates + 1}
        if isinstance(model, Averaged):
            lengths = self.optimizer.ema_lengths
            after['averages'] = power_ema.update(model.averages, params, model.updates, lengths)
        return model.replace(**after), metrics

    def _some_withheld(self, labels: Array, key: Array) -> Array:
        if not self.label_dropout:
            return labels
        return jnp.where(jax.random.bernoulli(key, self.label_dropout, labels.shape), self.no_class, labels)

    @property
    def no_class(self) -> int:
        """The label that stands for none, where there is ``label_dropout``."""
        return self.network.num_classes - 1

    def augment(self, images: Array, key: Array) -> Array:
        return images

    def sampling_variables(self, model: Denoiser, key: Array, ema: bool) -> Any:
        return {'params': model.ema if ema else model.params}

    def weights(self, model: Denoiser, key: Array, ema: bool) -> dict[str, Any]:
        return self.sampling_variables(model, key, ema)

    def started(self, weights: dict[str, Any], key: Array) -> Denoiser:
        return self.start(weights['params'])

    def schedule_of(self, params: Any) -> Schedule:
        """The schedule, with its parameters if it learns."""
        return dataclasses.replace(self.schedule, params=params['schedule']) if 'schedule' in params else self.schedule

    def denoiser(
        self,
        variables: Any,
        labels: Array,
        clip: bool | None = None,
        change: Callable[[Array], Array] = lambda x0: x0,
        guidance_scale: Array | None = None,
    ) -> Callable[[Array, Level], Any]:
        """``denoise(x, level)`` for the samplers: guided and clipped as ``drawing`` has it, or clipped or not,
        then changed. Where ``drawing`` guides, ``guidance_scale`` may be traced instead.

        For ``mean_flow`` it is ``jump(x, level, next)``; with a learned variance it returns that, too, for sampler=ddpm.
        """
        d = self.drawing
        clip = d.clip if clip is None else clip
        by = d if guidance_scale is None else dataclasses.replace(d, guidance_scale=guidance_scale)

        def own(x, level, labels):
            return self.estimator(variables, labels, clip=False)(x, level)

        def denoise(x, level):
            x0, *fraction = (
                guided(own, x, level, labels, self.no_class, by) if d.guidance_scale != 1 else own(x, level, labels)
            )
            x0 = change(jnp.clip(x0, -1.0, 1.0) if clip else x0)
            return (x0, *fraction) if fraction and d.sampler == 'ddpm' else x0

        def jump(x, level, then):
            gap = level.sigma - then.sigma
            return x - gap * self._predicted(variables, x, jnp.stack([level.t, 1000 * gap]), labels)

        return jump if self.parameterisation == fits.MEAN_FLOW else denoise

    def estimator(
        self, variables: Any, labels: Array, clip: bool | None = None
    ) -> Callable[[Array, Level], tuple[Array, ...]]:
        """``(x_0,)`` of the network itself, unguided; ``(x_0, fraction)`` where it learns its variance."""
        clip = self.drawing.clip if clip is None else clip

        def own(x, level):
            fractions = []

            def mean(x, t):
                predicted = self._predicted(variables, x, t, labels)
                if self.learned_variance:
                    predicted, fraction = jnp.split(predicted, 2, axis=-1)
                    fractions.append(fraction)
                return predicted

            x0 = estimate(self.parameterisation, mean, x, level)
            return jnp.clip(x0, -1.0, 1.0) if clip else x0, *fractions

        return own

    def _predicted(self, variables: Any, x: Array, t: Array, labels: Array) -> Array:
        return self.network.apply(variables, x, jnp.broadcast_to(t, (len(x), *t.shape)), labels)

    def levels(self, params: Any, num_steps: int | None = None) -> Level:
        """Those that a sampler visits."""
        return self.schedule_of(params).levels(num_steps or self.drawing.num_steps)

    def sample(self, variables: Any, keys: Array, labels: Array) -> Array:
        def normal(i):
            fold = jax.vmap(jax.random.fold_in, (0, None))
            return jax.vmap(lambda k: jax.random.normal(k, self.image_shape))(fold(keys, i))

        levels = self.levels(variables['params'])
        std = jnp.sqrt(jnp.asarray(levels.alpha[0] ** 2 + levels.sigma[0] ** 2, jnp.float32))
        return self.draw(variables, labels, levels, std * normal(0), lambda i: normal(i + 1))

    def draw(
        self,
        variables: Any,
        labels: Array,
        levels: Level,
        x: Array,
        noise: Callable[[Array], Array],
        keep: bool = False,
        change: Callable[[Array], Array] = lambda x0: x0,
    ) -> Array:
        """From ``x`` at the first of the levels to images at the last, by ``drawing``'s sampler.

        Args:
          noise: of each step, see ``samplers``.
          keep: x after each step, ``[S, N, H, W, C]``, instead of the images.
          change: of every estimate of x_0.
        """
        return self.loop(variables, labels, levels, x, noise, change).run(keep)

    def loop(
        self,
        variables: Any,
        labels: Array,
        levels: Level,
        x: Array,
        noise: Callable[[Array], Array],
        change: Callable[[Array], Array] = lambda x0: x0,
        guidance_scale: Array | None = None,
    ) -> Loop:
        """The work of ``draw``, to be done as a whole or step by step."""
        d, options = self.drawing, self.drawing.options
        if options.pop('churn', 0):
            options['hat'] = churned(self.schedule_of(variables['params']), levels, d.churn)
        if self.learned_variance and d.sampler == 'ddpm':
            options['variance'] = 'learned'
        denoise = self.denoiser(variables, labels, change=change, guidance_scale=guidance_scale)
        return SAMPLERS[d.sampler].function(denoise, levels, x, noise, **options)

    def sampling_protocol(self) -> dict[str, Any]:
        d, schedule = self.drawing, self.schedule
        if isinstance(schedule, Learned):  # whatever it learns, the calls are as many
            schedule = dataclasses.replace(schedule, params=schedule.init(jax.random.key(0)))
        guidance = {
            name: getattr(d, name) for name in ('guidance_scale', 'guidance_low', 'guidance_high', 'guidance_rescale')
        }
        return {
            'sampler': d.sampler,
            'num_steps': d.num_steps,
            'network_calls': SAMPLERS[d.sampler].calls(schedule.levels(d.num_steps)),
            **d.options,
            **(guidance if d.guidance_scale != 1 else {'guidance_scale': 1.0}),
            **({} if d.clip else {'clip': False}),
        }
