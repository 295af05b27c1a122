"""What is measured, and the ways in which either side does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

SIDES = ('jaxgen', 'pytorch')


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way of one side.

    Attributes:
      precision: of the computation: variants of one precision are compared.
      options: fields of the config for jaxgen; for PyTorch ``channels_last`` and ``compile``.
    """

    side: str
    name: str
    precision: str = 'float32'
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def label(self) -> str:
        return f'{self.side} {self.name}'


LAYOUTS = {
    'eager': {},
    'channels-last': {'channels_last': True},
    'compiled': {'channels_last': True, 'compile': True},
}


def _pytorch(precisions: tuple[str, ...]) -> list[Variant]:
    return [
        Variant('pytorch', ' '.join(filter(None, [layout, '' if p == 'float32' else p])), p, options)
        for p in precisions
        for layout, options in LAYOUTS.items()
    ]


CASES = ('matmul', 'train', 'sample', 'features', 'data')
PLATFORMS = ('cpu', 'gpu')  # of those that JAX knows, the ones that PyTorch has here


def variants(steps_per_dispatch: int, devices: int) -> dict[str, list[Variant]]:
    """Of each case, by its name.

    Args:
      steps_per_dispatch: of the variant that takes several.
      devices: virtual devices of a variant for CPUs; 1 for none.
    """
    both = ('float32', 'bfloat16')
    plain = [Variant('jaxgen', p, p, {'model.dtype': p}) for p in both]
    spread = []
    if devices > 1:
        options = {'model.dtype': 'float32', 'mesh.cpu_devices': devices}
        spread = [Variant('jaxgen', f'float32 on {devices} devices', options=options)]
    several = {'model.dtype': 'float32', 'train.steps_per_dispatch': steps_per_dispatch}
    return {
        'matmul': [Variant(side, p, p) for side in SIDES for p in both],
        'train': [
            *plain,
            *spread,
            Variant('jaxgen', f'float32 in dispatches of {steps_per_dispatch}', options=several),
            *_pytorch(both),
        ],
        'sample': [*plain, *spread, *_pytorch(both)],
        'features': [
            Variant('jaxgen', 'float32'),
            *(dataclasses.replace(v, options={'mesh.cpu_devices': devices}) for v in spread),
            *_pytorch(('float32',)),
        ],
        'data': [Variant('jaxgen', 'in memory'), Variant('pytorch', 'DataLoader')],
    }
