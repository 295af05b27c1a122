"""Name the processor of this machine, and the vector instructions that decide how fast it multiplies matrices."""

from __future__ import annotations

import pathlib
import platform
import re

# From the widest to the narrowest; the first one that the processor has is named.
INSTRUCTION_SETS = {
    'amx_tile': 'AMX',
    'avx512_bf16': 'AVX-512 with bfloat16',
    'avx512f': 'AVX-512',
    'avx2': 'AVX2',
    'avx': 'AVX',
    'asimd': 'NEON',
}


def describe(cpuinfo: pathlib.Path = pathlib.Path('/proc/cpuinfo')) -> str:
    """Return the name of the processor, as in ``AMD EPYC (family 25, model 17), AVX-512``.

    Args:
      cpuinfo: the file in which Linux describes it; without that file, the name of the architecture is returned.
    """
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    fields = dict(re.findall(r'^([\w ]+?)\s*:\s*(.*)$', cpuinfo.read_text(), re.MULTILINE))
    name = fields.get('model name', platform.machine())
    if 'cpu family' in fields and 'model' in fields:
        name += f' (family {fields["cpu family"]}, model {fields["model"]})'
    flags = (fields.get('flags') or fields.get('Features') or '').split()
    widest = next((words for flag, words in INSTRUCTION_SETS.items() if flag in flags), None)
    return f'{name}, {widest}' if widest else name
