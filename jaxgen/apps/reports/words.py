"""The names of metrics, samplers, schedules and settings in plain words: one table for charts, reports and the page."""

from __future__ import annotations

import dataclasses

from jaxgen.apps.evaluate.results import titled
from jaxgen.types import Fields


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is shown.

    Attributes:
      title: its name; ``titled`` changes it for other features than Inception's.
      better: ``lower``, ``higher``, or empty if neither is better.
      form: format of a value in a table.
    """

    title: str
    better: str = ''
    form: str = '.3f'

    @property
    def axis(self) -> str:
        """The name of an axis of this metric, with its direction."""
        return f'{self.title} ({self.better} is better)' if self.better else self.title


# Metrics of a result, by their dotted paths in it
METRICS = {
    'fid': Metric('FID', 'lower', '.2f'),
    'kid': Metric('KID', 'lower', '.5f'),
    'kid_std': Metric('KID, deviation over subsets', form='.5f'),
    'inception_score': Metric('Inception Score', 'higher', '.2f'),
    'precision': Metric('precision', 'higher'),
    'recall': Metric('recall', 'higher'),
    'density': Metric('density', 'higher'),
    'coverage': Metric('coverage', 'higher'),
    'judge.accuracy': Metric('classifier: right class', 'higher', '.1%'),
    'judge.mean_confidence': Metric('classifier: mean confidence', 'higher'),
}
# Metrics that have a value for each class
BY_CLASS = {
    'fid_per_class': Metric('FID by class', 'lower'),
    'judge.accuracy_per_class': Metric('classifier: share recognised as the right class', 'higher'),
    'judge.seen': Metric('classifier: number of images recognised as each class'),
}
# Entries of the log of a run
LOGGED = {
    'loss': 'training loss',
    'epoch': 'epochs',
    'steps_per_sec': 'training steps per second',
    'images_per_sec': 'training images per second',
    'data_wait': 'share of the time spent waiting for data',
}
# Settings, by the last part of their fields
SETTINGS = {
    'base_channels': 'channels of the first level',
    'batch_size': 'batch size, images',
    'count': 'number of images',
    'ema_decay': 'decay of the moving average',
    'ema_length': 'length of the moving average, share of the run',
    'eta': 'eta, share of new noise in a step',
    'guidance_scale': 'guidance scale',
    'guide_scale': 'autoguidance scale',
    'image_size': 'image size, pixels',
    'max_examples': 'number of training images',
    'network_calls': 'network calls per image',
    'num_steps': 'sampling steps',
    'parameterisation': 'prediction',
    'schedule': 'noise schedule',
    'step': 'training step',
    'steps': 'training steps',
    'timesteps': 'noise levels in training',
    'weighting': 'weight of the loss',
}
# Settings whose values are names
VALUES = {
    'sampler': {
        'ddpm': 'DDPM',
        'ddpm_fixedsmall': 'DDPM, small variance',
        'ddim': 'DDIM',
        'heun': 'Heun',
        'edm': 'EDM, stochastic Heun',
        'dpmpp_2m': 'DPM-Solver++ 2M',
        'dpmpp_2m_sde': 'DPM-Solver++ 2M SDE',
        'mean_flow': 'MeanFlow',
        'consistency': 'consistency',
    },
    'schedule': {
        'linear': 'linear',
        'linear_betas': 'linear betas',
        'cosine': 'cosine',
        'linear_zero_snr': 'linear, zero terminal SNR',
        'cosine_zero_snr': 'cosine, zero terminal SNR',
        'edm': 'EDM',
        'flow': 'flow matching',
        'learned': 'learned',
    },
    'parameterisation': {
        'eps': 'noise',
        'x0': 'image',
        'v': 'v',
        'edm': 'EDM',
        'flow': 'velocity',
        'mean_flow': 'mean velocity',
        'consistency': 'consistency',
    },
}


def title(path: str, protocol: Fields | None = None) -> str:
    """Return the name of a metric under a protocol.

    Args:
      path: its dotted path in a result, or its name in a log.
      protocol: the protocol of the result; its features decide what some metrics are called.
    """
    known = METRICS.get(path) or BY_CLASS.get(path)
    return _logged(path) if known is None else titled(known.title, protocol or {})


def axis(path: str, protocol: Fields | None = None) -> str:
    """Return the name of the axis of a metric, with its direction; the arguments are those of ``title``."""
    known = METRICS.get(path) or BY_CLASS.get(path)
    return _logged(path) if known is None else titled(known.axis, protocol or {})


def lower_is_better(path: str) -> bool:
    """Return whether a smaller value of a metric is better."""
    return METRICS[path].better == 'lower'


def setting(field: str) -> str:
    """Return the name of a setting, given its field, as in ``sample.num_steps``."""
    last = field.rpartition('.')[2]
    return SETTINGS.get(last, last.replace('_', ' '))


def value(field: str, known: object) -> str:
    """Return a value of a setting: a name in words, or a number."""
    if isinstance(known, bool) or not isinstance(known, int | float):
        return VALUES.get(field.rpartition('.')[2], {}).get(str(known), str(known))
    return f'{known:,}' if isinstance(known, int) else f'{known:g}'


def entry(field: str, known: object) -> str:
    """Return the entry of a legend for a value of a setting: a value that explains itself, or the setting and its value."""
    shown = value(field, known)
    return shown if field.rpartition('.')[2] == 'sampler' else f'{setting(field)} {shown}'


def _logged(name: str) -> str:
    if name.startswith('loss_'):
        return f'training loss, {name.removeprefix("loss_").replace("_", " ")}'
    return LOGGED.get(name, name.replace('_', ' '))
