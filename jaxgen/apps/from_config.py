"""The arguments that the library takes, from the config of the whole program."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, TypeVar

from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgen.apps.same_run import require_same, run_fields
from jaxgen.data import Dataset
from jaxgen.errors import names
from jaxgen.methods.base import Family
from jaxgen.methods.options import SampleOptions
from jaxgen.runtime.mesh import make_mesh
from jaxgen.schema import Options, specs
from jaxgen.training import CheckpointOptions, Evaluation, SamplePipeline, SaveHook, Trainer, TrainOptions
from jaxgen.training.sampling import chosen_classes

O = TypeVar('O', bound=Options)  # noqa: E741


def options(kind: type[O], section: ConfigDict) -> O:
    """Return the options that a section of a config holds: there 0, an empty text and an empty tuple mean "not set"."""
    values = {}
    for name, spec in specs(kind).items():
        if name in section:
            value = names(section[name]) if spec.many and isinstance(section[name], str) else section[name]
            values[name] = None if spec.optional and value in (0, '', ()) else value
    return kind(**values)


def trainer(
    config: ConfigDict,
    method: Family,
    dataset: Dataset,
    workdir: epath.Path,
    *,
    evaluation: Evaluation | None = None,
    on_save: SaveHook | None = None,
) -> Trainer:
    """Return the trainer of a config."""
    sample = options(SampleOptions, config.sample)

    def require_same_config(stored: dict[str, Any]) -> None:
        require_same(config, stored, run_fields(config), str(workdir))

    return Trainer(
        method,
        dataset,
        workdir,
        batch_size=config.data.batch_size,
        seed=config.seed,
        random_flip=config.data.random_flip,
        train=options(TrainOptions, config.train),
        sample=dataclasses.replace(sample, classes=sample.classes or names(config.data.classes) or None),
        checkpoint=options(CheckpointOptions, config.checkpoint),
        mesh=make_mesh(config.mesh.fsdp),
        snapshot_every=config.optimizer.get('ema_snapshot_every'),
        evaluation=evaluation,
        on_save=on_save,
        config_json=json.loads(config.to_json()),
        require_same=require_same_config,
    )


def sample_pipeline(
    config: ConfigDict,
    method: Family,
    mesh: Mesh,
    model: Any,
    class_names: Sequence[str],
    *,
    seed: int | None = None,
    stream: str = 'sample',
) -> SamplePipeline:
    """Return the pipeline that samples as ``config.sample`` says.

    Args:
      model: the full model, or the shapes of its arrays.
      class_names: the classes of the model, in the order of their labels.
      seed: seed of the images; that of the config if not set.
      stream: which stream of that seed the images come from.
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
        prng=config.train.prng,
    )


def classes_to_sample(config: ConfigDict, class_names: Sequence[str]) -> tuple[int, ...]:
    """Return the labels that images have in turn: of the classes asked for, or those trained on, or all of the model."""
    return chosen_classes(class_names, names(config.sample.classes), names(config.data.classes))
