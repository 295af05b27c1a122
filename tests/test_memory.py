"""Memory that is freed and allocated again: pages are touched for the first time once."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from jaxgen.runtime.memory import compiling, use_one_arena
if sys.argv[1] == 'keep':
    use_one_arena()
import threading
def fill():
    np.ones(2**24)  # 128 MiB
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
with compiling():
    faults()
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='malloc is another')
def test_a_block_that_was_freed_is_not_taken_from_the_kernel_again():
    def faults(how):
        command = [sys.executable, '-c', FAULTS, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults('keep') < 60
    assert faults('as it is') >= 64  # pages of 2 MiB at most
