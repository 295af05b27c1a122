"""Ablation: sample again from the same seeds with some channels multiplied, and let a classifier tell what changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import flax.linen as nn
import numpy as np

from jaxgen.apps.interpret.activations import channel_scaling
from jaxgen.apps.interpret.intervals import Interval, difference
from jaxgen.apps.interpret.options import InterpretOptions
from jaxgen.apps.interpret.selectivity import Channel
from jaxgen.apps.trained import Trained
from jaxgen.methods.base import Method
from jaxgen.metrics.class_accuracy import TrainedClassifier
from jaxgen.metrics.features import Extraction
from jaxgen.training.sampling import SamplePipeline
from jaxgen.types import Array, PyTree

SHOWN = 8  # images of each class that are kept for the report
STREAM = 'interpretation'  # stream of random keys that the images come from


@dataclasses.dataclass(frozen=True)
class ScaledMethod:
    """A method that samples with channels multiplied; its model is ``(model, factors)``, with factors ``[C]`` by block.

    Values that a method computes before it samples, such as running statistics, are those of the unchanged network.
    """

    method: Method

    def sampling_variables(self, model: PyTree, key: Array, ema: bool) -> PyTree:
        """Return the variables of the method together with the factors; see ``Method.sampling_variables``."""
        model, factors = model
        return self.method.sampling_variables(model, key, ema), factors

    def sample(self, variables: PyTree, keys: Array, labels: Array) -> Array:
        """Generate images with channels multiplied; see ``Method.sample``."""
        variables, factors = variables
        with nn.intercept_methods(channel_scaling(factors)):
            return self.method.sample(variables, keys, labels)


def factors_of(blocks: Mapping[str, int], channels: Sequence[Channel], factor: float) -> dict[str, np.ndarray]:
    """Return the factor of every channel, float32 ``[C]`` by block: ``factor`` for the given channels, 1 for all others."""
    factors = {block: np.ones(size, np.float32) for block, size in blocks.items()}
    for channel in channels:
        factors[channel.block][channel.number] = factor
    return factors


def random_channels(blocks: Mapping[str, int], channels: Sequence[Channel], rng: np.random.Generator) -> list[Channel]:
    """Return as many random other channels of each block as ``channels`` has, or all others if there are fewer."""
    chosen = []
    for block in dict.fromkeys(channel.block for channel in channels):
        taken = {channel.number for channel in channels if channel.block == block}
        others = np.setdiff1d(np.arange(blocks[block]), list(taken))
        chosen += [Channel(block, int(c)) for c in rng.permutation(others)[: len(taken)]]
    return chosen


@dataclasses.dataclass(frozen=True)
class Effect:
    """The effect of multiplying some channels by ``factor`` on the share of images that show the class asked for.

    Attributes:
      name: the class that the channels were chosen for.
      factor: the factor.
      control: 0 for the channels of the class itself; 1, 2, ... for the random choices.
      channels: the channels.
      on_class: the change among the images of that class.
      on_others: the change among all other images.
      right: whether each image shows the class asked for, bool ``[N]``.
      images: the first images of the class, uint8 ``[SHOWN, H, W, C]``.
    """

    name: str
    factor: float
    control: int
    channels: tuple[Channel, ...]
    on_class: Interval
    on_others: Interval
    right: np.ndarray
    images: np.ndarray


@dataclasses.dataclass(frozen=True)
class Ablation:
    """All effects, and the images of the unchanged network for comparison.

    Attributes:
      effects: the effects.
      labels: the class asked for in each image, int32 ``[N]``; it is the same in all runs.
      right: whether each image of the unchanged network shows that class, bool ``[N]``.
      images: the first images of the unchanged network, uint8 ``[SHOWN, H, W, C]`` by class.
    """

    effects: tuple[Effect, ...]
    labels: np.ndarray
    right: np.ndarray
    images: dict[str, np.ndarray]


class ClassPredictor:
    """A predictor of the class that an image shows, among the classes of a model.

    Args:
      trained: the model.
      classifier: a classifier for images of the same shape that has all classes of the model.
    """

    def __init__(self, trained: Trained, classifier: TrainedClassifier):
        self._extraction = Extraction([classifier.extractor()], trained.mesh, trained.config.evaluation.batch_size)
        num = len(trained.class_names)
        labels_of_classifier = classifier.own_labels(np.arange(num), trained.class_names)
        self._label_of = np.full(len(classifier.class_names), -1)
        self._label_of[labels_of_classifier] = np.arange(num)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the label of each image, int ``[N]``; -1 for a class that the model does not have.

        Args:
          images: uint8 ``[N, H, W, C]``.
        """
        (found,) = self._extraction([images])
        return self._label_of[np.asarray(found.logits).argmax(1)]


class _Runs:
    """A sampler that makes the same images again with other channels multiplied, all with one compiled program.

    Attributes:
      labels: the class asked for in each image, int32 ``[N]``.
    """

    def __init__(
        self,
        trained: Trained,
        options: InterpretOptions,
        predict: Callable[[np.ndarray], np.ndarray],
        blocks: Mapping[str, int],
        progress: Callable[[int], None],
    ):
        self._model, self._blocks, self._predict, self._progress = trained.model, blocks, predict, progress
        self._sampler = SamplePipeline(
            cast(Method, ScaledMethod(trained.method)),  # has the two methods that a pipeline calls
            trained.mesh,
            (trained.model, factors_of(blocks, (), 1.0)),
            classes=range(len(trained.class_names)),
            seed=options.seed,
            stream=STREAM,
            batch_size=trained.config.sample.batch_size,
            ema=trained.config.sample.ema,
        )
        self._num, self._done = options.images_per_class * len(trained.class_names), 0
        self.labels = self._sampler.labels(self._num)

    def __call__(self, channels: Sequence[Channel], factor: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the images, and whether each shows the class asked for."""
        images, labels = self._sampler((self._model, factors_of(self._blocks, channels, factor)), self._num)
        self._done += 1
        self._progress(self._done)
        return images, self._predict(images) == labels


def ablate(
    trained: Trained,
    options: InterpretOptions,
    predict: Callable[[np.ndarray], np.ndarray],
    chosen: Mapping[str, Sequence[Channel]],
    blocks: Mapping[str, int],
    *,
    progress: Callable[[int], None] = lambda count: None,
) -> Ablation:
    """Sample images of every class with each choice of channels multiplied by each of ``options.factors``.

    All runs share one compiled program, one seed and one order of labels, so the factors alone make the difference.

    Args:
      trained: the model.
      options: ``images_per_class``, ``factors``, ``controls`` and ``seed``.
      predict: returns the label that each image shows, as ``ClassPredictor`` does.
      chosen: the channels of each class that is examined.
      blocks: the number of channels of each block.
      progress: called with the number of runs done.
    """
    run = _Runs(trained, options, predict, blocks, progress)
    labels, label_of = run.labels, trained.class_names.index
    images, right_before = run((), 1.0)
    shown = {name: images[labels == label_of(name)][:SHOWN] for name in chosen}
    effects = []
    for name, own in chosen.items():
        is_class = labels == label_of(name)
        for control in range(options.controls + 1):
            rng = np.random.default_rng([options.seed, label_of(name), control])
            channels = random_channels(blocks, own, rng) if control else own
            for factor in options.factors:
                images, right = run(channels, factor)
                on_class, on_others = (difference(right[rows], right_before[rows]) for rows in (is_class, ~is_class))
                kept = images[is_class][:SHOWN]
                effects.append(Effect(name, factor, control, tuple(channels), on_class, on_others, right, kept))
    return Ablation(tuple(effects), labels, right_before, shown)
