"""The options of a sweep over settings: the section ``sweep``."""

from __future__ import annotations

import dataclasses

from jaxgen.apps.evaluate.options import EvaluationOptions
from jaxgen.schema import Options, option, require

# The metrics that can decide which setting is best, each with the entry of evaluation.metrics that computes it. The metrics of
# the classifier are always computed.
METRICS = {
    'fid': 'fid',
    'kid': 'kid',
    'inception_score': 'inception_score',
    'precision': 'precision_recall',
    'recall': 'precision_recall',
    'density': 'density_coverage',
    'coverage': 'density_coverage',
    'judge.accuracy': None,
    'judge.mean_confidence': None,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepOptions(Options):
    """The settings to try, and how to compare them."""

    settings: str | None = option(
        None, 'fields and the values to try, as in timesteps:100,1000;width:32,64; needed by --mode=sweep'
    )
    images: int | None = option(
        None,
        'number of images on which each model is trained, whatever its batch size; train.steps decides if not set',
        at_least=1,
    )
    seeds: int = option(1, 'number of seeds with which each setting is trained, from seed on', at_least=1, at_most=1000)
    metric: str = option('kid', 'metric that decides which setting is best', choices=lambda: METRICS)


def require_together(sweep: SweepOptions, evaluation: EvaluationOptions, conditional: bool, distributed: bool) -> None:
    """Refuse a sweep whose deciding metric would not be computed, or that several processes run.

    Args:
      sweep: the options of the sweep.
      evaluation: the options of the evaluation of each model.
      conditional: whether the networks take class labels.
      distributed: whether several processes run the same command.

    Raises:
      OptionError: naming the section and the field.
    """
    needed = METRICS[sweep.metric]
    require(
        needed is None or needed in evaluation.metrics,
        'sweep.metric',
        f'={sweep.metric} is computed by {needed}: add {needed} to evaluation.metrics',
    )
    require(
        sweep.metric != 'judge.accuracy' or conditional,
        'sweep.metric',
        '=judge.accuracy needs samples of known classes: set model.conditional=True, or choose another metric',
    )
    require(
        evaluation.generated is None,
        'evaluation.generated',
        f'={evaluation.generated} must be unset: a sweep evaluates the samples of its own models',
    )
    require(
        not distributed,
        'mesh.distributed',
        '=True must be False: one process trains the runs of a sweep, one after another',
    )
