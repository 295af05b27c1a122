"""The classifier as a method: airbench94, adapted to images of any size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, cast

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from jaxgen.methods.base import Capabilities, Method
from jaxgen.methods.classifier.options import (
    DEFAULTS,
    ClassifierNetworkOptions,
    ClassifierOptimizerOptions,
    require_together,
)
from jaxgen.methods.options import require_whole_batch
from jaxgen.models.classifier import Classifier
from jaxgen.models.layers import at_least_float32
from jaxgen.optim.ema import lookahead
from jaxgen.optim.optimizer import make_nesterov
from jaxgen.optim.schedules import learning_rate
from jaxgen.schema import Options, Sections
from jaxgen.types import Array, Fields, PyTree, Struct


@flax.struct.dataclass
class ClassifierState(Struct):
    """The state of a classifier: the network, its slow weights, the state of the optimizer, and the number of updates.

    Checkpoints contain the names of these fields.

    Attributes:
      variables: ``params`` and the running statistics ``batch_stats``.
      slow: the slow weights of ``lookahead``, with the structure of ``variables``.
    """

    variables: dict[str, PyTree]
    slow: dict[str, PyTree]
    opt_state: PyTree
    updates: Array


@dataclasses.dataclass(frozen=True)
class ClassifierMethod(Method):
    """airbench94 (Jordan 2024, arXiv:2404.00498) without its schedule of mirroring, and with a fixed first layer.

    The loss is a mean over the batch where airbench94 takes a sum. Its learning rate of 11.5 is therefore 1.5 here at its
    batch size of 1024, and in proportion at others; its weight decay of 0.0153 is 0.00133 at any batch size.

    Attributes:
      optimizer: resolved options of the optimizer.
      translation: largest shift of an image in training, in pixels.

    Example:
      >>> from jaxgen import methods
      >>> from jaxgen.methods.classifier.options import ClassifierNetworkOptions, ClassifierOptimizerOptions
      >>> options = ClassifierNetworkOptions(), ClassifierOptimizerOptions().resolved(steps=1000)
      >>> methods.ClassifierMethod.from_options(*options, image_shape=(32, 32, 3), num_classes=10).translation
      2
    """

    supports: ClassVar[Capabilities] = Capabilities()
    sections: ClassVar[Mapping[str, type[Options]]] = {
        'optimizer': ClassifierOptimizerOptions,
        'model': ClassifierNetworkOptions,
    }
    defaults: ClassVar[Mapping[str, Fields]] = DEFAULTS
    metrics: ClassVar[tuple[str, ...]] = ('loss', 'accuracy', 'grad_norm', 'learning_rate')

    network: Classifier
    optimizer: ClassifierOptimizerOptions
    image_shape: tuple[int, int, int]
    translation: int

    @classmethod
    def from_options(
        cls,
        network: ClassifierNetworkOptions,
        optimizer: ClassifierOptimizerOptions,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
    ) -> ClassifierMethod:
        """Return the method with a network of the given options.

        Args:
          network: options of the network.
          optimizer: resolved options of the optimizer, see ``OptimizerOptions.resolved``.
          image_shape: height, width and channels of an image.
          num_classes: number of classes to distinguish.
        """
        classifier = Classifier(num_classes, network.widths, jnp.dtype(network.dtype))
        return cls(classifier, optimizer, image_shape, network.translation)

    @classmethod
    def from_sections(
        cls, sections: Sections, *, image_shape: tuple[int, int, int], num_classes: int
    ) -> ClassifierMethod:
        """Return the method that options describe, see ``Method.from_sections``."""
        optimizer = sections['optimizer'].resolved(sections['train'].steps)
        return cls.from_options(sections['model'], optimizer, image_shape=image_shape, num_classes=num_classes)

    @staticmethod
    def check_options(options: Sections, image_size: int) -> None:
        """Refuse options of different sections that do not go together, see ``Method.check_options``."""
        require_whole_batch(options['train'].grad_accumulation, 'the classifier')
        require_together(options['model'], image_size)

    def _optimizer(self) -> optax.GradientTransformation:
        o = self.optimizer
        return make_nesterov(o, weight_decay=o.weight_decay, bias_scale=o.bias_scale)

    def init(self, key: Array) -> ClassifierState:
        """Return the trainable state before the first step, with random parameters."""
        return self._start(self.network.init(key, jnp.zeros((1, *self.image_shape))))

    def _start(self, variables: PyTree) -> ClassifierState:
        slow = jax.tree.map(jnp.copy, variables)
        return ClassifierState(variables, slow, self._optimizer().init(variables['params']), jnp.zeros((), jnp.int32))

    def networks(self, state: ClassifierState) -> dict[str, PyTree]:
        """Return the parameters of each network by its name."""
        return {'judge': state.variables['params']}

    def augment(self, images: Array, key: Array) -> Array:
        """Shift images by up to ``translation`` pixels, with reflected pixels at the borders."""
        shift = jax.random.randint(key, (len(images), 2), -self.translation, self.translation + 1)
        return translation(images, shift)

    def step(
        self, state: ClassifierState, batch: dict[str, Array], key: Array
    ) -> tuple[ClassifierState, dict[str, Array]]:
        """Make one update of the parameters, see ``Method.step``."""
        images = self.augment(batch['image'].astype(at_least_float32(self.network.dtype)), key)
        params, stats = state.variables['params'], state.variables['batch_stats']
        targets = jax.nn.one_hot(batch['label'], self.network.num_classes, dtype=images.dtype)
        targets = optax.smooth_labels(targets, self.optimizer.label_smoothing)

        def loss(params: PyTree) -> tuple[Array, PyTree]:
            variables = {'params': params, 'batch_stats': stats}
            (_, logits), changed = self.network.apply(variables, images, train=True, mutable=['batch_stats'])
            return jnp.mean(optax.softmax_cross_entropy(logits, targets)), (logits, changed['batch_stats'])

        (value, (logits, stats)), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = self._optimizer().update(grads, state.opt_state, params)
        variables = {'params': optax.apply_updates(params, updates), 'batch_stats': stats}
        o = self.optimizer
        slow, variables = lookahead(
            state.slow, variables, state.updates + 1, decay=o.ema_decay, decay_steps=cast(int, o.decay_steps)
        )
        metrics = {
            'loss': value,
            'accuracy': jnp.mean(jnp.argmax(logits, axis=1) == batch['label'], dtype=value.dtype),
            'grad_norm': optax.tree.norm(grads),
            'learning_rate': jnp.asarray(learning_rate(o)(state.updates), jnp.float32),
        }
        return ClassifierState(variables, slow, opt_state, state.updates + 1), metrics

    def sampling_variables(self, state: ClassifierState, key: Array, ema: bool) -> PyTree:
        """Return the variables of the network: the slow weights if ``ema``, else the fast ones."""
        return state.slow if ema else state.variables

    def from_weights(self, weights: dict[str, PyTree], key: Array) -> ClassifierState:
        """Return the trainable state before the first step, with given weights."""
        return self._start(weights)


def translation(images: Float[Array, 'n h w c'], shift: Int[Array, 'n 2']) -> Float[Array, 'n h w c']:
    """Shift images by whole pixels, and fill the borders by reflection without repeating the outermost pixels.

    Args:
      images: images of any range.
      shift: pixels down and to the right, of size at most h - 1 and w - 1.
    """
    n, h, w, _ = images.shape

    def sources(size: int, shift: Array) -> Array:
        at = jnp.abs(jnp.arange(size) - shift[:, None])
        return size - 1 - jnp.abs(size - 1 - at)

    y, x = sources(h, shift[:, 0]), sources(w, shift[:, 1])
    return images[jnp.arange(n)[:, None, None], y[:, :, None], x[:, None, :]]
