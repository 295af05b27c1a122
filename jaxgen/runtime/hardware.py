"""Name the devices that JAX uses, and the accelerators of the machine that it does not use."""

from __future__ import annotations

import collections
import glob
import importlib.util
import os
import pathlib
from collections.abc import Sequence

import jax

GOOGLE = '0x1ae0'  # the vendor of TPUs on the PCI bus
# The devices of that vendor that are TPUs, from v2 on; the others are network cards and disks.
TPUS = ('0x0027', '0x005e', '0x0062', '0x0063', '0x006f', '0x0076')


def described(devices: Sequence[jax.Device]) -> str:
    """Return the platform and the number of devices of each kind, as in ``tpu, 8 x TPU v5 lite``."""
    kinds = collections.Counter((device.platform, device.device_kind) for device in devices)
    return '; '.join(
        f'{number} x {kind}' if kind == platform else f'{platform}, {number} x {kind}'
        for (platform, kind), number in kinds.items()
    )


def unused_accelerator() -> str | None:
    """Return a message about an accelerator that JAX does not use; None if there is none, or JAX_PLATFORMS names the CPU."""
    if jax.default_backend() != 'cpu' or 'cpu' in os.environ.get('JAX_PLATFORMS', ''):
        return None
    if _has_nvidia():
        return _unused('an NVIDIA GPU', 'cuda', 'jax[cuda13]', ('jax_cuda13_plugin', 'jax_cuda12_plugin'))
    if _has_tpu():
        return _unused('a TPU', 'tpu', 'jax[tpu]', ('libtpu',))
    return None


def _unused(name: str, platform: str, extra: str, packages: Sequence[str]) -> str:
    """Return a message on an unused accelerator: install a package, or look at the error of the installed one."""
    remedy = f"pip install '{extra}'"
    if any(importlib.util.find_spec(package) for package in packages):
        remedy = f'JAX_PLATFORMS={platform} shows the reason'
    return (
        f'this machine has {name}, but JAX uses the CPU: {remedy}, and JAX_PLATFORMS=cpu is for when the CPU is meant'
    )


def _has_nvidia() -> bool:
    return bool(glob.glob('/dev/nvidia[0-9]*'))


def _has_tpu() -> bool:
    for vendor in glob.glob('/sys/bus/pci/devices/*/vendor'):
        device = os.path.join(os.path.dirname(vendor), 'device')
        try:
            if pathlib.Path(vendor).read_text().strip() == GOOGLE and pathlib.Path(device).read_text().strip() in TPUS:
                return True
        except OSError:
            continue
    return False
