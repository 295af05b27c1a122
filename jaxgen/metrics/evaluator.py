"""Evaluate sets of images against one reference: metrics, and the protocol that makes them comparable."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import cast

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int, UInt8

from jaxgen.errors import MANY, UserError, names, pick
from jaxgen.metrics import features
from jaxgen.metrics.class_accuracy import TrainedClassifier, class_metrics
from jaxgen.metrics.features import Extraction, Extractor
from jaxgen.metrics.registry import METRICS, Pair, parameters, require_enough
from jaxgen.metrics.sets.image_sets import ImageSet
from jaxgen.runtime.progress import Stage
from jaxgen.types import JsonObject

FEWEST = 2048  # below this number of images, an FID says little: the covariance of 2,048 features is singular
FEW_PER_CLASS = ' of each class uses few images'  # part of the warning that belongs to the metrics of single classes


class Evaluator:
    """An evaluator of any number of image sets against one reference under one protocol.

    The features of the reference are computed when they are first needed, by ``reference_features``.

    Args:
      extractor: the network whose features the metrics compare.
      reference: real images.
      metrics: keys of ``METRICS``.
      classifier: predicts the classes of generated images, if they have the shape that it accepts. It may be the same network as
        the extractor.
      mesh: the devices that compute features; the default device if not set.
      batch_size: images per batch (see ``Extraction``).

    Attributes:
      reference: the reference images.

    Raises:
      UserError: if a metric does not exist, the extractor does not accept the reference images, or a metric needs more of them.
    """

    def __init__(
        self,
        extractor: Extractor,
        reference: ImageSet,
        metrics: Sequence[str] = tuple(METRICS),
        *,
        classifier: TrainedClassifier | None = None,
        mesh: Mesh | None = None,
        batch_size: int | None = None,
    ):
        self._metrics = tuple(pick(metric, METRICS, 'the metric') for metric in metrics)
        self._extractor, self._classifier = extractor, classifier
        self.reference = reference
        self._real: features.Features | None = None
        extractors = [extractor]
        if classifier is not None and classifier.description != extractor.description:
            extractors.append(classifier.extractor())
        self._extraction = Extraction(extractors, mesh, batch_size)
        self._classifier_index = len(extractors) - 1  # 0 if the classifier is the extractor
        self._require_compatible(reference, 'the reference images')
        require_enough(self._metrics, reference.count, 'the reference', is_reference=True)

    def reference_features(self) -> features.Features:
        """Return the features of the reference, which the first call computes or reads from the cache."""
        if self._real is None:
            stage = Stage('features of the reference', self.reference.count)
            description = self._extractor.description
            self._real = features.stored_features(self._extraction, description, self.reference, stage)
        return self._real

    def __call__(self, images: ImageSet, tick: Callable[[], None] = lambda: None) -> JsonObject:
        """Evaluate a set of images.

        Args:
          images: generated images.
          tick: function that is called after each batch.

        Returns:
          JSON values: the metrics, ``judge`` with the metrics of the classifier, ``metrics`` with the names of the metrics,
          ``images_per_sec``, ``warnings`` and ``protocol``.

        Raises:
          UserError: if the extractor does not accept these images, or a metric needs more of them.
        """
        self._require_compatible(images, 'the generated images')
        require_enough(self._metrics, images.count, 'the generated set')
        real, is_classified = self.reference_features(), self._can_classify(images.image_shape)
        stage = Stage('features of the generated images', images.count)
        marks: list[tuple[float, int]] = []

        def note_time() -> None:
            marks.append((time.perf_counter(), stage.done))
            tick()

        which = sorted({0, self._classifier_index}) if is_classified else [0]
        found = self._extraction(images.pieces(), stage, which, tick=note_time)
        pair = self._pair(images, found[0], real)
        result: JsonObject = {}
        with Stage(f'computing {", ".join(self._metrics)}'):
            for name in self._metrics:
                result |= METRICS[name](pair)
        if is_classified:
            classifier, logits = cast(TrainedClassifier, self._classifier), cast(np.ndarray, found[-1].logits)
            labels = classifier.own_labels(images.labels, images.class_names)
            result['judge'] = class_metrics(logits, labels, classifier.class_names)
        return result | {
            'metrics': list(self._metrics),
            'images_per_sec': _rate(marks),
            'warnings': self._warnings(images, pair, result),
            'protocol': self.protocol(images),
        }

    def best(
        self, images: UInt8[np.ndarray, 'n h w c'], labels: Int[np.ndarray, ' n'] | None, class_names: Sequence[str]
    ) -> Int[np.ndarray, ' n']:
        """Return the order of images by the confidence of the classifier.

        Args:
          images: generated images.
          labels: the class that each image should show; its probability is the confidence. If None, the confidence is the
            largest class probability.
          class_names: the names that labels index.

        Returns:
          The indices of the images, the most confident first; 0 to n - 1 if there is no classifier for images of this shape.
        """
        if not self._can_classify(images.shape[1:]):
            return np.arange(len(images))
        (found,) = self._extraction([images], which=[self._classifier_index])
        probabilities = np.asarray(jax.nn.softmax(cast(np.ndarray, found.logits)))
        own = cast(TrainedClassifier, self._classifier).own_labels(labels, class_names)
        confidence = probabilities.max(1) if own is None else probabilities[np.arange(len(images)), own]
        return np.argsort(-confidence, kind='stable')

    def protocol(self, images: ImageSet) -> JsonObject:
        """Return everything that the metrics of an image set depend on, as JSON values."""
        judge = self._classifier if self._can_classify(images.image_shape) else None
        return {
            'generated': images.description,
            'reference': self.reference.description,
            'extractor': self._extractor.description,
            'judge': None if judge is None else judge.description,
            'parameters': parameters(images.count, self.reference.count, metrics=self._metrics),
            **features.environment(),
        }

    def _pair(self, images: ImageSet, fake: features.Features, real: features.Features) -> Pair:
        labels, known = self.reference.labels, self.reference.class_names
        is_labelled = images.labels is not None and labels is not None and images.class_names == known
        return Pair(fake, real, images.labels, labels, images.class_names if is_labelled else ())

    def _can_classify(self, image_shape: tuple[int, ...]) -> bool:
        return self._classifier is not None and image_shape == self._classifier.image_shape

    def _require_compatible(self, images: ImageSet, what: str) -> None:
        height, width, channels = images.image_shape
        name, size = self._extractor.description['name'], self._extractor.image_size
        if channels not in (1, self._extractor.channels):
            raise UserError(
                f'{what} have {channels} channels, and {name} takes {self._extractor.channels}: choose another extractor'
            )
        if size is not None and (height, width) != (size, size):
            raise UserError(f'{what} are {height}x{width}, and {name} takes {size}x{size}: choose another extractor')

    def _warnings(self, images: ImageSet, pair: Pair, result: JsonObject) -> list[str]:
        found = [*self.reference.notes, *images.notes]
        name, distance = self._extractor.description['name'], features.distance_name(self._extractor.description)
        if not name.startswith('inception'):
            found.append(f'distances are computed from the features of {name}: they cannot be compared with FID')
        kid, deviation = result.get('kid'), result.get('kid_std')
        is_kid_known = kid is not None and deviation is not None and deviation <= abs(kid)
        remedy = 'look at KID, which is not biased' if is_kid_known else f'use {FEWEST:,} or more images if possible'
        for what, count in (('generated', images.count), ('reference', self.reference.count)):
            if count < FEWEST:
                found.append(
                    f'{count:,} {what} images are fewer than {FEWEST:,}: {distance} is biased upwards, and cannot be '
                    f'compared with published values; {remedy}'
                )
        if images.image_shape != self.reference.image_shape:
            found.append(
                f'the generated images have the shape {images.image_shape}, but the reference images have the shape '
                f'{self.reference.image_shape}'
            )
        found += self._class_warnings(images)
        if 'kid' in result and result['kid_std'] is None:
            whole = 'generated' if images.count <= self.reference.count else 'reference'
            smaller = min(images.count, self.reference.count)
            found.append(
                f'KID has no standard deviation: with only {smaller} {whole} images, every subset is the whole set'
            )
        if 'fid_per_class' in result:
            found.append(
                f'the {distance}{FEW_PER_CLASS}: compare it between classes and models, but not with the '
                f'{distance} of all images'
            )
        if 'inception_score' in self._metrics and pair.fake.logits is None:
            found.append('no Inception Score: the weights of Inception lack its classification layer')
        return found

    def _class_warnings(self, images: ImageSet) -> list[str]:
        """Return a warning if the model was asked for other classes than those of the reference."""
        description, known = images.description, self.reference.class_names
        asked = names(description['classes']) if 'sampler' in description else ()
        if asked and self.reference.labels is not None and set(asked) != set(known):
            return [f'the classes of the generated images are {_listed(asked)}, but the reference has {_listed(known)}']
        return []


def _rate(marks: Sequence[tuple[float, int]]) -> float | None:
    """Return the images per second after the first batch, whose time includes compilation; None for a single batch.

    Args:
      marks: the time after each batch, and the number of images done by then.
    """
    (start, before), (now, done) = marks[0], marks[-1]
    return (done - before) / (now - start) if now > start else None


def _listed(class_names: Sequence[str]) -> str:
    more = f' and {len(class_names) - MANY} more' if len(class_names) > MANY else ''
    return ', '.join(class_names[:MANY]) + more
