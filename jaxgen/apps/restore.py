"""A trained model, back from its workdir, or from that of its base and an adapter."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
from etils import epath
from jax.sharding import Mesh

from jaxgen.apps import finetuning, stored_config, untrained, weights
from jaxgen.apps.config import Config
from jaxgen.apps.same_run import BASE_FIELDS, NETWORK_FIELDS, require_same
from jaxgen.data import SOURCES, class_names
from jaxgen.errors import UserError, check, pick
from jaxgen.io.files import absolute
from jaxgen.methods.base import Method
from jaxgen.runtime.mesh import make_mesh, on_mesh
from jaxgen.runtime.random import root_key
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.sampling import Sampler
from jaxgen.training.snapshots import Snapshots
from jaxgen.training.step import initial, state_template


@dataclasses.dataclass(frozen=True)
class Trained:
    """A method with a model, and what its labels mean."""

    config: Config
    method: Method
    mesh: Mesh
    step: int
    model: Any
    class_names: tuple[str, ...]

    def sampler(self, seed: int | None = None, use: str = 'sample') -> Sampler:
        """Return a sampler of this model; see ``Sampler``.

        Raises:
          UserError: if the method generates no images.
        """
        check(
            self.method.capabilities.samples,
            f'config.family={self.config.method} generates no images: pass the --config of a diffusion model or a GAN',
        )
        return Sampler(self.config, self.method, self.mesh, self.model, self.class_names, seed, use)


def restore(config: Config, workdir: epath.Path) -> Trained:
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
    method, labelled = build(config, workdir)
    mesh = make_mesh(config.mesh.fsdp)
    which = config.checkpoint.restore
    folder = workdir / {'newest': 'checkpoints', 'best': 'best'}[which]
    if (workdir / weights.FILE).exists():
        step, learnt = weights.read(workdir / weights.FILE, method)
    else:
        template = state_template(initial(method, root_key(config.seed, config.train.prng)), mesh)
        restored = Checkpoints(folder, read_only=True).restore_newest(template, print) if folder.exists() else None
        if restored is None:
            how = {'newest': 'until config.checkpoint.every is reached', 'best': 'with config.evaluation.every'}[which]
            raise UserError(f'{folder} holds no checkpoint yet: train there {how}')
        step, learnt = restored[0], restored[1].model
    ema_length = getattr(config.sample, 'ema_length', None)
    if ema_length is not None:
        average = Snapshots(workdir).average(ema_length, step)
        learnt = learnt.replace(ema=jax.device_put(average, jax.tree.map(lambda x: x.sharding, learnt.ema)))
    trained = Trained(config, method, mesh, step, on_mesh(mesh, method.with_frozen(learnt)), labelled)
    if config.sample.adapter is not None:
        method, model, labelled = finetuning.with_adapter(trained)
        trained = dataclasses.replace(trained, method=method, model=on_mesh(mesh, model), class_names=labelled)
        _check_classes(config, labelled)
    return trained


def build(config: Config, workdir: epath.Path) -> tuple[Method, tuple[str, ...]]:
    """The method of a workdir's model, and what its labels mean; if it is fine-tuned, with its base.

    Raises:
      UserError: if the base cannot be read, is another than that of the workdir, or does not fit the config.
    """
    base, stored = config.finetune.base, _stored(workdir)
    check(
        base is None or absolute(base) != absolute(workdir),
        f'config.finetune.base={base} is the --workdir itself: pass another --workdir',
    )
    then = {'base': base} if stored is None else stored.get('finetune', {})
    check(
        base is not None or then.get('base') is None,
        f'config.finetune.base is not set, but the model in {workdir} was fine-tuned from {then.get("base")}: pass '
        f'--config={workdir}/config.json, or another --workdir',
    )
    check(
        base is None or then.get('base') is not None,
        f'config.finetune.base is {base}, but the model in {workdir} was not fine-tuned: pass another --workdir',
    )
    if base is not None:
        classes = class_names(config.data.name, config.data.classes or ())
        method, labelled = finetuning.from_base(config, _base(config), classes)
        expected = then.get('base_hash') or method.base_hash
        check(
            method.base_hash == expected,
            f'config.finetune.base={base} holds other weights ({method.base_hash[:8]}) than those from which the model in '
            f'{workdir} was fine-tuned ({expected[:8]}): bring those back, or fine-tune in another --workdir',
        )
        _check_classes(config, labelled)
        return method, labelled
    return untrained.build(config)


def _check_classes(config: Config, labelled: tuple[str, ...]) -> None:
    for name in config.sample.classes or ():
        pick(name, labelled, 'config.sample.classes:')


def _base(config: Config) -> Trained:
    """The model that is fine-tuned, on the mesh of ``config``."""
    where = absolute(config.finetune.base)
    field = f'config.finetune.base={config.finetune.base}'
    stored = _stored(where)
    if stored is None:
        raise UserError(f'{field} holds no trained model (no config.json): name the workdir of one')
    own = stored_config.read(where / 'config.json').replace({'mesh': config.mesh})
    side, channels = (
        [c.data.image_size or SOURCES[c.data.name].image_size, SOURCES[c.data.name].channels] for c in (config, own)
    )
    check(
        side == channels,
        f'{field} draws images of {channels[0]} pixels and {channels[1]} channels, where config.data has {side[0]} and '
        f'{side[1]}: choose others',
    )
    require_same(config, stored, BASE_FIELDS, config.finetune.base, 'another config.finetune.base')
    return restore(own, where)


def _stored(workdir: epath.Path) -> dict[str, Any] | None:
    path = workdir / 'config.json'
    return stored_config.modernised(json.loads(path.read_text())) if path.exists() else None
