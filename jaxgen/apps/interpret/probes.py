"""Call the networks of a trained model on labelled images: a denoiser at several noise levels, or both networks of a GAN."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen.apps.interpret.activations import Forward, Probe
from jaxgen.apps.trained import Trained
from jaxgen.diffusion.levels import Level
from jaxgen.diffusion.samplers.base import step_noise
from jaxgen.diffusion.schedules import DiscreteSchedule
from jaxgen.methods.adversarial import AdversarialMethod
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.types import Array, PyTree

# Suffix of the name of a conditional denoiser that does not get the class; files have this name, so it stays
WITHOUT_CLASS = '_untold'


def probes_of(trained: Trained, variables: PyTree, num_levels: int) -> list[Probe]:
    """Return the networks to examine: the first one generates images, and the last one sees the class only in the image.

    A denoiser that takes class labels is examined twice. First it gets the class of each image. Then it gets no class, or a
    random class if it was never trained without one; a channel that tells classes apart only by the label fails to do so there.
    A generator is called on latents instead of images, and examined only if it takes class labels.

    Args:
      trained: a diffusion model or a GAN.
      variables: the variables that the model samples with.
      num_levels: number of noise levels of a denoiser.
    """
    method = trained.method
    if method.capabilities.denoises:
        return _denoiser_probes(cast(Diffusion, method), variables, num_levels, len(trained.class_names))
    gan = cast(AdversarialMethod, method)
    discriminator = Probe('discriminator', _discriminator(gan), trained.model.discriminator.variables, ('images',))
    if not method.capabilities.knows_classes:
        return [discriminator]
    return [Probe('generator', _generator(gan), variables, ('latents',)), discriminator]


def probed_levels(method: Diffusion, variables: PyTree, num: int) -> Level:
    """Return ``num`` noise levels, the noisiest first: every second level of a sampler with 2 ``num`` steps."""
    levels = method.levels(variables, 2 * num)
    return Level(*(np.asarray(table)[1:-1:2] for table in levels))


def level_names(method: Diffusion, levels: Level) -> tuple[str, ...]:
    """Return the name of each noise level: its timestep, or sigma / alpha if the schedule has none."""
    if isinstance(method.schedule, DiscreteSchedule):
        return tuple(f't={t:.0f}' for t in levels.t)
    return tuple(f'σ/α={ratio:.3g}' for ratio in levels.sigma / levels.alpha)


def _denoiser_probes(method: Diffusion, variables: PyTree, num_levels: int, num_classes: int) -> list[Probe]:
    def own_labels(labels: Array, keys: Array) -> Array:
        return labels

    def uninformative_labels(labels: Array, keys: Array) -> Array:
        if method.label_dropout:
            return jnp.full(len(keys), method.null_label, jnp.int32)
        return jax.vmap(lambda key: jax.random.randint(key, (), 0, num_classes))(keys)

    levels, name = probed_levels(method, variables, num_levels), type(method.network).__name__.lower()
    with_class = Probe(name, _denoiser(method, levels, own_labels), variables, level_names(method, levels))
    if not method.capabilities.knows_classes:
        return [with_class]
    forward = _denoiser(method, levels, uninformative_labels)
    return [with_class, dataclasses.replace(with_class, network=f'{name}{WITHOUT_CLASS}', forward=forward)]


def _denoiser(method: Diffusion, levels: Level, labels_for: Callable[[Array, Array], Array]) -> Forward:
    table = Level(*(jnp.asarray(numbers, jnp.float32) for numbers in levels))

    def forward(variables: PyTree, images: Array, labels: Array, keys: Array, level: Array) -> PyTree:
        at = Level(*(numbers[level] for numbers in table))
        noise = step_noise(keys, level, images.shape[1:])
        predict = method.predictor(variables, labels_for(labels, keys), clip=False)
        x: PyTree = at.alpha * images + at.sigma * noise
        return predict(x, at)

    return forward


def _generator(method: AdversarialMethod) -> Forward:
    def forward(variables: PyTree, images: Array, labels: Array, keys: Array, level: Array) -> Array:
        return method.sample(variables, keys, labels)

    return forward


def _discriminator(method: AdversarialMethod) -> Forward:
    def forward(variables: PyTree, images: Array, labels: Array, keys: Array, level: Array) -> PyTree:
        return method.discriminate(variables, images, labels)

    return forward
