"""The modes ``train`` and ``finetune``."""

from __future__ import annotations

from etils import epath

from jaxgen.apps import from_config, weights
from jaxgen.apps.config import Config
from jaxgen.apps.data import load_split
from jaxgen.apps.evaluate.during_training import DuringTraining
from jaxgen.apps.finetune import adapters
from jaxgen.apps.guides import has_guide
from jaxgen.apps.restore import build
from jaxgen.data import Dataset
from jaxgen.data.options import kind_of
from jaxgen.errors import check
from jaxgen.methods.base import Method
from jaxgen.runtime.mesh import make_mesh, on_host
from jaxgen.types import PyTree


def train(config: Config, workdir: epath.Path) -> None:
    """Train a model, or resume from the newest checkpoint of the run directory."""
    check(
        config.finetune.base is None,
        f'config.finetune.base={config.finetune.base} is for --mode=finetune: pass that, or leave it out',
    )
    _train(config, workdir)


def finetune(config: Config, workdir: epath.Path) -> None:
    """Train like ``train``, and write ``adapter.safetensors`` with the averaged factors at each checkpoint."""
    check(
        config.finetune.base is not None,
        'config.finetune.base is not set: name the run directory of the model to fine-tune',
    )
    _train(config, workdir)
    print(f'the adapter, for the model in {config.finetune.base} only: {workdir / adapters.FILE}')


def method_and_data(config: Config, workdir: epath.Path) -> tuple[Method, Dataset]:
    """Return the method of a run directory and its training images, with the labels of the method's classes.

    Raises:
      UserError: if no image is left to train on.
    """
    method, class_names = build(config, workdir)
    dataset = load_split(config, 'train', max_examples=config.data.max_examples)
    check(len(dataset.images) > 0, 'config.data.classes and config.data.max_examples leave no image to train on')
    return method, dataset.relabelled(class_names)


def _require_a_batch(config: Config, count: int) -> None:
    size = config.data.batch_size
    check(
        count >= size or kind_of(config.data.name) is None,
        f'config.data.batch_size={size} is more than the {count} training images of config.data.name={config.data.name}: pass '
        f'--config.data.batch_size={max(1, 2 ** (count.bit_length() - 1))}, or add images',
    )


def _train(config: Config, workdir: epath.Path) -> None:
    check(
        config.sample.adapter is None,
        f'config.sample.adapter={config.sample.adapter} is for sampling: leave it out in training, and name the run '
        f'directory of a fine-tuned model in config.finetune.base to train it further',
    )
    check(
        not has_guide(config),
        'config.sample.guide is for sampling: leave it, guide_step and guide_ema_length out in training',
    )
    weights.require_none(workdir)
    method, dataset = method_and_data(config, workdir)
    _require_a_batch(config, len(dataset.images))
    mesh, evaluation, on_save = make_mesh(config.mesh.fsdp), None, None
    base_hash = method.base_hash
    if base_hash is not None:
        config = config.replace({'finetune.base_hash': base_hash})

        def on_save(model: PyTree) -> None:
            factors = on_host(mesh, model.learner.ema)
            adapter = adapters.of_config(config, factors, base_hash, dataset.class_names)
            adapters.write(workdir / adapters.FILE, adapter)

    if config.evaluation.every is not None:
        evaluation = DuringTraining(config, method, mesh, dataset.class_names, workdir)
    from_config.trainer(config, method, dataset, workdir, evaluation=evaluation, on_save=on_save).train()
