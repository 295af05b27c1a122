"""Read the worse model that guides a diffusion model (``config.sample.guide``) from its run directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import cast

from etils import epath

from jaxgen.apps import stored_config
from jaxgen.apps.config import Config
from jaxgen.apps.trained import Trained
from jaxgen.diffusion.compatibility import FEW_STEP
from jaxgen.errors import UserError, check
from jaxgen.io.files import absolute
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.methods.diffusion.options import GUIDE_FIELDS
from jaxgen.methods.diffusion.sampling import PreconditionedNetwork
from jaxgen.runtime.random import root_key, stream

Restore = Callable[[Config, epath.Path, int | None], Trained]  # (config, run directory, step or None for the newest)


def has_guide(config: Config) -> bool:
    """Return whether a worse model guides the model of a config."""
    return getattr(config.sample, 'has_guide', False)


def without_guide(config: Config) -> Config:
    """Return the config of the same model without a guide."""
    if not has_guide(config):
        return config
    return config.replace({f'sample.{name}': None for name in (*GUIDE_FIELDS, 'guide_scale')})


def require_none(config: Config, mode: str) -> None:
    """Refuse a guide in a mode that does not sample with it.

    Raises:
      UserError: naming the field.
    """
    field = next((name for name in GUIDE_FIELDS if getattr(config.sample, name, None) is not None), None)
    check(
        field is None,
        f'config.sample.{field} is for sampling, and --mode={mode} looks at the model without a guide: leave it out',
    )


def guided(trained: Trained, workdir: epath.Path, restore: Restore) -> Trained:
    """Return the model with the guide that ``config.sample`` names.

    Args:
      trained: a diffusion model.
      workdir: the run directory of the model.
      restore: reads a model without its guide.

    Raises:
      UserError: if there is no such guide, or it does not fit the model.
    """
    sample = trained.config.sample
    where = workdir if sample.guide is None else absolute(sample.guide)
    field = f'config.sample.guide={where}'
    stored = stored_config.read_run(where)
    if stored is None:
        raise UserError(f'{field} holds no trained model (no config.json): name the run directory of one')
    config = Config.from_tree(stored)
    check(
        isinstance(trained.method, Diffusion) and 'diffusion' in config.sections,
        f'{field} is no diffusion model (family={config.method}): name one that was trained on the same images',
    )
    check(
        where != absolute(workdir) or (sample.guide_step, sample.guide_ema_length) != (None, None),
        f'{field} is the model that it guides, which changes nothing: set guide_step or guide_ema_length as well',
    )
    own = {'sample.ema_length': sample.guide_ema_length, 'sample.ema': True, 'sample.adapter': None}
    try:
        guide = restore(without_guide(config).replace({**own, 'mesh': trained.config.mesh}), where, sample.guide_step)
    except UserError as e:
        reason = str(e).removeprefix('config.sample.ema_length: ')
        raise UserError(f'the guide of config.sample.guide, guide_step and guide_ema_length: {reason}') from e
    _require_fitting(trained, guide, field)
    network = _network(guide)
    return dataclasses.replace(trained, method=dataclasses.replace(cast(Diffusion, trained.method), guide=network))


def _network(guide: Trained) -> PreconditionedNetwork:
    method, key = cast(Diffusion, guide.method), stream(root_key(guide.config.seed), 'statistics')
    variables = method.sampling_variables(guide.model, key, True)
    return PreconditionedNetwork(method.network, method.prediction, method.learned_variance, variables)


def _require_fitting(trained: Trained, guide: Trained, field: str) -> None:
    """Refuse a guide that was trained for other images, classes or noise levels than the model that it guides."""
    ours, theirs = trained.config.diffusion, guide.config.diffusion
    differing = next((f for f in ('schedule', 'timesteps') if getattr(ours, f) != getattr(theirs, f)), None)
    if differing is not None:
        raise UserError(
            f'{field} was trained with diffusion.{differing}={getattr(theirs, differing)}, and the model that it guides with '
            f'{getattr(ours, differing)}: name a guide with the same noise levels'
        )
    check(
        theirs.parameterisation not in FEW_STEP,
        f'{field} is a few-step model (diffusion.parameterisation={theirs.parameterisation}), which guides nothing',
    )
    here, there = trained.method.image_shape, guide.method.image_shape
    check(here == there, f'{field} generates images of {there}, and the model that it guides of {here}: name another')
    check(
        not guide.method.capabilities.knows_classes
        or (trained.method.capabilities.knows_classes and guide.class_names == trained.class_names),
        f'{field} knows other classes than the model that it guides: name one of the same classes, or without classes',
    )
