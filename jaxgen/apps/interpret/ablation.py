"""What channels cause: a model draws with some of them multiplied, from the same seeds, and the judge says what changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from jaxgen.apps.interpret.activations import scaling
from jaxgen.apps.interpret.intervals import Interval, difference
from jaxgen.apps.interpret.selectivity import Channel
from jaxgen.apps.trained import Trained
from jaxgen.methods.base import Method
from jaxgen.metrics.class_accuracy import TrainedClassifier
from jaxgen.metrics.features import Extraction
from jaxgen.training.sampling import SamplePipeline

Array = jax.Array
SHOWN = 8  # images of each class that are kept to be looked at


@dataclasses.dataclass(frozen=True)
class Scaled:
    """A method that draws with channels multiplied: its model is ``(model, factors)``, ``[C]`` for each block.

    What a method computes before it draws, such as running statistics, is that of the network as it is.
    """

    method: Method

    def sampling_variables(self, model: Any, key: Array, ema: bool) -> Any:
        model, factors = model
        return self.method.sampling_variables(model, key, ema), factors

    def sample(self, variables: Any, keys: Array, labels: Array) -> Array:
        variables, factors = variables
        with nn.intercept_methods(scaling(factors)):
            return self.method.sample(variables, keys, labels)


def factors_of(blocks: Mapping[str, int], channels: Sequence[Channel], factor: float) -> dict[str, np.ndarray]:
    """float32 ``[C]`` for each block: ``factor`` for the channels, 1 for all others."""
    factors = {block: np.ones(size, np.float32) for block, size in blocks.items()}
    for channel in channels:
        factors[channel.block][channel.number] = factor
    return factors


def control(blocks: Mapping[str, int], channels: Sequence[Channel], rng: np.random.Generator) -> list[Channel]:
    """As many others at random of each block as ``channels`` has there; all that there are where there are fewer."""
    drawn = []
    for block in dict.fromkeys(channel.block for channel in channels):
        taken = {channel.number for channel in channels if channel.block == block}
        others = np.setdiff1d(np.arange(blocks[block]), list(taken))
        drawn += [Channel(block, int(c)) for c in rng.permutation(others)[: len(taken)]]
    return drawn


@dataclasses.dataclass(frozen=True)
class Effect:
    """What multiplying some channels by ``factor`` does to the share of images that are seen as the class asked for.

    Attributes:
      name: of the class that the channels were chosen for.
      draw: 0 for the class's own channels; from 1 on the number of the random draw.
      on_class: of the images of that class, the change; ``on_others`` of all others.
      right: bool ``[N]``, whether each image is seen as the class that it was asked for.
      images: uint8 ``[SHOWN, H, W, C]`` of the class.
    """

    name: str
    factor: float
    draw: int
    channels: tuple[Channel, ...]
    on_class: Interval
    on_others: Interval
    right: np.ndarray
    images: np.ndarray


@dataclasses.dataclass(frozen=True)
class Ablation:
    """All effects, and what they are measured from.

    Attributes:
      labels: int32 ``[N]`` that the images were asked for, in each of the runs.
      right: as in ``Effect``, of the network as it is.
      images: by class, as in ``Effect``, of the network as it is.
    """

    effects: tuple[Effect, ...]
    labels: np.ndarray
    right: np.ndarray
    images: dict[str, np.ndarray]


class Sight:
    """Judges images as a model's classes.

    Args:
      classifier: knows all classes of the model, and takes its images.
    """

    def __init__(self, trained: Trained, classifier: TrainedClassifier):
        self._classifier, self._names = classifier, trained.class_names
        batch_size = trained.config.evaluation.batch_size or None
        self._extraction = Extraction([classifier.extractor()], trained.mesh, batch_size)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """What each of uint8 ``[N, H, W, C]`` is seen as: int ``[N]`` that counts the model's classes, -1 for any other."""
        (seen,) = self._extraction([images])
        own = self._classifier.own_labels(np.arange(len(self._names)), self._names)
        place = np.full(len(self._classifier.class_names), -1)
        place[own] = np.arange(len(own))
        return place[seen.logits.argmax(1)]


def ablate(
    trained: Trained,
    options: ConfigDict,
    sight: Sight,
    blocks: Mapping[str, int],
    chosen: Mapping[str, Sequence[Channel]],
    progress: Callable[[int], None] = lambda count: None,
) -> Ablation:
    """Draws ``images_per_class`` images of every class with each choice of channels multiplied by each of ``factors``.

    All runs have one compiled program, one seed and one order of labels: image i differs by the factors alone.

    Args:
      options: ``config.interpret``.
      chosen: the channels of each class that is looked at.
      progress: called with the number of runs done.
    """
    sampler = SamplePipeline(
        Scaled(trained.method),
        trained.mesh,
        (trained.model, factors_of(blocks, (), 1.0)),
        classes=range(len(trained.class_names)),
        seed=options.seed,
        stream='interpretation',
        batch_size=trained.config.sample.batch_size,
        ema=trained.config.sample.ema,
        prng=trained.config.train.prng,
    )
    num, names = options.images_per_class * len(trained.class_names), trained.class_names
    runs = 0

    def draw(channels: Sequence[Channel], factor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        nonlocal runs
        images, labels = sampler((trained.model, factors_of(blocks, channels, factor)), num)
        runs += 1
        progress(runs)
        return images, labels, sight(images) == labels

    images, labels, before = draw((), 1.0)
    shown = {name: images[labels == names.index(name)][:SHOWN] for name in chosen}
    effects = []
    for name, channels in chosen.items():
        of_class = labels == names.index(name)
        for i in range(options.controls + 1):
            rng = np.random.default_rng([options.seed, names.index(name), i])
            picked = control(blocks, channels, rng) if i else channels
            for factor in options.factors:
                drawn, _, right = draw(picked, factor)
                changes = (difference(right[rows], before[rows]) for rows in (of_class, ~of_class))
                effects.append(Effect(name, factor, i, tuple(picked), *changes, right, drawn[of_class][:SHOWN]))
    return Ablation(tuple(effects), labels, before, shown)
