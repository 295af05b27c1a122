"""The images of a trained model as a set to evaluate; they are generated while they are evaluated, and never all kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxgen.apps.restore import Trained
from jaxgen.io.hashes import weights_hash
from jaxgen.metrics.image_sets import ImageSet
from jaxgen.training.sampling import Sampler

STREAM = 'evaluation'  # stream of random keys; the samples of training come from another


def generated_set(trained: Trained, sampler: Sampler, num: int) -> ImageSet:
    """Return the first ``num`` images that a sampler generates with a model."""
    config = trained.config
    length = config.sample.get('ema_length')

    def pieces() -> Iterator[np.ndarray]:
        for images, _ in sampler.batches(trained.model, num):
            yield images

    description = {
        'family': config.family,
        'data': config.data.name,
        'data_classes': config.data.classes,
        'max_examples': config.data.max_examples,
        'step': trained.step,
        'ema': config.sample.ema,
        **({'ema_length': length} if length else {}),
        **trained.family.sampling_protocol(),
        'classes': config.sample.classes,
        'count': num,
        'seed': sampler.seed,
        'stream': sampler.use,
        'prng': config.train.prng,
        'weights': weights_hash(sampler.variables(trained.model)),
    }
    shape, labels = trained.family.image_shape, requested_labels(trained, sampler, num)
    return ImageSet(description, num, shape, pieces, labels, trained.class_names)


def requested_labels(trained: Trained, sampler: Sampler, num: int) -> np.ndarray | None:
    """Return the classes int32 ``[num]`` that the first images should show.

    They are None for a model that was trained on several classes without class labels.
    """
    has_known_class = trained.config.model.conditional or len(trained.class_names) == 1
    return sampler.labels(num) if has_known_class else None
