"""A way to import PyPI's torchvision next to a PyTorch for which it was not built."""

from __future__ import annotations

import functools

import torch

_SIGNATURE = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'


@functools.cache
def declare() -> torch.library.Library | None:
    """Declare torchvision's compiled operators where they cannot be loaded, so that its Python code can be imported.

    PyPI's torchvision needs CUDA's libraries, which PyTorch's build for CPUs lacks. diffusers and pytorch-fid import all of
    torchvision, but run none of its compiled operators.

    Returns:
      The declarations, which last as long as this object; None if torchvision can be imported, or is missing.
    """
    try:
        import torchvision  # noqa: F401
    except ModuleNotFoundError:
        return None
    except RuntimeError:
        library = torch.library.Library('torchvision', 'DEF')
        for name in ('nms', 'qnms'):
            library.define(f'{name}{_SIGNATURE}')
        return library
    return None
