"""Run directories that have only the config and one small file of weights, without the state of training."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import save_file

from jaxgen.apps.config import MODEL, Config
from jaxgen.apps.trained import Trained
from jaxgen.errors import check
from jaxgen.io import run_directory, tensors
from jaxgen.io.files import write_json
from jaxgen.methods.base import Method
from jaxgen.runtime.random import root_key, stream
from jaxgen.types import PyTree

FILE = run_directory.WEIGHTS


def exported(trained: Trained) -> PyTree:
    """Return the weights of each network on the host, averaged if ``config.sample.ema`` is set; see ``Method.weights``."""
    key = stream(root_key(trained.config.seed), 'statistics')
    return jax.device_get(trained.method.weights(trained.model, key, trained.config.sample.ema))


def write(trained: Trained, weights: Mapping[str, PyTree], folder: pathlib.Path) -> str:
    """Write ``config.json`` and the weights in bfloat16 to a folder.

    Args:
      trained: the model that the weights come from.
      weights: see ``Method.weights``.
      folder: an existing folder.

    Returns:
      The uses of the folder, for a message.

    Raises:
      UserError: if the model is fine-tuned.
    """
    check(
        trained.method.base_hash is None,
        'a fine-tuned model is its base and its adapter.safetensors: pass those on, or export for PyTorch',
    )
    flat = {name: np.asarray(x, ml_dtypes.bfloat16) for name, x in flatten_dict(weights, sep='/').items()}
    save_file(flat, folder / FILE, metadata={'step': str(trained.step)})
    write_json(folder / run_directory.CONFIG, _own_config(trained).to_tree())
    return 'a run directory to sample from, to fine-tune and to evaluate'


def _own_config(trained: Trained) -> Config:
    """Return the config sections that make a model, without the lengths of the averages that its weights came from."""
    config, wanted = trained.config, {*MODEL, *trained.method.sections}
    config = Config(config.run, {name: section for name, section in config.sections.items() if name in wanted})
    if hasattr(config.sample, 'ema_length'):
        config = config.replace({'sample.ema_length': None, 'optimizer.ema_lengths': None})
    return config


def read(path: pathlib.Path, method: Method) -> tuple[int, PyTree]:
    """Return the step and the trainable state in float32 from a file that ``write`` made.

    Raises:
      UserError: if the file is damaged, belongs to another network, or holds values that are not finite.
    """
    stored, key = tensors.float32(tensors.read(path), path), jax.random.key(0)
    needed = flatten_dict(jax.eval_shape(lambda: method.weights(method.init(key), key, True)), sep='/')
    tensors.require(stored, {name: x.shape for name, x in needed.items()}, path)
    step = tensors.read_header(path).get('step', '0')
    check(
        re.fullmatch('[0-9]{1,10}', step) is not None,
        f'{path}: the step in its header is {step[:40]!r} and must be a whole number: export the model again',
    )
    weights = unflatten_dict({name: jnp.asarray(x) for name, x in stored.items()}, sep='/')
    return int(step), jax.jit(method.from_weights)(weights, key)


def require_none(workdir: epath.Path) -> None:
    """Refuse to train or to import in a folder with such a file, since it would then hold two models.

    Raises:
      UserError: naming the file.
    """
    check(
        not (workdir / FILE).exists(),
        f'{workdir / FILE} is a trained model without the state of its training: pass another --workdir; a diffusion '
        f'model goes on from it there with --mode=finetune --config.finetune.method=full --config.finetune.base={workdir}',
    )
