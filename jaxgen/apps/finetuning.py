"""A method that adapts a trained model: as a config says, or as an adapter's file does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from jaxgen.apps import adapters
from jaxgen.apps.config import Config
from jaxgen.apps.untrained import build_method
from jaxgen.errors import UserError, check
from jaxgen.io import tensors
from jaxgen.methods.lora import FineTunedDiffusion, with_new_labels
from jaxgen.models import lora
from jaxgen.models.inception_weights import weights_hash
from jaxgen.runtime.mesh import on_host
from jaxgen.runtime.random import root_key, stream

if TYPE_CHECKING:
    from jaxgen.apps.restore import Trained


def from_base(config: Config, base: Trained, classes: tuple[str, ...]) -> tuple[FineTunedDiffusion, tuple[str, ...]]:
    """What ``config.finetune`` makes of a base, and what its labels mean.

    Those are the base's, so that it goes on to know its classes, and after them any of the ``classes`` of the images that
    it does not know: with those the label table is learnt as a whole, beside the layers that are adapted. A row without
    images gets no gradient, and stays.

    Raises:
      UserError: naming the field, if a layer does not exist.
    """
    how = config.finetune
    labelled = base.class_names + tuple(c for c in classes if c not in base.class_names)
    params, base_hash = _weights(base)
    params = with_new_labels(params, len(base.class_names), len(labelled) - len(base.class_names))
    if how.method == 'full':
        rank, paths = 0, tuple(lora.flat(params))
    else:
        new = config.model.conditional and len(labelled) > len(base.class_names)
        targets = how.targets + (('label',) if new else ())
        rank, paths = how.rank, lora.matching(params, targets, 'config.finetune.targets')
    method = build_method(config, base.method.image_shape, len(labelled))
    fields = {'base': params, 'base_hash': base_hash, 'paths': paths, 'rank': rank, 'strength': how.alpha / how.rank}
    return FineTunedDiffusion.from_method(method, scale=config.sample.adapter_scale, **fields), labelled


def with_adapter(base: Trained) -> tuple[FineTunedDiffusion, Any, tuple[str, ...]]:
    """The method, model and class names of a base under the adapter ``config.sample.adapter``.

    Raises:
      UserError: if it cannot be read, or is that of another base.
    """
    config, field = base.config, f'config.sample.adapter={base.config.sample.adapter}'
    adapter = adapters.read(config.sample.adapter, 'config.sample.adapter')
    params, base_hash = _weights(base)
    check(
        adapter.base == base_hash,
        f'{field} is for a base with the weights {adapter.base[:8]}, and those of this workdir are {base_hash[:8]}: pass '
        f"the --workdir of its base, or this workdir's own adapter",
    )
    known = len(base.class_names)
    params = with_new_labels(params, known, len(adapter.class_names) - known)
    rank = 0 if adapter.finetune['method'] == 'full' else adapter.finetune['rank']
    method = FineTunedDiffusion.from_method(
        build_method(config, base.method.image_shape, len(adapter.class_names)),
        base=params,
        base_hash=base_hash,
        paths=tuple(adapter.factors),
        rank=rank,
        strength=adapter.strength,
        scale=config.sample.adapter_scale,
    )
    strange = [path for path in method.paths if path not in lora.flat(params)]
    if strange:
        raise UserError(f'{field} changes {strange[0]}, which the base does not have: get the file again')
    needed = lora.flat(jax.eval_shape(lambda key: lora.init(key, params, method.paths, rank), jax.random.key(0)))
    tensors.require(lora.flat(adapter.factors), {name: x.shape for name, x in needed.items()}, field)
    return method, method.with_frozen(method.initial_state(adapter.factors)), adapter.class_names


def _weights(trained: Trained) -> tuple[Any, str]:
    """The parameters that a model draws with by default, its averaged ones, on the host; and their hash."""
    key = stream(root_key(trained.config.seed, trained.config.train.prng), 'statistics')

    def draw_with(model: Any) -> Any:
        return trained.method.sampling_variables(model, key, True)

    variables = on_host(trained.mesh, jax.jit(draw_with)(trained.model))
    return variables['params'], weights_hash(variables)
