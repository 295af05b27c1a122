"""The options of an evaluation: the section ``evaluation``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jaxgen.metrics.features import DINOV2_SIZES
from jaxgen.metrics.registry import METRICS
from jaxgen.models.published.inception import RESIZES
from jaxgen.optim.power_ema import LONGEST
from jaxgen.schema import Options, option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationOptions(Options):
    """The images to compare, and the metrics that compare them."""

    generated: str | None = option(
        None,
        'images to evaluate: a folder, an .npz or a split, as in cifar10:test; samples of the model if not set',
        path=True,
    )
    reference: str | None = option(
        None,
        'images to compare with: a folder, an .npz or a split; the training split of data.name if not set',
        path=True,
    )
    num: int = option(50_000, 'number of images to evaluate', at_least=1, at_most=100_000_000)
    reference_num: int | None = option(None, 'number of reference images; all of them if not set', at_least=1)
    seed: int = option(
        0, 'seed of the generated images; they differ from all samples of training', at_least=0, at_most=2**32 - 1
    )
    metrics: tuple[str, ...] = option(
        ('fid', 'kid', 'inception_score', 'precision_recall', 'fid_per_class'),
        'metrics to compute, in addition to those of a classifier',
        choices=lambda: METRICS,
        empty=True,
    )
    extractor: str = option(
        'inception',
        'network whose features the metrics compare: judge is a classifier, dinov2 the ViT-L/14 of FD-DINOv2',
        choices=('inception', 'judge', *DINOV2_SIZES),
    )
    inception_weights: str | None = option(
        None, 'a .pth with the weights of Inception; the published file, downloaded once, if not set', path=True
    )
    dinov2_weights: str | None = option(
        None, 'a .safetensors with the weights of DINOv2; the published file, downloaded once, if not set', path=True
    )
    resize: str = option(
        'tf1',
        'how images are resized for Inception: tf1 as in published results, or clean, with antialiasing',
        choices=lambda: RESIZES,
    )
    judge: str | None = option(
        None,
        'a .safetensors of a classifier; the classifier that jaxgen has for the data set, if any, if not set',
        path=True,
    )
    batch_size: int | None = option(
        None,
        'images evaluated at once, over all devices; 8 per device on CPUs and 64 on accelerators if not set',
        at_least=1,
        at_most=1_000_000,
    )
    every: int | None = option(
        None,
        'steps between two evaluations in training, which keep the best checkpoint; no evaluation if not set',
        at_least=1,
    )
    ema_lengths: tuple[float, ...] | None = option(
        None,
        'lengths of moving averages to evaluate one after another, as shares of the run, as in 0,0.05,0.1, where 0 is the '
        'average of optimizer.ema_decay; only sample.ema_length if not set',
        at_least=0,
        at_most=LONGEST,
    )

    def check(self) -> None:
        """Refuse lengths of averages without FID, the metric that compares them."""
        require(
            self.ema_lengths is None or 'fid' in self.metrics,
            'metrics',
            f'={",".join(self.metrics)} must contain fid to evaluate ema_lengths',
        )


def require_samples(evaluation: EvaluationOptions, method: str, samples: bool) -> None:
    """Refuse evaluations in training for a method that generates no images.

    Raises:
      OptionError: naming evaluation.every.
    """
    require(
        samples or evaluation.every is None,
        'evaluation.every',
        f'={evaluation.every} must be unset: family={method} generates no images to evaluate',
    )


def require_averages(evaluation: EvaluationOptions, ema_lengths: Sequence[float] | None, ema: bool) -> None:
    """Refuse to evaluate averages that training did not keep snapshots for.

    Args:
      evaluation: the options to check.
      ema_lengths: the averages of which training keeps snapshots.
      ema: whether the model samples with its moving average.

    Raises:
      OptionError: naming evaluation.ema_lengths.
    """
    if not any(evaluation.ema_lengths or ()):
        return
    require(
        bool(ema_lengths),
        'evaluation.ema_lengths',
        ' needs the snapshots of a run that was trained with optimizer.ema_lengths=0.05,0.1',
    )
    require(ema, 'evaluation.ema_lengths', ' needs sample.ema=True')
