"""Make the objects of the library that a config describes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from etils import epath
from jax.sharding import Mesh

from jaxgen.apps.config import Config
from jaxgen.apps.same_run import require_same, run_fields
from jaxgen.apps.stored_config import modernised
from jaxgen.data import Dataset
from jaxgen.io.run_directory import CONFIG
from jaxgen.methods.base import Method
from jaxgen.runtime.mesh import make_mesh
from jaxgen.training import Evaluation, SamplePipeline, SaveHook, Trainer
from jaxgen.training.sampling import chosen_classes
from jaxgen.types import JsonObject, PyTree


def trainer(
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
        require_same(config, modernised(stored, str(workdir / CONFIG)), run_fields(config), str(workdir))

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


def sample_pipeline(
    config: Config,
    method: Method,
    mesh: Mesh,
    model: PyTree,
    class_names: Sequence[str],
    *,
    seed: int | None = None,
    stream: str = 'sample',
) -> SamplePipeline:
    """Return the pipeline that samples with the options of ``config.sample``.

    Args:
      config: the config of the model.
      method: how to sample a batch.
      mesh: the devices of the model.
      model: the full model, or the shapes of its arrays.
      class_names: the classes of the model, in the order of their labels.
      seed: seed of the images; that of the config if not set.
      stream: stream of random keys that the images come from.
    """
    return SamplePipeline(
        method,
        mesh,
        model,
        classes=classes_to_sample(config, class_names),
        seed=config.seed if seed is None else seed,
        stream=stream,
        batch_size=config.sample.batch_size,
        ema=config.sample.ema,
    )


def classes_to_sample(config: Config, class_names: Sequence[str]) -> tuple[int, ...]:
    """Return the labels of the classes to sample in turn: those of config.sample, else of config.data, else of the model."""
    return chosen_classes(class_names, config.sample.classes, config.data.classes)
