"""The options of interpreting a model: the section ``interpret``."""

from __future__ import annotations

import dataclasses
import math

from jaxgen.schema import Options, option, require

PARTS = ('ablation', 'synthesis')


@dataclasses.dataclass(frozen=True, kw_only=True)
class InterpretOptions(Options):
    """The channels to examine, and the methods."""

    parts: tuple[str, ...] = option(
        PARTS, 'further analyses after the atlas of activations and the tests of channels', choices=PARTS, empty=True
    )
    seed: int = option(0, 'seed of noise, permutations and images', at_least=0, at_most=2**32 - 1)
    num: int | None = option(
        2000, 'number of training images in the atlas; all of them if not set', at_least=1, at_most=100_000_000
    )
    tested: int = option(
        500, 'number of images of the atlas whose activations are kept and tested', at_least=1, at_most=1_000_000
    )
    levels: int = option(5, 'number of noise levels', at_least=1, at_most=1000)
    permutations: int = option(1000, 'number of permutations of the labels in the tests', at_least=1, at_most=1_000_000)
    bins: int = option(6, 'number of bins of the activations for the mutual information', at_least=2, at_most=1000)
    false_discoveries: float = option(
        0.05, 'accepted false discovery rate: share of false discoveries among the channels found', above=0, below=1
    )
    layer: str | None = option(None, 'layer whose channels are assigned to classes, as in up1_0; all layers if not set')
    classes: tuple[str, ...] | None = option(
        None, 'classes whose channels the ablation changes; all classes if not set'
    )
    top_k: int = option(8, 'number of channels of each class that the ablation changes', at_least=1, at_most=8192)
    factors: tuple[float, ...] = option(
        (0.0, 2.0), 'factors by which channels are multiplied: 0 removes them, 2 doubles them', at_least=0, at_most=1000
    )
    controls: int = option(
        3, 'number of random choices of channels with which the ablation is compared', at_least=1, at_most=1000
    )
    images_per_class: int = option(
        20, 'number of images sampled for each class in each ablation', at_least=1, at_most=100_000
    )
    channels: tuple[str, ...] | None = option(
        None,
        'channels to synthesise images for, as in up1_0:3,middle_0:17; the most selective of each layer if not set',
    )
    ascent_steps: int = option(256, 'steps of gradient ascent that synthesise an image', at_least=1, at_most=1_000_000)
    smoothness: float = option(2.0, 'weight of the total variation of a synthesised image', at_least=0, at_most=1e6)
    strengths: tuple[float, ...] = option(
        (0.2, 0.4, 0.6), 'strengths of the noise from which synthesised images are denoised', above=0, at_most=1
    )
    variations: int = option(
        20, 'number of images denoised from each synthesised image and strength', at_least=1, at_most=100_000
    )

    def check(self) -> None:
        """Refuse so few permutations that no channel could pass a test."""
        rate = self.false_discoveries
        require(
            1 / (self.permutations + 1) <= rate,
            'permutations',
            f'={self.permutations} is too small to find anything at false_discoveries={rate}: set it to at least '
            f'{math.ceil(1 / rate) - 1}',
        )
