"""The options of the optimizer that all methods share: the section ``optimizer``."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from jaxgen.schema import Options, option, require
from jaxgen.types import JsonObject

O = TypeVar('O', bound='OptimizerOptions')  # noqa: E741

DECAYS = ('none', 'cosine', 'linear', 'inverse_sqrt', 'triangular')  # ``schedules`` has a function for each
STEP_COUNTS = ('warmup_steps', 'decay_start', 'decay_steps', 'cooldown_steps')  # the fields that count updates
COOLED = ('linear', 'inverse_sqrt')  # the decays that end with a cool-down
OPTIMIZERS = ('adam', 'adamw', 'muon')  # ``optimizer`` has a function for each


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerOptions(Options):
    """A description of how the parameters are updated and averaged."""

    name: str = option(
        'adam',
        'kind of optimizer; muon orthogonalises the updates of kernels and uses adamw for all other parameters',
        choices=OPTIMIZERS,
    )
    learning_rate: float = option(2e-4, 'learning rate at its peak', above=0, at_most=2**32)
    beta1: float = option(0.9, 'momentum: share of the mean gradient that each step keeps', at_least=0, below=1)
    beta2: float = option(0.999, 'share of the mean squared gradient that each step keeps', at_least=0, below=1)
    weight_decay: float = option(
        0.0,
        'weight decay of adamw and muon: each step subtracts this share of each parameter, times the learning rate',
        at_least=0,
        at_most=1000,
    )
    warmup_steps: int = option(
        0,
        'steps over which the learning rate rises to its peak from 0 (with decay=triangular, from a fifth of it)',
        at_least=0,
    )
    decay: str = option('none', 'how the learning rate falls after its peak', choices=DECAYS)
    decay_start: int | None = option(
        None, 'step from which decay=inverse_sqrt falls; warmup_steps if not set', at_least=1
    )
    decay_steps: int | None = option(
        None, 'step at which the decay ends; the last step of the run if not set', at_least=1
    )
    decay_to: float = option(
        0.0, 'learning rate at the end of decay=cosine, as a share of its peak', at_least=0, at_most=1
    )
    cooldown_steps: int | None = option(
        None,
        'length in steps of the final fall to 0 of decay=linear or inverse_sqrt; if not set, a fifth of decay_steps for '
        'linear, and no cool-down for inverse_sqrt',
        at_least=1,
    )
    grad_clip_norm: float | None = option(
        None,
        'largest norm of the gradient: a larger one is scaled down to it; no clipping if not set',
        above=0,
        at_most=1e6,
    )
    ema_decay: float | None = option(
        0.9999,
        'share of the moving average of the parameters that each step keeps; the parameters are not averaged if not set',
        above=0,
        below=1,
    )

    def check(self) -> None:
        """Refuse values that do not go together."""
        require(
            self.weight_decay == 0 or self.name != 'adam',
            'weight_decay',
            f'={self.weight_decay} needs name=adamw or muon: adam has none',
        )
        for field, decays in (('decay_start', ('inverse_sqrt',)), ('cooldown_steps', COOLED)):
            value = getattr(self, field)
            require(
                value is None or self.decay in decays,
                field,
                f'={value} needs decay={" or ".join(decays)}: decay={self.decay} does not use it',
            )
        require(
            self.decay_to == 0 or self.decay == 'cosine',
            'decay_to',
            f'={self.decay_to} needs decay=cosine: decay={self.decay} does not use it',
        )
        require(
            self.decay != 'inverse_sqrt' or self.decay_start is not None or self.warmup_steps > 0,
            'decay_start',
            ' is not set, and there is no warm-up: decay=inverse_sqrt needs the step from which it falls',
        )
        if self.decay_steps is not None:
            self._require_time(self.decay_steps, f'decay_steps={self.decay_steps}, the step at which the decay ends')

    @property
    def has_end(self) -> bool:
        """Whether the learning rate depends on the step at which the decay ends."""
        return self.decay != 'none' and (self.decay != 'inverse_sqrt' or self.cooldown_steps is not None)

    def resolved(self: O, steps: int) -> O:
        """Return the options with the unset steps of the decay filled in, for a run of ``steps`` steps.

        Raises:
          OptionError: if the warm-up or the cool-down is longer than the decay.
        """
        if self.decay_steps is None:
            self._require_time(steps, f'train.steps={steps}, where the decay ends with the run')
        decay_steps = steps if self.decay_steps is None else self.decay_steps
        values: JsonObject = {'decay_steps': decay_steps}
        if self.decay == 'linear' and self.cooldown_steps is None:
            values['cooldown_steps'] = max(1, decay_steps // 5)
        if self.decay == 'inverse_sqrt' and self.decay_start is None:
            values['decay_start'] = self.warmup_steps
        return dataclasses.replace(self, **values)

    def _require_time(self, decay_steps: int, end: str) -> None:
        """Refuse a warm-up or a cool-down that is too long for the decay; ``end`` describes its last step in messages."""
        if not self.has_end:
            return
        require(self.warmup_steps < decay_steps, 'warmup_steps', f'={self.warmup_steps} must be below {end}')
        if self.cooldown_steps is not None:
            require(
                self.cooldown_steps <= decay_steps, 'cooldown_steps', f'={self.cooldown_steps} must be at most {end}'
            )
