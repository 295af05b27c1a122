"""The samples of a trained model as a set of images; they are generated during the evaluation and never all in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxgen.apps.trained import Trained
from jaxgen.io.hashes import weights_hash
from jaxgen.metrics.sets.image_sets import ImageSet
from jaxgen.runtime.random import IMAGES_PRNG
from jaxgen.training.sampling import SamplePipeline

STREAM = 'evaluation'  # stream of random keys; the samples of training come from another


def generated_set(trained: Trained, sampler: SamplePipeline, num: int) -> ImageSet:
    """Return the first ``num`` images that a sampler generates with a model."""
    config = trained.config
    length = getattr(config.sample, 'ema_length', None)

    def pieces() -> Iterator[np.ndarray]:
        for images, _ in sampler.batches(trained.model, num):
            yield images

    # Names are one text, and 0 means no limit, because this is compared with the protocols of earlier results.
    description = {
        'family': config.method,
        'data': config.data.name,
        'data_classes': ','.join(config.data.classes or ()),
        'max_examples': config.data.max_examples or 0,
        'step': trained.step,
        'ema': config.sample.ema,
        **({} if length is None else {'ema_length': length}),
        **trained.method.sampling_protocol(),
        'classes': ','.join(config.sample.classes or ()),
        'count': num,
        'seed': sampler.seed,
        'stream': sampler.stream,
        'prng': IMAGES_PRNG,
        'batch_size': sampler.batch_size,
        'weights': weights_hash(sampler.variables(trained.model)),
    }
    shape, labels = trained.method.image_shape, requested_labels(trained, sampler, num)
    return ImageSet(description, num, shape, pieces, labels, trained.class_names)


def requested_labels(trained: Trained, sampler: SamplePipeline, num: int) -> np.ndarray | None:
    """Return the classes int32 ``[num]`` that the first images should show.

    The result is None for a model that was trained on several classes without class labels.
    """
    has_known_class = trained.method.capabilities.knows_classes or len(trained.class_names) == 1
    return sampler.labels(num) if has_known_class else None
