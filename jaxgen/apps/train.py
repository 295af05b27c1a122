"""``--mode=train`` and ``--mode=finetune``: train a model, or fine-tune the model of another run directory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from etils import epath

from jaxgen.apps import adapters, weights
from jaxgen.apps.config import Config
from jaxgen.apps.evaluate import during_training
from jaxgen.apps.restore import build
from jaxgen.data import Dataset, load
from jaxgen.errors import UserError, check
from jaxgen.methods.base import Method
from jaxgen.runtime.mesh import make_mesh, on_host
from jaxgen.training import loop


def train(config: Config, workdir: epath.Path) -> None:
    """Train a model, or resume from the newest checkpoint of the run directory.

    Args:
      config: the config of the run, with the section ``evaluation``.
      workdir: the run directory.

    Raises:
      UserError: if the config asks for fine-tuning, or as ``loop.train`` does.
    """
    check(
        config.finetune.base is None,
        f'config.finetune.base={config.finetune.base} is for --mode=finetune: pass that, or leave it out',
    )
    _train(config, workdir)


def finetune(config: Config, workdir: epath.Path) -> None:
    """Fine-tune the model of ``config.finetune.base``; each checkpoint comes with an ``adapter.safetensors``.

    Args:
      config: the config of the run, with the section ``evaluation``.
      workdir: the run directory.

    Raises:
      UserError: if the config names no base, or as ``loop.train`` does.
    """
    check(
        config.finetune.base is not None, 'config.finetune.base is not set: name the workdir of the model to fine-tune'
    )
    _train(config, workdir)
    print(f'the adapter, for the model in {config.finetune.base} alone: {workdir / adapters.FILE}')


def _train(config: Config, workdir: epath.Path) -> None:
    check(
        config.sample.adapter is None,
        f'config.sample.adapter={config.sample.adapter} is for sampling: leave it out in training; to train a fine-tuned '
        f'model further, name its workdir in config.finetune.base',
    )
    weights.require_none(workdir)
    method, dataset = method_and_data(config, workdir)
    evaluation, on_save = None, None
    if method.base_hash is not None:
        config = config.replace({'finetune.base_hash': method.base_hash})
        on_save = _adapter_writer(config, method.base_hash, dataset, workdir)
    if config.evaluation.every is not None:
        mesh = make_mesh(config.mesh.fsdp)
        evaluation = during_training.DuringTraining(config, method, mesh, dataset.class_names, workdir)
    loop.train(config, method, dataset, workdir, evaluation, on_save)


def _adapter_writer(config: Config, base_hash: str, dataset: Dataset, workdir: epath.Path) -> Callable[[Any], None]:
    """Return a function that writes the averaged factors of a fine-tuned model."""
    mesh = make_mesh(config.mesh.fsdp)

    def write(model: Any) -> None:
        factors = on_host(mesh, model.learner.ema)
        adapters.write(workdir / adapters.FILE, adapters.of_config(config, factors, base_hash, dataset.class_names))

    return write


def method_and_data(config: Config, workdir: epath.Path) -> tuple[Method, Dataset]:
    """Return the method of a run and its training images, with labels that count the classes of the method.

    Args:
      config: the config of the run.
      workdir: the run directory.

    Raises:
      UserError: if the config leaves no image to train on.
    """
    method, class_names = build(config, workdir)
    d = config.data
    dataset = load(d.name, 'train', d.classes or (), d.max_examples, d.image_size, d.crop)
    if not len(dataset.images):
        raise UserError('config.data.classes and config.data.max_examples leave no image to train on: choose others')
    return method, dataset.relabelled(class_names)
