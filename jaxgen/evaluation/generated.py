"""The images of a trained model as a set to be judged: drawn while they are looked at, and never all held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxgen.evaluation.image_sets import ImageSet
from jaxgen.evaluation.weights import tensors_hash
from jaxgen.training.family import Family
from jaxgen.training.restore import Trained
from jaxgen.training.sampling import Sampler


def generated_set(trained: Trained, num: int, seed: int) -> ImageSet:
    """``num`` images of a model, drawn with a seed that no training saw."""
    sampler = trained.sampler('evaluation', seed)
    return sampled_set(
        trained.config, trained.family, sampler, trained.model, trained.step, num, seed, trained.class_names
    )


def sampled_set(
    config: ConfigDict,
    family: Family,
    sampler: Sampler,
    model: Any,
    step: int,
    num: int,
    seed: int,
    class_names: tuple[str, ...],
) -> ImageSet:
    """The first ``num`` images that ``sampler`` draws from ``model``."""

    def pieces() -> Iterator[np.ndarray]:
        for images, _ in sampler.batches(model, num):
            yield images

    description = {
        'family': config.family,
        'trained_on': f'{config.data.name}:train',
        'step': step,
        'ema': config.sample.ema,
        **family.sampling_protocol(),
        'classes': config.sample.classes,
        'count': num,
        'seed': seed,
        'prng': config.train.prng,
        'weights': _hash(sampler.variables(model)),
    }
    labels = sampler.labels(num) if config.model.conditional else None
    return ImageSet(description, num, family.image_shape, pieces, labels, class_names)


def _hash(variables: Any) -> str:
    leaves = jax.tree.leaves_with_path(jax.device_get(variables))
    return tensors_hash({jax.tree_util.keystr(path): np.asarray(value, np.float32) for path, value in leaves})
