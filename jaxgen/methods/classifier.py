"""The judge as a model family: a classifier of real images, which afterwards looks at generated ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxgen.errors import UserError
from jaxgen.methods.base import Family
from jaxgen.methods.classifier_options import (
    DEFAULTS,
    ClassifierNetworkOptions,
    ClassifierOptimizerOptions,
    require_together,
)
from jaxgen.methods.options import require_whole_batch
from jaxgen.models.classifier import Classifier
from jaxgen.models.layers import at_least_float32
from jaxgen.optim.optimizer import learning_rate, lookahead, make_nesterov, resolved
from jaxgen.schema import Options

Array = jax.Array

NO_GENERATOR = 'config.family=judge draws no images: pass the --config of a generator'


@flax.struct.dataclass
class Student:
    """What learns, what it is judged by, the optimiser's state and the number of its updates.

    Attributes:
      variables: ``params`` and the running statistics ``batch_stats``.
      slow: of the same structure, what ``lookahead`` keeps of them.
    """

    variables: dict[str, Any]
    slow: dict[str, Any]
    opt_state: Any
    updates: Array


@dataclasses.dataclass(frozen=True)
class Judge(Family):
    """airbench94 (Jordan 2024, arXiv:2404.00498) without its schedule of mirroring, and with a fixed first layer.

    The loss is a mean over the batch where airbench94 takes a sum: its learning rate of 11.5 is 1.5 here at its batch
    size, 1024, and in proportion at another; its weight decay of 0.0153 is 0.00133 at any.
    """

    draws: ClassVar[bool] = False
    sections: ClassVar[Mapping[str, type[Options]]] = {
        'optimizer': ClassifierOptimizerOptions,
        'model': ClassifierNetworkOptions,
    }
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]] = DEFAULTS
    metrics: ClassVar[tuple[str, ...]] = ('loss', 'accuracy', 'grad_norm', 'learning_rate')

    network: Classifier
    optimizer: ConfigDict
    image_shape: tuple[int, int, int]
    translation: int

    @staticmethod
    def check_options(options: Mapping[str, Any], image_size: int) -> None:
        require_whole_batch(options['train'].grad_accumulation, 'the classifier')
        require_together(options['model'], image_size)

    @classmethod
    def from_config(cls, c: ConfigDict, image_shape: tuple[int, int, int], num_classes: int) -> Judge:
        network = Classifier(num_classes, tuple(c.model.widths), jnp.dtype(c.model.dtype))
        return cls(network, resolved(c), image_shape, c.model.translation)

    def init(self, key: Array) -> Student:
        variables = self.network.init(key, jnp.zeros((1, *self.image_shape)))
        slow = jax.tree.map(jnp.copy, variables)
        opt_state = make_nesterov(self.optimizer).init(variables['params'])
        return Student(variables, slow, opt_state, jnp.zeros((), jnp.int32))

    def networks(self, model: Student) -> dict[str, Any]:
        return {'judge': model.variables['params']}

    def augment(self, images: Array, key: Array) -> Array:
        """Moved by up to ``config.model.translation`` pixels; what comes in at the borders is reflected."""
        shift = jax.random.randint(key, (len(images), 2), -self.translation, self.translation + 1)
        return translation(images, shift)

    def step(self, model: Student, batch: dict[str, Array], key: Array) -> tuple[Student, dict[str, Array]]:
        images = self.augment(batch['image'].astype(at_least_float32(self.network.dtype)), key)
        params, stats = model.variables['params'], model.variables['batch_stats']
        wanted = jax.nn.one_hot(batch['label'], self.network.num_classes, dtype=images.dtype)
        wanted = optax.smooth_labels(wanted, self.optimizer.label_smoothing)

        def loss(params):
            variables = {'params': params, 'batch_stats': stats}
            (_, logits), changed = self.network.apply(variables, images, train=True, mutable=['batch_stats'])
            return jnp.mean(optax.softmax_cross_entropy(logits, wanted)), (logits, changed['batch_stats'])

        (value, (logits, stats)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = make_nesterov(self.optimizer).update(grads, model.opt_state, params)
        variables = {'params': optax.apply_updates(params, updates), 'batch_stats': stats}
        slow, variables = lookahead(model.slow, variables, model.updates + 1, self.optimizer)
        metrics = {
            'loss': value,
            'accuracy': jnp.mean(jnp.argmax(logits, axis=1) == batch['label'], dtype=value.dtype),
            'grad_norm': optax.tree.norm(grads),
            'learning_rate': jnp.asarray(learning_rate(self.optimizer)(model.updates), jnp.float32),
        }
        return Student(variables, slow, opt_state, model.updates + 1), metrics

    def sampling_variables(self, model: Student, key: Array, ema: bool) -> Any:
        """The variables of the network."""
        return model.slow if ema else model.variables

    def sample(self, variables: Any, keys: Array, labels: Array) -> Array:
        raise UserError(NO_GENERATOR)

    def sampling_protocol(self) -> dict[str, Any]:
        raise UserError(NO_GENERATOR)


def translation(images: Array, shift: Array) -> Array:
    """Images ``[N, H, W, C]`` moved down and right by shift ``[N, 2]`` pixels, at most H - 1 and W - 1 of them.

    At the borders comes in what lies on this side of them, reflected, the outermost pixels not repeated.
    """
    n, h, w, _ = images.shape

    def sources(size: int, shift: Array) -> Array:
        at = jnp.abs(jnp.arange(size) - shift[:, None])
        return size - 1 - jnp.abs(size - 1 - at)

    y, x = sources(h, shift[:, 0]), sources(w, shift[:, 1])
    return images[jnp.arange(n)[:, None, None], y[:, :, None], x[:, None, :]]
