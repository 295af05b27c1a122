"""The options of sampling that all methods share: the section ``sample``, and rules that several methods share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jaxgen.errors import shortened
from jaxgen.schema import Options, option, require, require_one_of

LONGEST_NAME = 200  # bytes of a file name without its suffix
DTYPES = ('float32', 'bfloat16')


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleOptions(Options):
    """The images to sample, and the weights with which they are sampled."""

    num: int = option(64, 'number of images to sample', at_least=1, at_most=100_000_000)
    batch_size: int = option(64, 'images sampled at once, over all devices', at_least=1, at_most=100_000_000)
    classes: tuple[str, ...] | None = option(
        None, 'classes that the samples have in turn; all classes of the model if not set'
    )
    ema: bool = option(True, 'sample with the moving average of the parameters')
    every: int | None = option(
        5000,
        'steps between two grids of samples in training, which also ends with a grid; no grids if not set',
        at_least=1,
    )
    name: str | None = option(
        None, 'name of the files that mode=sample writes to samples/; derived from the options of sampling if not set'
    )
    animation: bool = option(False, 'also write a strip and an animation of the denoising in mode=sample')
    adapter: str | None = option(
        None,
        "an adapter.safetensors to apply to the model of the run directory; the model's own weights if not set",
        path=True,
    )
    adapter_scale: float = option(
        1.0,
        'strength of an adapter or of a fine-tuned update: 0 is the base model, 1 the full update',
        at_least=0,
        at_most=1,
    )

    def check(self) -> None:
        """Refuse a name that would lead out of the folder of the samples, or leaves no room for a suffix."""
        if self.name is None:
            return
        parts = self.name.split('/')
        require(
            not {'', '.', '..'} & {*parts} and all(len(part.encode()) <= LONGEST_NAME for part in parts),
            'name',
            f'={shortened(self.name)} must be a name of at most {LONGEST_NAME} bytes, as in my_samples',
        )


def require_conditional(sample: SampleOptions, conditional: bool) -> None:
    """Refuse to sample classes from a network that takes no class labels.

    Raises:
      OptionError: naming sample.classes.
    """
    require(
        conditional or sample.classes is None,
        'sample.classes',
        ' needs a network that takes class labels: train with model.conditional=True, or leave it unset',
    )


def require_known_classes(sample: SampleOptions, class_names: Sequence[str]) -> None:
    """Refuse to sample classes that are not among ``class_names``.

    Raises:
      OptionError: naming sample.classes.
    """
    require_one_of(sample.classes or (), class_names, 'sample.classes')


def require_whole_batch(
    grad_accumulation: int,
    method: str,
    reason: str = 'its batch normalisation needs the statistics of the whole batch',
) -> None:
    """Refuse micro-batches for a method that needs the whole batch, and say why.

    Raises:
      OptionError: naming train.grad_accumulation.
    """
    require(
        grad_accumulation == 1,
        'train.grad_accumulation',
        f'={grad_accumulation} must be 1 for {method}: {reason}',
    )
