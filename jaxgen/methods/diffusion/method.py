"""Diffusion models as a method, which combines a network with its objective, denoiser, guidance, sampler and optimizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxgen.diffusion.augment import NUM_CONDITIONS, sample_parameters, transform
from jaxgen.diffusion.compatibility import FEW_STEP, MEAN_FLOW
from jaxgen.diffusion.guidance import Predict
from jaxgen.diffusion.levels import Level, Schedule
from jaxgen.diffusion.samplers.base import initial_noise, noise_of_steps, step_noise
from jaxgen.diffusion.schedules import SCHEDULES, LearnedSchedule
from jaxgen.io.hashes import weights_hash
from jaxgen.methods.base import Capabilities, Method
from jaxgen.methods.diffusion.objective import (
    ConsistencyStages,
    Examples,
    Objective,
    drop_labels,
    make_objective,
    mean_loss,
)
from jaxgen.methods.diffusion.options import (
    DiffusionOptimizerOptions,
    DiffusionOptions,
    DiffusionSampleOptions,
    NetworkOptions,
)
from jaxgen.methods.diffusion.rules import require_together
from jaxgen.methods.diffusion.sampling import (
    Edit,
    PreconditionedNetwork,
    SamplingRun,
    SamplingSettings,
    sampling_denoiser,
)
from jaxgen.methods.diffusion.state import (
    DiffusionState,
    apply_gradients,
    averages_by_length,
    initial_state,
    next_state,
)
from jaxgen.methods.options import SampleOptions
from jaxgen.models.layers import at_least_float32, precision_of
from jaxgen.models.networks import make_network
from jaxgen.optim.accumulate import value_and_grad
from jaxgen.optim.schedules import learning_rate
from jaxgen.schema import Options, Sections
from jaxgen.types import Array, JsonObject, PyTree

Arrays = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Diffusion(Method):
    """A diffusion model: a network that predicts images at the noise levels of a schedule.

    Attributes:
      network: a linen module ``(x, t, labels) -> output``; an unconditional one ignores the labels.
      schedule: the noise levels.
      optimizer: resolved options of the optimizer.
      image_shape: height, width and channels.
      prediction: what the network predicts, one of ``compatibility.ALL_PREDICTIONS``.
      weighting: weights of the loss, one of ``compatibility.all_weightings()``.
      learned_variance: whether the network learns the variance of a step.
      consistency: stages of consistency tuning; None for other predictions.
      label_dropout: share of the training images whose label is withheld; 0 without classes.
      augmentation: probability of each geometric augmentation, see ``diffusion.augment``, for a network with an
        ``augment_dim``; None for no augmentation.
      sampling: how ``sample`` generates images.
      grad_accumulation: number of micro-batches in a step.
      guide: the worse model of autoguidance, which only ``sample`` uses.

    Example:
      >>> import jax
      >>> from jaxgen import diffusion, methods, models
      >>> from jaxgen.methods.diffusion.options import DiffusionOptimizerOptions
      >>> network = models.CNN(out_channels=1, base_channels=4, num_blocks=1, norm_groups=2)
      >>> optimizer = DiffusionOptimizerOptions().resolved(steps=1000)
      >>> method = methods.Diffusion(network, diffusion.linear(1000), optimizer, image_shape=(8, 8, 1))
      >>> list(method.networks(jax.eval_shape(method.init, jax.random.key(0))))
      ['cnn']
    """

    supports: ClassVar[Capabilities] = Capabilities(
        samples=True, denoises=True, edits=True, has_likelihood=True, finetunes=True, knows_classes=True
    )
    sections: ClassVar[Mapping[str, type[Options]]] = {
        'optimizer': DiffusionOptimizerOptions,
        'sample': DiffusionSampleOptions,
        'model': NetworkOptions,
        'diffusion': DiffusionOptions,
    }
    metrics: ClassVar[tuple[str, ...]] = ('loss', 'grad_norm', 'learning_rate')

    network: nn.Module
    schedule: Schedule
    optimizer: DiffusionOptimizerOptions
    image_shape: tuple[int, int, int]
    prediction: str = 'eps'
    weighting: str = 'simple'
    learned_variance: bool = False
    consistency: ConsistencyStages | None = None
    label_dropout: float = 0.0
    augmentation: float | None = None
    sampling: SamplingSettings = SamplingSettings()
    grad_accumulation: int = 1
    guide: PreconditionedNetwork | None = None

    @classmethod
    def from_options(
        cls,
        network: NetworkOptions,
        diffusion: DiffusionOptions,
        sample: DiffusionSampleOptions,
        optimizer: DiffusionOptimizerOptions,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        grad_accumulation: int = 1,
    ) -> Diffusion:
        """Return the method that the options describe, for labels below ``num_classes`` if the network is conditional.

        The options must be resolved (see their methods ``resolved``): ``optimizer`` needs the steps of its decay, and
        ``diffusion`` the steps of a stage.
        """
        learned_variance = diffusion.variance == 'learned'
        null_labels = 1 if diffusion.label_dropout > 0 else 0
        augmented = {} if diffusion.augment is None else {'augment_dim': NUM_CONDITIONS}
        return cls(
            network=make_network(
                network,
                num_classes=num_classes + null_labels if network.conditional else 0,
                out_channels=image_shape[-1] * (2 if learned_variance else 1),
                **augmented,
            ),
            schedule=SCHEDULES[diffusion.schedule](diffusion.timesteps),
            optimizer=optimizer,
            image_shape=image_shape,
            prediction=diffusion.parameterisation,
            weighting=diffusion.weighting,
            learned_variance=learned_variance,
            consistency=diffusion.stages,
            label_dropout=diffusion.label_dropout,
            augmentation=diffusion.augment,
            sampling=SamplingSettings.from_options(sample, learned_variance),
            grad_accumulation=grad_accumulation,
        )

    @classmethod
    def from_sections(cls, sections: Sections, *, image_shape: tuple[int, int, int], num_classes: int) -> Diffusion:
        """Return the method that options describe, see ``Method.from_sections``."""
        train = sections['train']
        return cls.from_options(
            sections['model'],
            sections['diffusion'].resolved(train.steps),
            sections['sample'],
            sections['optimizer'].resolved(train.steps),
            image_shape=image_shape,
            num_classes=num_classes,
            grad_accumulation=train.grad_accumulation,
        )

    @staticmethod
    def check_options(options: Sections, image_size: int) -> None:
        """Refuse options of different sections that do not go together, see ``Method.check_options``."""
        require_together(options['model'], options['diffusion'], options['optimizer'], options['sample'], image_size)

    @property
    def capabilities(self) -> Capabilities:
        """A few-step model does not estimate the mean image at a noise level, so it has neither edits nor a likelihood."""
        denoises_in_steps = self.prediction not in FEW_STEP
        return dataclasses.replace(
            self.supports,
            edits=denoises_in_steps,
            has_likelihood=denoises_in_steps,
            knows_classes=getattr(self.network, 'num_classes', 0) > 0,
        )

    @property
    def objective(self) -> Objective:
        """The loss that training minimises."""
        return make_objective(self.schedule, self.prediction, self.weighting, self.learned_variance, self.consistency)

    @property
    def null_label(self) -> int:
        """The label that stands for no class, for a network that was trained with ``label_dropout``."""
        return self._network(None).null_label

    def init(self, key: Array) -> DiffusionState:
        """Return the trainable state before the first step, with random parameters."""
        times = jnp.zeros((1, 2) if self.prediction == MEAN_FLOW else 1)
        example = jnp.zeros((1, *self.image_shape)), times, jnp.zeros(1, jnp.int32)
        params = self.network.init(key, *example)['params']
        if isinstance(self.schedule, LearnedSchedule):
            params = {**params, 'schedule': self.schedule.init(jax.random.fold_in(key, 0))}
        return self.initial_state(params)

    def initial_state(self, params: PyTree) -> DiffusionState:
        """Return the state before the first step, with these parameters."""
        return initial_state(params, self.optimizer)

    def from_weights(self, weights: dict[str, PyTree], key: Array) -> DiffusionState:
        """Return the trainable state before the first step, with given weights."""
        return self.initial_state(weights['params'])

    def networks(self, state: DiffusionState) -> dict[str, PyTree]:
        """Return the parameters of each network by its name."""
        return {type(self.network).__name__.lower(): state.params}

    def moving_averages(self, state: DiffusionState) -> dict[float, PyTree]:
        """Return the power-function averages of the parameters by their relative length."""
        return averages_by_length(state, self.optimizer)

    def augment(self, images: Array, key: Array) -> Array:
        """Return the images as ``step`` sees them with this key, see ``Method.augment``."""
        return self._augment(images, key)[0]

    def _augment(self, images: Array, key: Array) -> tuple[Array, Array | None]:
        """Return transformed images, and the condition numbers that tell the network how."""
        if self.augmentation is None:
            return images, None
        parameters = sample_parameters(jax.random.fold_in(key, 3), len(images), self.augmentation)
        return transform(images, parameters), parameters.conditions()

    def step(self, state: DiffusionState, batch: Arrays, key: Array) -> tuple[DiffusionState, Arrays]:
        """Make one update of the parameters, see ``Method.step``."""
        return self.update(state, batch, key, lambda params: params)

    def update(
        self, state: DiffusionState, batch: Arrays, key: Array, network_params: Callable[[PyTree], PyTree]
    ) -> tuple[DiffusionState, Arrays]:
        """Make one update; ``network_params`` turns the parameters under training into the parameters of the network."""
        time_key, noise_key, dropout_key = jax.random.split(key, 3)
        x0, conditions = self._augment(batch['image'].astype(at_least_float32(self.network.dtype)), key)
        objective = self.objective
        examples = Examples(
            x0=x0,
            noise=jax.random.normal(noise_key, x0.shape, x0.dtype),
            times=objective.sample_times(time_key, len(x0), state.updates),
            labels=self._drop_labels(batch['label'], jax.random.fold_in(time_key, 1)),
            augment=conditions,
        )

        def loss(trained: PyTree, examples: Examples, dropout_key: Array) -> Array:
            return mean_loss(objective, self.network, network_params(trained), examples, dropout_key)

        value, gradients = value_and_grad(loss, state.params, examples, dropout_key, self.grad_accumulation)
        params, opt_state = apply_gradients(state, gradients, self.optimizer)
        metrics = {
            'loss': value,
            'grad_norm': optax.tree.norm(gradients),
            'learning_rate': jnp.asarray(learning_rate(self.optimizer)(state.updates), jnp.float32),
        }
        return next_state(state, params, opt_state, self.optimizer), metrics

    def sampling_variables(self, state: DiffusionState, key: Array, ema: bool) -> PyTree:
        """Return the variables of the network after training, see ``Method.sampling_variables``."""
        return self._with_guide({'params': state.ema if ema else state.params})

    def weights(self, state: DiffusionState, key: Array, ema: bool) -> dict[str, PyTree]:
        """Return the trained weights of the network, see ``Method.weights``; the guide's weights are not among them."""
        return {'params': self.sampling_variables(state, key, ema)['params']}

    def _with_guide(self, variables: dict[str, PyTree]) -> dict[str, PyTree]:
        return variables if self.guide is None else {**variables, 'guide': self.guide.variables}

    def schedule_of(self, variables: PyTree) -> Schedule:
        """Return the schedule, with its parameters if it is learned."""
        if isinstance(self.schedule, LearnedSchedule):
            return self.schedule.with_params(variables['params']['schedule'])
        return self.schedule

    def levels(self, variables: PyTree, num_steps: int | None = None) -> Level:
        """Return the noise levels that the sampler visits in ``num_steps`` steps; the number of sampling steps if not given."""
        num_steps = self.sampling.num_steps if num_steps is None else num_steps
        return self.sampling.sampler.levels(self.schedule_of(variables), num_steps)

    def predictor(self, variables: PyTree, labels: Array, *, clip: bool | None = None) -> Predict:
        """Return ``predict(x, level)`` of the network itself, without guidance.

        ``clip`` says whether estimates of x_0 are clipped to [-1, 1]; if it is None, they are clipped if sampling clips them.
        """
        clip = self.sampling.clip if clip is None else clip
        return self._network(variables).predictor(labels, clip=clip)

    def prepare(
        self,
        variables: PyTree,
        keys: Array,
        labels: Array,
        *,
        levels: Level | None = None,
        x: Array | None = None,
        edit: Edit | None = None,
        guidance_scale: Array | None = None,
    ) -> SamplingRun:
        """Prepare a run of the sampler, as a whole or step by step; image i depends on key and label i alone.

        Args:
          variables: what ``sampling_variables`` returned.
          keys: random keys ``[N]``.
          labels: class labels ``[N]``.
          levels: the noise levels to visit, ``[S + 1]``; ``levels(variables)`` if not given.
          x: the noisy images at the first of the levels, ``[N, H, W, C]``; pure noise if not given.
          edit: see ``sampling_denoiser``.
          guidance_scale: see ``sampling_denoiser``.
        """
        levels = self.levels(variables) if levels is None else levels
        if x is None:
            x = initial_noise(levels, step_noise(keys, 0, self.image_shape))
        network, sampler, guide = self._network(variables), self.sampling.sampler, self.guide
        if guide is not None:
            guide = dataclasses.replace(guide, variables=variables['guide'])
        denoiser = sampling_denoiser(
            network, labels, self.sampling, guide=guide, edit=edit, guidance_scale=guidance_scale
        )
        carry, steps = sampler.init(levels, x, self.schedule_of(variables))
        return SamplingRun(sampler, denoiser, noise_of_steps(keys, self.image_shape), levels, carry, steps)

    def with_sample_options(self, options: SampleOptions) -> Diffusion:
        """Return a copy of the method that samples with other options."""
        own = cast(DiffusionSampleOptions, options)
        return dataclasses.replace(self, sampling=SamplingSettings.from_options(own, self.learned_variance))

    def sample(self, variables: PyTree, keys: Array, labels: Array) -> Array:
        """Generate images, see ``Method.sample``."""
        return self.prepare(variables, keys, labels).images()

    def sampling_protocol(self) -> JsonObject:
        """Return a description of how ``sample`` generates an image, as JSON values."""
        guide = {} if self.guide is None else {'guide': weights_hash(self.guide.variables)}
        return self.sampling.protocol(self.schedule) | guide | precision_of(self.network.dtype)

    def _drop_labels(self, labels: Array, key: Array) -> Array:
        return drop_labels(labels, key, self.label_dropout, self.null_label) if self.label_dropout else labels

    def _network(self, variables: PyTree) -> PreconditionedNetwork:
        """Return the network with its variables, in the form that samplers call."""
        return PreconditionedNetwork(self.network, self.prediction, self.learned_variance, variables)
