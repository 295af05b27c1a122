"""The description of the processor on the page."""

from jaxgen.apps.benchmark import processor

EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
flags\t\t: fpu avx avx2 fma

processor\t: 1
"""


def test_the_widest_instructions_are_named(tmp_path):
    path = tmp_path / 'cpuinfo'
    path.write_text(EPYC)
    assert processor.describe(path) == 'AMD EPYC (family 25, model 1), AVX2'
    path.write_text(EPYC.replace('fma', 'fma avx512f avx512_bf16'))
    assert processor.describe(path).endswith(', AVX-512 with bfloat16')


def test_without_the_file_the_architecture_is_named(tmp_path):
    assert processor.describe(tmp_path / 'none')
