"""The options of fine-tuning: the section ``finetune``."""

from __future__ import annotations

import dataclasses

from jaxgen.methods.options import SampleOptions
from jaxgen.schema import Options, option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneOptions(Options):
    """The model from which fine-tuning starts, and the part of it that is trained."""

    base: str | None = option(None, 'run directory of the model to fine-tune; needed by --mode=finetune', path=True)
    base_hash: str | None = option(None, 'hash of the weights of that model, which training fills in')
    method: str = option(
        'lora', 'what is trained: low-rank factors, or an update of every parameter', choices=('lora', 'full')
    )
    rank: int = option(8, 'rank of the factors of lora', at_least=1, at_most=8192)
    alpha: float = option(
        8.0,
        'scale of the updates of lora, which are alpha / rank times the product of their factors',
        above=0,
        at_most=1e6,
    )
    targets: tuple[str, ...] = option(
        ('attention',), 'layers that lora adapts: kinds (attention, dense, conv, label) or names, as in middle_0/conv1'
    )


def require_finetunable(finetune: FinetuneOptions, sample: SampleOptions, method: str, supported: bool) -> None:
    """Refuse a base model or an adapter for a method whose models cannot be fine-tuned.

    Args:
      finetune: the options of fine-tuning, which may name a base model.
      sample: the options of sampling, which may name an adapter.
      method: name of the method.
      supported: whether its models can be fine-tuned.

    Raises:
      OptionError: naming the section and the field.
    """
    for field, path in (('finetune.base', finetune.base), ('sample.adapter', sample.adapter)):
        require(
            supported or path is None,
            field,
            f'={path} needs a diffusion model, and family={method} is none: choose another --config',
        )
