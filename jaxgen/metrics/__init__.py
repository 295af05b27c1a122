"""Metrics of generated images: arrays, folders or data sets in, numbers out.

Example::

    import jaxgen.metrics

    jaxgen.metrics.fid(images, 'cifar10:train')  # images: uint8 [N, H, W, C]
"""

from jaxgen.metrics.api import (
    DensityCoverage,
    InceptionScore,
    KernelInceptionDistance,
    PrecisionRecall,
    density_coverage,
    fid,
    inception_score,
    kid,
    precision_recall,
)

__all__ = [
    'DensityCoverage',
    'InceptionScore',
    'KernelInceptionDistance',
    'PrecisionRecall',
    'density_coverage',
    'fid',
    'inception_score',
    'kid',
    'precision_recall',
]
