"""The values that a visitor sets on the page.

A request that was not made by the page may contain any JSON, so every value is checked here before it is used.
"""

from __future__ import annotations

import dataclasses

from jaxgen.apps.demo.engine import MAX_IMAGES
from jaxgen.apps.demo.tabs.painter import PRESETS
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.errors import check
from jaxgen.schema import Options, option

GENERATOR = 'generator'  # replaces the sampler of a model that samples in one call
MAX_STEPS = 1000
STEPS = (1, 2, 4, 10, 18, 50)  # numbers of steps in the list
MORE_STEPS = 'more ...'  # the choice that shows a field for another number
OWN_STEPS = "each model's own"  # the choice of the number of steps in each model's config
LARGEST_SEED = 2**32 - 1
MAX_CHARACTERS = 10_000  # largest number of characters of a value
MAX_MASK = 2_000_000  # the same for the mask, whose value contains the picture


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs(Options):
    """The values of the inputs of all tabs; each tab reads some of them."""

    model: str | None = option(None, 'run directory of the model')
    models: tuple[str, ...] = option((), 'run directories of the models to compare', empty=True)
    classes: tuple[str, ...] | None = option(
        None, 'classes to sample, in turn; all of them if there are none', empty=True
    )
    sampler: str | None = option(None, 'sampling algorithm', choices=lambda: (*SAMPLERS, GENERATOR))
    steps: int = option(20, 'steps from noise to image', at_least=1, at_most=MAX_STEPS)
    guidance: float = option(1.0, 'scale of guidance; 1 is none', at_least=0)
    eta: float = option(0.0, 'share of new noise in a step of ddim', at_least=0, at_most=1)
    seed: int | None = option(None, 'seed of the images; 0 if the field is empty', at_least=0, at_most=LARGEST_SEED)
    images: int = option(1, 'number of images', at_least=1, at_most=MAX_IMAGES)
    strength: float = option(0.6, 'strength of the noise of an edit', above=0, at_most=1)
    mask: str | None = option(None, 'value of the painter of masks')
    preset: str = option('nothing', 'mask with a name', choices=PRESETS)
    split: str = option('test', 'split of a data set', choices=('train', 'test'))
    number: int | None = option(None, 'number of an image; 0 if the field is empty', at_least=0)
    place: int = option(0, 'position of a slider: a step, a noise level, or a grid', at_least=0)
    run: str | None = option(None, 'run directory to follow')
    metric: str | None = option(None, 'metric of a run')


def steps_asked(chosen: object, own: object) -> object:
    """Return the number of steps that a visitor asks for.

    Args:
      chosen: the choice from the list.
      own: the number in the field that ``MORE_STEPS`` shows.
    """
    return own if chosen == MORE_STEPS else chosen


def read(**values: object) -> Inputs:
    """Return the values that a visitor set, after checking them.

    Args:
      **values: the values, by their names in ``Inputs``.

    Raises:
      UserError: if the page does not offer one of the values, which the message names.
    """
    for name, value in values.items():
        most = MAX_MASK if name == 'mask' else MAX_CHARACTERS
        check(len(str(value)) <= most, f'{name} has more than {most:,} characters: choose a value of the page')
    return Inputs(**values)  # type: ignore[arg-type]
