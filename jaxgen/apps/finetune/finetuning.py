"""Build the method that adapts a trained model, from a config or from the file of an adapter."""

from __future__ import annotations

from typing import cast

import jax

from jaxgen.apps.config import Config
from jaxgen.apps.finetune import adapters
from jaxgen.apps.trained import Trained
from jaxgen.apps.untrained import build_method
from jaxgen.errors import UserError, check
from jaxgen.io import tensors
from jaxgen.io.hashes import weights_hash
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.methods.lora import FineTunedDiffusion, with_new_labels
from jaxgen.models import lora
from jaxgen.runtime.mesh import on_host
from jaxgen.runtime.random import root_key, stream
from jaxgen.types import PyTree


def from_base(config: Config, base: Trained, classes: tuple[str, ...]) -> tuple[FineTunedDiffusion, tuple[str, ...]]:
    """Return the method that fine-tunes a base according to ``config.finetune``, and the names of its classes.

    Its classes are the classes of the base, followed by the classes of the images that are new. If there are new classes, the
    whole label table is trained in addition to the adapted layers; a row without images gets no gradient and does not change.

    Raises:
      UserError: if a layer in ``config.finetune.targets`` does not exist.
    """
    options = config.finetune
    labelled = base.class_names + tuple(c for c in classes if c not in base.class_names)
    params, base_hash = _weights(base)
    params = with_new_labels(params, len(base.class_names), len(labelled) - len(base.class_names))
    if options.method == 'full':
        rank, paths = 0, tuple(lora.flat(params))
    else:
        new = config.model.conditional and len(labelled) > len(base.class_names)
        targets = options.targets + (('label',) if new else ())
        rank, paths = options.rank, lora.matching(params, targets, 'config.finetune.targets')
    method = _diffusion(config, base, len(labelled))
    strength = options.alpha / options.rank
    fields = {'base': params, 'base_hash': base_hash, 'paths': paths, 'rank': rank, 'strength': strength}
    return FineTunedDiffusion.from_method(method, scale=config.sample.adapter_scale, **fields), labelled


def with_adapter(base: Trained) -> tuple[FineTunedDiffusion, PyTree, tuple[str, ...]]:
    """Return the method, the model and the class names of a base that ``config.sample.adapter`` adapts.

    Raises:
      UserError: if the adapter cannot be read, or belongs to another base.
    """
    config, field = base.config, f'config.sample.adapter={base.config.sample.adapter}'
    adapter = adapters.read(config.sample.adapter, 'config.sample.adapter')
    params, base_hash = _weights(base)
    check(
        adapter.base == base_hash,
        f'{field} is for a base with the weights {adapter.base[:8]}, and those of this workdir are {base_hash[:8]}: pass '
        f"the --workdir of its base, or this workdir's own adapter",
    )
    labels = _labels(base, adapter, field)
    params = with_new_labels(params, len(base.class_names), len(labels) - len(base.class_names))
    rank = 0 if adapter.finetune['method'] == 'full' else adapter.finetune['rank']
    method = FineTunedDiffusion.from_method(
        _diffusion(config, base, len(labels)),
        base=params,
        base_hash=base_hash,
        paths=tuple(adapter.factors),
        rank=rank,
        strength=adapter.strength,
        scale=config.sample.adapter_scale,
    )
    unknown = [path for path in method.paths if path not in lora.flat(params)]
    if unknown:
        raise UserError(f'{field} changes {unknown[0]}, which the base does not have: get the file again')
    needed = lora.flat(jax.eval_shape(lambda key: lora.init(key, params, method.paths, rank), jax.random.key(0)))
    tensors.require(lora.flat(adapter.factors), {name: x.shape for name, x in needed.items()}, field)
    return method, method.with_frozen(method.initial_state(adapter.factors)), labels


def _labels(base: Trained, adapter: adapters.Adapter, field: str) -> tuple[str, ...]:
    """Return the classes of an adapted base: its own, by its own names, and the classes that the adapter adds.

    Raises:
      UserError: if the adapter has fewer classes than the base, or adds a class that the base already has.
    """
    known = base.class_names
    added = adapter.class_names[len(known) :]
    check(
        len(adapter.class_names) >= len(known) and not set(added) & set(known),
        f'{field} has the classes {", ".join(adapter.class_names)[:200]}, which do not go on from those of the base, '
        f'{", ".join(known)[:200]}: get the file again',
    )
    return known + added


def _diffusion(config: Config, base: Trained, num_classes: int) -> Diffusion:
    """Return the diffusion model that a fine-tuned one adapts; ``rules.validate`` refuses other methods."""
    return cast(Diffusion, build_method(config, base.method.image_shape, num_classes))


def _weights(trained: Trained) -> tuple[PyTree, str]:
    """Return the averaged parameters of a model on the host, with which it samples by default, and their hash."""
    key = stream(root_key(trained.config.seed), 'statistics')

    def averaged(model: PyTree) -> PyTree:
        return trained.method.sampling_variables(model, key, True)

    variables = on_host(trained.mesh, jax.jit(averaged)(trained.model))
    return variables['params'], weights_hash(variables)
