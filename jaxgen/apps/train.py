"""The modes ``train`` and ``finetune``."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
from etils import epath

from jaxgen.apps import guides, stored_config, weights
from jaxgen.apps.config import Config
from jaxgen.apps.data import load_split
from jaxgen.apps.evaluate.during_training import DuringTraining
from jaxgen.apps.finetune import adapters
from jaxgen.apps.restore import build, restore
from jaxgen.apps.same_run import require_same, run_fields
from jaxgen.data import Dataset
from jaxgen.data.options import kind_of
from jaxgen.diffusion.compatibility import CONSISTENCY
from jaxgen.errors import UserError, check
from jaxgen.io import tensors
from jaxgen.io.files import absolute
from jaxgen.io.run_directory import CHECKPOINTS, CONFIG, numbered
from jaxgen.methods.base import Method
from jaxgen.runtime.mesh import make_mesh, on_host
from jaxgen.runtime.random import root_key
from jaxgen.training import Evaluation, SaveHook, Trainer
from jaxgen.types import Fields, JsonObject, PyTree


def train(config: Config, workdir: epath.Path) -> None:
    """Train a model, or resume from the newest checkpoint of the run directory."""
    check(
        config.finetune.base is None,
        f'config.finetune.base={config.finetune.base} is for --mode=finetune: pass that, or leave it out',
    )
    _train(config, workdir)


def finetune(config: Config, workdir: epath.Path) -> None:
    """Fine-tune a model, and write ``adapter.safetensors`` with the averaged factors at each checkpoint."""
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


def make_trainer(
    config: Config,
    method: Method,
    dataset: Dataset,
    workdir: epath.Path,
    *,
    evaluation: Evaluation | None = None,
    on_save: SaveHook | None = None,
    initial_weights: Callable[[], dict[str, PyTree]] | None = None,
) -> Trainer:
    """Return the trainer of a config; see ``Trainer`` for the arguments."""

    def require_same_config(stored: JsonObject) -> None:
        require_same(config, stored_config.modernised(stored, str(workdir / CONFIG)), run_fields(config), str(workdir))

    return Trainer(
        method,
        dataset,
        workdir,
        batch_size=config.data.batch_size,
        seed=config.seed,
        random_flip=config.data.random_flip,
        train=config.train,
        sample=dataclasses.replace(config.sample, classes=config.sample.classes or config.data.classes),
        checkpoint=config.checkpoint,
        log=config.log if 'log' in config.sections else None,
        mesh=make_mesh(config.mesh.fsdp),
        snapshot_every=getattr(config.optimizer, 'ema_snapshot_every', None),
        evaluation=evaluation,
        on_save=on_save,
        initial_weights=initial_weights,
        config_json=config.to_tree(),
        require_same=require_same_config,
    )


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
    guides.require_none(config, 'train')
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
    make_trainer(
        config,
        method,
        dataset,
        workdir,
        evaluation=evaluation,
        on_save=on_save,
        initial_weights=_initial_weights(config, method, dataset.class_names, workdir),
    ).train()


def _initial_weights(
    config: Config, method: Method, class_names: tuple[str, ...], workdir: epath.Path
) -> Callable[[], dict[str, PyTree]] | None:
    """Return a function that reads the weights from which training starts, or None for random weights."""
    path = config.train.init_from
    if path is None:
        return None
    check(
        method.base_hash is None,
        f'config.train.init_from={path} and config.finetune.base exclude each other: fine-tuning starts from its base',
    )

    def read() -> dict[str, PyTree]:
        where, field = absolute(path), f'config.train.init_from={path}'
        stored = stored_config.read_run(where)
        if stored is None:
            raise UserError(f'{field} holds no trained model (no config.json): name the run directory of one')
        own = guides.without_guide(Config.from_tree(stored))
        _require_same_kind(config, own, field)
        base = restore(own.replace({'mesh': config.mesh}), where)
        check(
            base.class_names == class_names or not method.capabilities.knows_classes,
            f'{field} knows other classes than config.data: choose the same ones, or fine-tune it with --mode=finetune',
        )
        key = root_key(config.seed)
        found = base.method.weights(base.model, key, True)
        needed = jax.eval_shape(lambda: method.weights(method.with_frozen(method.init(key)), key, True))
        tensors.require(_flat(found), {name: x.shape for name, x in _flat(needed).items()}, field)
        print(f'training starts from the weights of step {base.step:,} in {path}', flush=True)
        return on_host(base.mesh, found)

    if numbered(workdir / CHECKPOINTS):
        return read  # training resumes and does not call it
    found = read()
    return lambda: found


def _require_same_kind(config: Config, base: Config, field: str) -> None:
    """Refuse a model with another task or prediction; only consistency tuning may start from an EDM model."""
    check(
        config.method == base.method,
        f'{field} is a model of family={base.method}, and this run trains family={config.method}: name another',
    )
    if 'diffusion' not in config.sections:
        return
    for name in ('schedule', 'parameterisation', 'variance'):
        ours, theirs = getattr(config.diffusion, name), getattr(base.diffusion, name)
        check(
            ours == theirs or (name, ours, theirs) == ('parameterisation', CONSISTENCY, 'edm'),
            f'{field} was trained with diffusion.{name}={theirs}, and this run has {ours}: name another model',
        )


def _flat(weights: Fields) -> dict[str, PyTree]:
    return tensors.flatten(weights, '/')
