"""A trained model, back from its workdir, or from that of its base and an adapter."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh
from ml_collections import ConfigDict

from jaxgen import methods as families
from jaxgen.apps import finetuning, from_config, stored_config, weights
from jaxgen.apps.same_run import BASE_FIELDS, NETWORK_FIELDS, require_same
from jaxgen.data import SOURCES, class_names
from jaxgen.errors import UserError, check, names, pick
from jaxgen.io.files import absolute
from jaxgen.methods.base import Family
from jaxgen.runtime.mesh import make_mesh, on_mesh
from jaxgen.runtime.random import root_key
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.sampling import SamplePipeline
from jaxgen.training.snapshots import Snapshots
from jaxgen.training.state import initializer, state_template


@dataclasses.dataclass(frozen=True)
class Trained:
    """A family with a model, and what its labels mean."""

    config: ConfigDict
    family: Family
    mesh: Mesh
    step: int
    model: Any
    class_names: tuple[str, ...]

    def sampler(self, seed: int | None = None, stream: str = 'sample') -> SamplePipeline:
        """Return the pipeline that samples as ``config.sample`` says: see ``from_config.sample_pipeline``."""
        return from_config.sample_pipeline(
            self.config, self.family, self.mesh, self.model, self.class_names, seed=seed, stream=stream
        )


def restore(config: ConfigDict, workdir: epath.Path) -> Trained:
    """The model of the newest whole checkpoint of a workdir, or of its best (``config.checkpoint.restore``), or of its
    ``weights``, changed by the adapter ``config.sample.adapter`` if there is one.

    Raises:
      UserError: if there is none, its config is another, or the adapter is another model's.
    """
    stored = _stored(workdir)
    if stored is None:
        raise UserError(
            f'{workdir} holds no trained model (no config.json): train one there, or pass another --workdir'
        )
    require_same(config, stored, NETWORK_FIELDS, str(workdir))
    family, labelled = build(config, workdir)
    mesh = make_mesh(config.mesh.fsdp)
    which = config.checkpoint.restore
    folder = workdir / {'newest': 'checkpoints', 'best': 'best'}[which]
    if (workdir / weights.FILE).exists():
        step, learnt = weights.read(workdir / weights.FILE, family)
    else:
        template = state_template(initializer(family, root_key(config.seed, config.train.prng)), mesh)
        restored = Checkpoints(folder, read_only=True).restore_newest(template, print) if folder.exists() else None
        if restored is None:
            how = {'newest': 'until config.checkpoint.every is reached', 'best': 'with config.evaluation.every'}[which]
            raise UserError(f'{folder} holds no checkpoint yet: train there {how}')
        step, learnt = restored[0], restored[1].model
    if config.sample.get('ema_length'):
        average = Snapshots(workdir).average(config.sample.ema_length, step)
        learnt = learnt.replace(ema=jax.device_put(average, jax.tree.map(lambda x: x.sharding, learnt.ema)))
    trained = Trained(config, family, mesh, step, on_mesh(mesh, family.whole(learnt)), labelled)
    if config.sample.adapter:
        family, model, labelled = finetuning.with_adapter(trained)
        trained = dataclasses.replace(trained, family=family, model=on_mesh(mesh, model), class_names=labelled)
        _check_classes(config, labelled)
    return trained


def build(config: ConfigDict, workdir: epath.Path) -> tuple[Family, tuple[str, ...]]:
    """The family of a workdir's model, and what its labels mean; if it is fine-tuned, with its base.

    Raises:
      UserError: if the base cannot be read, is another than that of the workdir, or does not fit the config.
    """
    base, stored = config.finetune.base, _stored(workdir)
    check(
        not base or absolute(base) != absolute(workdir),
        f'config.finetune.base={base} is the --workdir itself: pass another --workdir',
    )
    then = {'base': base} if stored is None else stored.get('finetune', {'base': ''})
    check(
        bool(base) or not then['base'],
        f'config.finetune.base is empty, but the model in {workdir} was fine-tuned from {then["base"]}: pass '
        f'--config={workdir}/config.json, or another --workdir',
    )
    check(
        not base or bool(then['base']),
        f'config.finetune.base is {base}, but the model in {workdir} was not fine-tuned: pass another --workdir',
    )
    classes, source = class_names(config.data.name, names(config.data.classes)), SOURCES[config.data.name]
    if base:
        family, labelled = finetuning.from_base(config, _base(config), classes)
        expected = then.get('base_hash') or family.base_hash
        check(
            family.base_hash == expected,
            f'config.finetune.base={base} holds other weights ({family.base_hash[:8]}) than those from which the model in '
            f'{workdir} was fine-tuned ({expected[:8]}): bring those back, or fine-tune in another --workdir',
        )
        _check_classes(config, labelled)
        return family, labelled
    side = config.data.image_size or source.image_size
    return families.build(config, (side, side, source.channels), len(classes)), classes


def _check_classes(config: ConfigDict, labelled: tuple[str, ...]) -> None:
    for name in names(config.sample.classes):
        pick(name, labelled, 'config.sample.classes:')


def _base(config: ConfigDict) -> Trained:
    """The model that is fine-tuned, on the mesh of ``config``."""
    where = absolute(config.finetune.base)
    field = f'config.finetune.base={config.finetune.base}'
    stored = _stored(where)
    if stored is None:
        raise UserError(f'{field} holds no trained model (no config.json): name the workdir of one')
    own = stored_config.from_json(stored)
    side, channels = (
        [c.data.image_size or SOURCES[c.data.name].image_size, SOURCES[c.data.name].channels] for c in (config, own)
    )
    check(
        side == channels,
        f'{field} draws images of {channels[0]} pixels and {channels[1]} channels, where config.data has {side[0]} and '
        f'{side[1]}: choose others',
    )
    require_same(config, stored, BASE_FIELDS, config.finetune.base, 'another config.finetune.base')
    own.mesh = config.mesh
    return restore(own, where)


def _stored(workdir: epath.Path) -> dict[str, Any] | None:
    path = workdir / 'config.json'
    return json.loads(path.read_text()) if path.exists() else None
