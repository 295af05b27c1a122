"""The images of a trained model as a set to be judged: drawn while they are looked at, and never all held."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxgen.apps.restore import Trained
from jaxgen.metrics.image_sets import ImageSet
from jaxgen.models.inception_weights import weights_hash
from jaxgen.training.sampling import SamplePipeline

STREAM = 'evaluation'  # of a seed: no sample of training comes from it


def generated_set(trained: Trained, sampler: SamplePipeline, num: int) -> ImageSet:
    """The first ``num`` images that a sampler draws from a model."""
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
        'stream': sampler.stream,
        'prng': config.train.prng,
        'weights': weights_hash(sampler.variables(trained.model)),
    }
    shape, labels = trained.family.image_shape, asked_for(trained, sampler, num)
    return ImageSet(description, num, shape, pieces, labels, trained.class_names)


def asked_for(trained: Trained, sampler: SamplePipeline, num: int) -> np.ndarray | None:
    """What the first ``num`` images should show, int32 ``[num]``; None of a model that knows several classes and not which."""
    told = trained.config.model.conditional or len(trained.class_names) == 1
    return sampler.labels(num) if told else None
