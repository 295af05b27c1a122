"""The judge as a model family: a classifier of real images, which afterwards looks at generated ones."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from jaxgen.errors import UserError, check
from jaxgen.methods.base import Family
from jaxgen.models.classifier import Classifier, smallest_image
from jaxgen.models.layers import at_least_float32
from jaxgen.optim.optimizer import learning_rate, lookahead, make_nesterov, resolved

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
    metrics: ClassVar[tuple[str, ...]] = ('loss', 'accuracy', 'grad_norm', 'learning_rate')

    network: Classifier
    optimizer: ConfigDict
    image_shape: tuple[int, int, int]
    translation: int

    @staticmethod
    def fields(c: ConfigDict) -> None:
        """Adds the fields of this family to a config, the values of airbench94 for CIFAR-10 in them."""
        c.model = ConfigDict()
        c.model.conditional = False  # nobody tells it the class
        c.model.widths = (64, 256, 256)  # channels of each block, which halves the side
        c.model.translation = 2  # pixels that an image is moved in training, at most
        c.model.dtype = 'float32'  # of the convolutions: float32 or bfloat16

        c.optimizer.learning_rate = 1.5  # at its peak
        c.optimizer.beta1 = 0.85  # Nesterov's momentum
        c.optimizer.weight_decay = 0.00133
        c.optimizer.bias_scale = 64.0  # learning rate of biases, in those of kernels
        c.optimizer.label_smoothing = 0.2
        c.optimizer.ema_decay = 0.95  # a step, of lookahead's slow weights in the end; 0 for none
        c.optimizer.warmup_steps = 110  # to the peak of the learning rate
        c.optimizer.decay = 'triangular'
        c.optimizer.decay_steps = 480  # a run may stop before, or go on with the last value

        c.data.batch_size = 1024
        c.data.random_flip = True
        c.train.steps = 480

    @staticmethod
    def check(c: ConfigDict, image_size: int) -> None:
        """Refuses what this family cannot be.

        Raises:
          UserError: one sentence naming the field.
        """
        widths, o = c.model.widths, c.optimizer
        check(len(widths) > 0 and min(widths) > 0, f'config.model.widths={widths} must name one width or more above 0')
        smallest = smallest_image(len(widths))
        check(
            image_size >= smallest,
            f'config.data.image_size={image_size} is too small for the {len(widths)} blocks of config.model.widths, '
            f'which take at least {smallest}',
        )
        check(
            c.model.translation < image_size,
            f'config.model.translation={c.model.translation} must be below the side of the images, {image_size}',
        )
        check(not c.model.conditional, 'config.model.conditional must be False: a judge is not told the class')
        check(o.weight_decay >= 0, f'config.optimizer.weight_decay={o.weight_decay} must not be negative')
        check(o.bias_scale > 0, f'config.optimizer.bias_scale={o.bias_scale} must be positive')
        check(
            0 <= o.label_smoothing < 1,
            f'config.optimizer.label_smoothing={o.label_smoothing} must be at least 0 and below 1',
        )
        check(not c.evaluation.every, 'config.evaluation.every must be 0: a judge draws no images to evaluate')
        check(
            c.train.grad_accumulation == 1,
            f'config.train.grad_accumulation={c.train.grad_accumulation} must be 1 for the judge: the statistics of its '
            f'normalisation are those of the whole batch',
        )

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
