"""The cases that a benchmark measures, and the variants of each side."""

from __future__ import annotations

import dataclasses

from jaxgen.runtime import xla_flags
from jaxgen.types import Fields

SIDES = ('jaxgen', 'pytorch')


@dataclasses.dataclass(frozen=True)
class Variant:
    """A way in which one side does the work of a case.

    Attributes:
      side: one of ``SIDES``.
      name: the name by which ``config.benchmark.variants`` selects it.
      precision: the precision of the computation; variants of the same precision are compared.
      options: fields of the config for jaxgen; fields of ``jaxgen.apps.twins.Execution`` for PyTorch.
      xla_flags: flags that are added to jaxgen's own in the XLA_FLAGS of its process.
      platforms: platforms on which it is measured by default; if it is selected by name, it is measured on any platform.
    """

    side: str
    name: str
    precision: str = 'float32'
    options: Fields = dataclasses.field(default_factory=dict)
    xla_flags: str = ''
    platforms: tuple[str, ...] = ('cpu', 'gpu', 'tpu')

    @property
    def label(self) -> str:
        """The side and the name."""
        return f'{self.side} {self.name}'


CASES = ('matmul', 'train', 'sample', 'features', 'data', 'attention')
PLATFORMS = ('cpu', 'gpu')  # JAX's names of the platforms on which PyTorch is measured as well
PRECISIONS = ('float32', 'bfloat16')
LAYOUTS: dict[str, dict[str, bool]] = {
    'eager': {},
    'channels-last': {'channels_last': True},
    'compiled': {'channels_last': True, 'compile': True},
}
CUDA_GRAPH = {'channels_last': True, 'cuda_graph': True}
COMMAND_BUFFERS = '--xla_gpu_enable_command_buffer=+convolution'  # XLA's CUDA graphs leave convolutions out by default
TOKENS = (256, 1024, 4096)  # sequence lengths at which attention is measured


def variants(steps_per_dispatch: int, devices: int) -> dict[str, list[Variant]]:
    """Return the variants of each case, in the order in which they are measured.

    Args:
      steps_per_dispatch: steps in a dispatch of the variants that run several.
      devices: number of virtual devices of an additional variant for CPUs; 1 for no such variant.
    """
    plain = [Variant('jaxgen', p, p, {'model.dtype': p}) for p in PRECISIONS]
    spread = []
    if devices > 1:
        options = {'model.dtype': 'float32', 'mesh.cpu_devices': devices}
        spread = [Variant('jaxgen', f'float32 on {devices} devices', options=options)]
    return {
        'matmul': [Variant(side, p, p) for side in SIDES for p in PRECISIONS],
        'train': [
            *plain,
            *spread,
            *_with_settings(),
            *_several_steps(steps_per_dispatch),
            *_pytorch(PRECISIONS, graphs=True),
        ],
        'sample': [*plain, *spread, *_with_settings(), *_pytorch(PRECISIONS)],
        'features': [
            Variant('jaxgen', 'float32'),
            *(dataclasses.replace(v, options={'mesh.cpu_devices': devices}) for v in spread),
            *_pytorch(('float32',)),
        ],
        'data': [Variant('jaxgen', 'in memory'), Variant('pytorch', 'DataLoader')],
        'attention': [*_attention('jaxgen', 'own'), *_attention('jaxgen', 'cudnn'), *_attention('pytorch', 'own')],
    }


def _with_settings() -> list[Variant]:
    """Return a variant that keeps the memory of a step, and one without the XLA flag that jaxgen sets on CPUs."""
    float32 = {'model.dtype': 'float32'}
    return [
        Variant(
            'jaxgen', 'float32 with kept memory', options={**float32, 'mesh.keep_memory': True}, platforms=('cpu',)
        ),
        Variant('jaxgen', "float32 with XLA's defaults", 'float32', float32, xla_flags.DEFAULT_FUSION_TYPE, ('cpu',)),
    ]


def _several_steps(steps: int) -> list[Variant]:
    options = {p: {'model.dtype': p, 'train.steps_per_dispatch': steps} for p in PRECISIONS}
    return [
        Variant('jaxgen', f'float32 in dispatches of {steps}', options=options['float32']),
        Variant(
            'jaxgen', f'bfloat16 in dispatches of {steps}', 'bfloat16', options['bfloat16'], platforms=('gpu', 'tpu')
        ),
        Variant(
            'jaxgen',
            f'bfloat16 in dispatches of {steps} with command buffers',
            'bfloat16',
            options['bfloat16'],
            COMMAND_BUFFERS,
            ('gpu',),
        ),
    ]


def _pytorch(precisions: tuple[str, ...], graphs: bool = False) -> list[Variant]:
    def name(execution: str, precision: str) -> str:
        return execution if precision == 'float32' else f'{execution} {precision}'

    found = [Variant('pytorch', name(layout, p), p, options) for p in precisions for layout, options in LAYOUTS.items()]
    if graphs:
        found += [Variant('pytorch', name('CUDA graph', p), p, CUDA_GRAPH, platforms=('gpu',)) for p in precisions]
    return found


def _attention(side: str, how: str) -> list[Variant]:
    """Return a variant for each number of ``TOKENS``; ``cudnn`` is jax.nn.dot_product_attention with that library."""
    suffix = {'own': '', 'cudnn': ' by cuDNN'}[how]
    return [
        Variant(
            side,
            f'{tokens} tokens{suffix}',
            f'bfloat16, {tokens} tokens',
            {'tokens': tokens, 'attention': how},
            platforms=('gpu',),
        )
        for tokens in TOKENS
    ]
