"""A trained model alone, in a folder that modes read as a workdir: its config, and its weights in one small file."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import safe_open
from safetensors.numpy import save_file

from jaxgen.apps.config import base
from jaxgen.errors import check
from jaxgen.io import run_directory, tensors
from jaxgen.io.files import write_json
from jaxgen.methods.base import Family
from jaxgen.methods.lora import Finetuned

if TYPE_CHECKING:
    from jaxgen.apps.restore import Trained

FILE = run_directory.WEIGHTS


def write(trained: Trained, weights: Mapping[str, Any], folder: pathlib.Path) -> str:
    """Fills a folder with ``config.json`` and the weights in bfloat16.

    Args:
      weights: see ``Family.weights``.

    Returns:
      What there is to say about it.

    Raises:
      UserError: if the model is fine-tuned.
    """
    config = trained.config.copy_and_resolve_references()
    check(
        not isinstance(trained.family, Finetuned),
        'a fine-tuned model is its base and its adapter.safetensors: pass those on, or export for PyTorch',
    )
    flat = {name: np.asarray(x, ml_dtypes.bfloat16) for name, x in flatten_dict(weights, sep='/').items()}
    save_file(flat, folder / FILE, metadata={'step': str(trained.step)})
    config.interop = base(config.family).interop  # which says where this is written
    if 'ema_length' in config.sample:  # it is chosen now
        config.sample.ema_length, config.optimizer.ema_lengths = 0.0, ()
    write_json(folder / run_directory.CONFIG, json.loads(config.to_json()))
    return 'a workdir to draw from, fine-tune and judge'


def read(path: pathlib.Path, family: Family) -> tuple[int, Any]:
    """The step and what is learnt, in float32, of a file that :func:`write` made.

    Raises:
      UserError: if it is damaged, or is that of another network.
    """
    stored, key = tensors.float32(tensors.read(path), path), jax.random.key(0)
    needed = flatten_dict(jax.eval_shape(lambda: family.weights(family.init(key), key, True)), sep='/')
    tensors.require(stored, {name: x.shape for name, x in needed.items()}, path)
    with safe_open(path, 'np') as file:
        step = int((file.metadata() or {}).get('step', 0))
    weights = unflatten_dict({name: jnp.asarray(x) for name, x in stored.items()}, sep='/')
    return step, jax.jit(family.started)(weights, key)


def require_none(workdir: epath.Path) -> None:
    """Refuses to train, or to import, where such a file is: nothing there could say which of two models is meant.

    Raises:
      UserError: naming it.
    """
    check(
        not (workdir / FILE).exists(),
        f'{workdir / FILE} is a trained model without the state of its training: pass another --workdir; a diffusion '
        f'model goes on from it there with --mode=finetune --config.finetune.method=full --config.finetune.base={workdir}',
    )
