"""Metrics of generated images: arrays, folders or data sets in, numbers out.

Example::

    import jaxgen.metrics

    jaxgen.metrics.fid(images, 'cifar10:train')  # images: uint8 [N, H, W, C]
"""

from jaxgen.metrics.api import (
    InceptionScore,
    KernelInceptionDistance,
    PrecisionRecall,
    fid,
    inception_score,
    kid,
    precision_recall,
)

__all__ = [
    'InceptionScore',
    'KernelInceptionDistance',
    'PrecisionRecall',
    'fid',
    'inception_score',
    'kid',
    'precision_recall',
]
