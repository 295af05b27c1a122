"""Curves and images for TensorBoard."""

from __future__ import annotations

import concurrent.futures
import os

import numpy as np
from etils import epath

from jaxgen.io.processes import is_first


class TensorBoard:
    """A writer that calls the SummaryWriter of clu in a thread of its own; it writes nothing if TensorFlow is not installed.

    TensorFlow takes seconds to import. The thread imports it when there is something to write, so training does not wait.
    """

    def __init__(self, logdir: epath.Path):
        self._logdir = str(logdir)
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self._writer: concurrent.futures.Future | None = None

    def _submit(self, method: str, *args) -> None:
        future = self._writer or self._thread.submit(_summary_writer, self._logdir)
        self._writer = future

        def write():
            if writer := future.result():
                writer.flush()  # shows the earlier points in TensorBoard
                getattr(writer, method)(*args)

        self._thread.submit(write)

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        """Write one point of each curve."""
        self._submit('write_scalars', step, values)

    def write_image(self, step: int, name: str, image: np.ndarray) -> None:
        """Write an image, uint8 ``[H, W, C]``."""
        self._submit('write_images', step, {name: image[None]})

    def close(self, is_complete: bool) -> None:
        """Wait until everything is written."""
        if self._writer is not None:
            self._submit('close')
        self._thread.shutdown(wait=True)


def _summary_writer(logdir: str):
    if not is_first():
        return None
    os.environ.update(
        TF_CPP_MIN_LOG_LEVEL='3', TF_ENABLE_ONEDNN_OPTS='0'
    )  # TensorFlow's banners would bury the progress
    try:
        import tensorflow as tf
        from clu.metric_writers import SummaryWriter
    except ImportError:
        return None
    tf.config.set_visible_devices([], 'GPU')  # the accelerator's memory is for JAX
    return SummaryWriter(logdir)
