"""Read a trained model from its run directory, or from the run directory of its base and an adapter."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxgen.apps import data, guides, stored_config, untrained, weights
from jaxgen.apps.config import Config
from jaxgen.apps.finetune import finetuning
from jaxgen.apps.same_run import BASE_FIELDS, NETWORK_FIELDS, require_same
from jaxgen.apps.trained import Trained
from jaxgen.errors import UserError, check
from jaxgen.io import tensors
from jaxgen.io.files import absolute
from jaxgen.io.run_directory import BEST, CHECKPOINTS, numbered
from jaxgen.methods.base import Method
from jaxgen.methods.options import require_known_classes
from jaxgen.runtime.mesh import make_mesh, on_mesh
from jaxgen.runtime.progress import Stage
from jaxgen.runtime.random import root_key
from jaxgen.schema import located
from jaxgen.training.checkpoints import Checkpoints, DamagedError
from jaxgen.training.snapshots import Snapshots
from jaxgen.training.state import initializer, state_template
from jaxgen.types import PyTree


def restore(config: Config, workdir: epath.Path) -> Trained:
    """Return the model of a run directory.

    The model comes from ``weights.safetensors`` if that exists, otherwise from the newest complete checkpoint or the best one
    (``config.checkpoint.restore``). ``config.sample.adapter`` adapts it, and ``config.sample.guide`` guides it.

    Raises:
      UserError: if there is no model, it was made with another config, the adapter belongs to another model, or the guide
        does not fit the model.
    """
    with Stage(f'reading the model in {workdir.name}', sums_up=False):
        trained = _restore_unguided(config, workdir)
    return guides.guided(trained, workdir, _restore_unguided) if guides.has_guide(config) else trained


def _restore_unguided(config: Config, workdir: epath.Path, at: int | None = None) -> Trained:
    """Return the model of a run directory without its guide.

    Args:
      config: the config.
      workdir: the run directory.
      at: the step of a checkpoint, or with ``config.sample.ema_length`` the last step of the snapshots to average; the newest
        if None.
    """
    stored = stored_config.read_run(workdir)
    if stored is None:
        raise UserError(_nothing_to_restore(workdir))
    require_same(config, stored, NETWORK_FIELDS, str(workdir))
    method, labels = build(config, workdir)
    mesh = make_mesh(config.mesh.fsdp)
    length = getattr(config.sample, 'ema_length', None)
    step, trainable = _trainable(config, workdir, method, at if length is None else None)
    _require_finite(trainable, workdir)
    if length is not None:
        check(at is None or at <= step, f'{workdir} ends at step {step}: there is no average at step {at}')
        step = step if at is None else at
        with located('config.sample.ema_length'):
            average = Snapshots(workdir).average(length, step)
            needed = {name: x.shape for name, x in tensors.flatten(trainable.ema).items()}
            tensors.require(tensors.flatten(average), needed, f'{length:g} of the snapshots in {workdir}')
        trainable = trainable.replace(ema=jax.device_put(average, jax.tree.map(lambda x: x.sharding, trainable.ema)))
    trained = Trained(config, method, mesh, step, on_mesh(mesh, method.with_frozen(trainable)), labels)
    if config.sample.adapter is None:
        return trained
    method, model, labels = finetuning.with_adapter(trained)
    _require_classes(config, labels)
    return dataclasses.replace(trained, method=method, model=on_mesh(mesh, model), class_names=labels)


def build(config: Config, workdir: epath.Path) -> tuple[Method, tuple[str, ...]]:
    """Return the method of the model in a run directory, with its base if it is fine-tuned, and the names of its classes.

    Raises:
      UserError: if the base cannot be read, differs from the base of the run directory, or does not match the config.
    """
    base, stored = config.finetune.base, stored_config.read_run(workdir)
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
    if base is None:
        return untrained.build(config)
    classes = data.facts(config).class_names
    method, labels = finetuning.from_base(config, _base(config, base), classes)
    expected = then.get('base_hash') or method.base_hash
    check(
        method.base_hash == expected,
        f'config.finetune.base={base} holds other weights ({method.base_hash[:8]}) than those from which the model in '
        f'{workdir} was fine-tuned ({expected[:8]}): bring those back, or fine-tune in another --workdir',
    )
    _require_classes(config, labels)
    return method, labels


def _trainable(config: Config, workdir: epath.Path, method: Method, at: int | None) -> tuple[int, PyTree]:
    """Return the step and the trainable state in a run directory; those of the checkpoint ``at`` if given."""
    if (workdir / weights.FILE).exists():
        check(at is None, f'{workdir} holds the weights of one step alone, and no checkpoint of step {at}')
        return weights.read(workdir / weights.FILE, method)
    which = config.checkpoint.restore
    folder = workdir / {'newest': CHECKPOINTS, 'best': BEST}[which]
    init = initializer(method, root_key(config.seed, config.train.prng))
    template = state_template(init, make_mesh(config.mesh.fsdp))
    checkpoints = Checkpoints(folder, read_only=True) if folder.exists() else None
    if checkpoints is not None and at is not None:
        return at, _at_step(checkpoints, at, template).model
    restored = checkpoints.restore_newest(template, print) if checkpoints else None
    if restored is None:
        how = {'newest': 'until config.checkpoint.every is reached', 'best': 'with config.evaluation.every'}[which]
        raise UserError(
            f'{folder} holds no checkpoint yet: train there {how}, or copy that folder as well if this is a copy of a run'
        )
    return restored[0], restored[1].model


def _at_step(checkpoints: Checkpoints, step: int, template: PyTree) -> PyTree:
    """Return the state of a checkpoint.

    Raises:
      UserError: if the checkpoint was not kept, or is damaged.
    """
    kept = checkpoints.steps()
    check(
        step in kept,
        f'{checkpoints.directory} holds no step {step}, but {", ".join(map(str, kept)) or "none"}: choose one of them, keep '
        f'more with checkpoint.keep_every, or set a length of an average to use snapshots',
    )
    try:
        return checkpoints.restore(step, template)
    except DamagedError as e:
        raise UserError(f'checkpoint {checkpoints.directory / str(step)} is damaged ({e}): choose another step') from e


def _nothing_to_restore(workdir: epath.Path) -> str:
    """Return a message on why a folder without a config holds no model, and what to do."""
    if numbered(workdir / CHECKPOINTS) or (workdir / weights.FILE).exists():
        return (
            f'{workdir} holds a trained model, but no config.json, without which it cannot be read: copy the config.json of '
            f'that run as well'
        )
    return f'{workdir} holds no trained model (no config.json): train one there, or pass another --workdir'


def _require_finite(trainable: PyTree, workdir: epath.Path) -> None:
    """Refuse a model with values that are not finite in the part of it that this process holds.

    Raises:
      UserError: naming the first such array.
    """
    for path, x in jax.tree.leaves_with_path(trainable):
        name = jax.tree_util.keystr(path, simple=True, separator='.')
        if 'opt_state' in name or not jnp.issubdtype(x.dtype, jnp.floating):
            continue
        parts = {str(shard.index): shard.data for shard in x.addressable_shards}
        for part in parts.values():
            tensors.require_finite({name: np.asarray(part)}, workdir)


def _require_classes(config: Config, class_names: tuple[str, ...]) -> None:
    with located('config.'):
        require_known_classes(config.sample, class_names)


def _base(config: Config, base: str) -> Trained:
    """Return the base model of fine-tuning, on the mesh of ``config``."""
    where, field = absolute(base), f'config.finetune.base={base}'
    stored = stored_config.read_run(where)
    if stored is None:
        raise UserError(f'{field} holds no trained model (no config.json): name the run directory of one')
    own = Config.from_tree(stored)
    asked, has = _image_shape(config), _image_shape(own)
    check(
        asked == has,
        f'{field} generates images of {has[0]} pixels and {has[1]} channels, but config.data has {asked[0]} and {asked[1]}: '
        f'choose others',
    )
    require_same(config, stored, BASE_FIELDS, base, 'another config.finetune.base')
    return restore(guides.without_guide(own).replace({'mesh': config.mesh}), where)


def _image_shape(config: Config) -> tuple[int, int]:
    """Return the side of the images in pixels, and their channels."""
    known = data.facts(config)
    return known.image_size, known.channels
