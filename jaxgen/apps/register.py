"""Add the user's own pieces to the registries of jaxgen: ``jaxgen.register``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from jaxgen.data.sources import SOURCES
from jaxgen.diffusion.losses import WEIGHTINGS
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES
from jaxgen.errors import check, pick
from jaxgen.gan.augment import AUGMENTATIONS
from jaxgen.gan.losses import LOSSES
from jaxgen.methods import METHODS
from jaxgen.metrics.registry import METRICS
from jaxgen.models.networks import NETWORKS
from jaxgen.types import PyTree

T = TypeVar('T')
REGISTRIES: dict[str, dict[str, PyTree]] = {
    'augmentation': AUGMENTATIONS,
    'data': SOURCES,
    'gan_loss': LOSSES,
    'method': METHODS,
    'metric': METRICS,
    'network': NETWORKS,
    'sampler': SAMPLERS,
    'schedule': SCHEDULES,
    'weighting': WEIGHTINGS,
}


def register(kind: str, name: str) -> Callable[[T], T]:
    """Return a decorator that adds a piece to a registry, so that configs can name it.

    The command line imports the module with ``--config.plugins=my_module``; in Python it is enough to import it.

    Example:
      A schedule of constant noise:

      >>> import jaxgen
      >>> @jaxgen.register('schedule', 'constant')
      ... def constant(timesteps: int) -> jaxgen.diffusion.DiscreteSchedule:
      ...     return jaxgen.diffusion.linear_betas(timesteps, 0.01, 0.01)
      >>> jaxgen.diffusion.schedules.SCHEDULES['constant'](10).timesteps
      10
      >>> del jaxgen.diffusion.schedules.SCHEDULES['constant']  # so that the name is free again

    Args:
      kind: ``schedule`` (a function from the number of timesteps to a schedule), ``sampler`` (a subclass of
        ``diffusion.samplers.Sampler``, or an instance), ``network`` (a linen module), ``data`` (a ``data.Source``),
        ``metric`` (a function of a pair of feature sets), ``weighting`` (a function ``(alpha, sigma, c_out)``, see
        ``diffusion.losses.WEIGHTINGS``), ``gan_loss``, ``augmentation``, or ``method`` (a subclass of ``methods.Method``).
      name: the name of the piece in configs.

    Returns:
      A decorator that returns the piece unchanged.

    Raises:
      UserError: (a ValueError) if there is no such kind, or the name is taken.
    """
    registry = REGISTRIES[pick(kind, REGISTRIES, 'the kind of piece')]

    def decorate(piece: T) -> T:
        check(registry.get(name, piece) is piece, f'there is a {kind} called {name!r} already: choose another name')
        registry[name] = piece() if kind == 'sampler' and isinstance(piece, type) else piece
        return piece

    return decorate
