"""A trained model, back from its workdir."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgen import families
from jaxgen.data import SOURCES, class_names
from jaxgen.errors import UserError, names
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.family import Family
from jaxgen.training.mesh import make_mesh
from jaxgen.training.power_ema import Snapshots
from jaxgen.training.same_run import NETWORK_FIELDS, require_same
from jaxgen.training.sampling import Sampler
from jaxgen.training.step import initial, root_key, state_template


@dataclasses.dataclass(frozen=True)
class Trained:
    """A family with a model, and what its labels mean."""

    config: ConfigDict
    family: Family
    mesh: Mesh
    step: int
    model: Any
    class_names: tuple[str, ...]

    def sampler(self, seed: int | None = None, use: str = 'sample') -> Sampler:
        """See ``Sampler``."""
        return Sampler(self.config, self.family, self.mesh, self.model, self.class_names, seed, use)


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
    labelled = class_names(config.data.name, names(config.data.classes))
    side = config.data.image_size or source.image_size
    family = families.build(config, (side, side, source.channels), len(labelled))
    mesh = make_mesh(config.mesh.fsdp)
    which = config.checkpoint.restore
    folder = workdir / {'newest': 'checkpoints', 'best': 'best'}[which]
    template = state_template(initial(family, root_key(config)), mesh)
    restored = Checkpoints(folder, read_only=True).restore_newest(template, print) if folder.exists() else None
    if restored is None:
        how = {'newest': 'until config.checkpoint.every is reached', 'best': 'with config.evaluation.every'}[which]
        raise UserError(f'{folder} holds no checkpoint yet: train there {how}')
    step, model = restored[0], restored[1].model
    if config.sample.get('ema_length'):
        average = Snapshots(workdir).average(config.sample.ema_length, step)
        model = model.replace(ema=jax.device_put(average, jax.tree.map(lambda x: x.sharding, model.ema)))
    return Trained(config, family, mesh, step, model, labelled)
