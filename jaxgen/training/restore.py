"""A trained model, back from its workdir."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgen import families
from jaxgen.data import SOURCES
from jaxgen.errors import UserError, names
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.family import Family
from jaxgen.training.mesh import make_mesh
from jaxgen.training.same_run import NETWORK_FIELDS, require_same
from jaxgen.training.sampling import Sampler
from jaxgen.training.step import root_key, state_template


@dataclasses.dataclass(frozen=True)
class Trained:
    """A family with a model, and what its labels mean."""

    config: ConfigDict
    family: Family
    mesh: Mesh
    step: int
    model: Any
    class_names: tuple[str, ...]

    def sampler(self, use: str = 'sample', seed: int | None = None) -> Sampler:
        """As ``config.sample`` says; ``seed`` instead of the run's own, if given."""
        c = self.config
        key = root_key(c) if seed is None else root_key(c, seed)
        classes = [self.class_names.index(name) for name in names(c.sample.classes)] or range(len(self.class_names))
        return Sampler(self.family, key, self.mesh, self.model, classes, c.sample.batch_size, c.sample.ema, use)


def restore(config: ConfigDict, workdir: epath.Path) -> Trained:
    """The model of the newest whole checkpoint of a workdir, or of its best (``config.checkpoint.restore``).

    Raises:
      UserError: if there is none, or its config is another.
    """
    stored = workdir / 'config.json'
    if not stored.exists():
        raise UserError(
            f'{workdir} holds no trained model (no config.json): train one there, or pass another --workdir'
        )
    require_same(config, json.loads(stored.read_text()), NETWORK_FIELDS, str(workdir))
    source = SOURCES[config.data.name]
    class_names = names(config.data.classes) or source.class_names
    side = config.data.image_size or source.image_size
    family = families.build(config, (side, side, source.channels), len(class_names))
    mesh = make_mesh(config.mesh.fsdp)
    folder = {'newest': 'checkpoints', 'best': 'best'}[config.checkpoint.restore]
    if not (workdir / folder).exists():
        how = {'newest': 'until config.checkpoint.every is reached', 'best': 'with config.evaluation.every'}
        raise UserError(f'{workdir / folder} holds no checkpoint yet: train there {how[config.checkpoint.restore]}')
    template = state_template(family, root_key(config), config.data.batch_size, mesh)
    restored = Checkpoints(workdir / folder, read_only=True).restore_newest(template, print)
    if restored is None:
        raise UserError(f'{workdir} holds no checkpoint yet: train there until config.checkpoint.every is reached')
    return Trained(config, family, mesh, restored[0], restored[1].model, class_names)
