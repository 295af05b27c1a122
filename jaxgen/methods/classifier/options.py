"""The options of the classifier: the sections ``model`` and ``optimizer``, and its defaults of ``data`` and ``train``."""

from __future__ import annotations

import dataclasses

from jaxgen.methods.options import DTYPES
from jaxgen.models.classifier import smallest_image
from jaxgen.optim.options import OptimizerOptions
from jaxgen.schema import Options, option, require, with_default

# The defaults of the classifier in sections that all methods share, by section and field.
DEFAULTS = {'data': {'batch_size': 1024, 'random_flip': True}, 'train': {'steps': 480}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierNetworkOptions(Options):
    """The network of airbench94, with its values for CIFAR-10."""

    conditional: bool = option(False, 'always False: a classifier is not given the class label')
    widths: tuple[int, ...] = option(
        (64, 256, 256), 'channels of each block; each block halves the side of the image', at_least=1, at_most=8192
    )
    translation: int = option(2, 'largest shift of an image in training, in pixels', at_least=0, at_most=8192)
    dtype: str = option('float32', 'precision of the convolutions; parameters are float32', choices=DTYPES)

    def check(self) -> None:
        """Refuse values that do not go together."""
        require(not self.conditional, 'conditional', ' must be False: a classifier is not given the class label')


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassifierOptimizerOptions(OptimizerOptions):
    """The optimizer of airbench94: Nesterov momentum, a triangular learning rate and lookahead."""

    name: str = option('nesterov', 'kind of optimizer', choices=('nesterov',))
    learning_rate: float = with_default(OptimizerOptions, 'learning_rate', 1.5)
    beta1: float = with_default(OptimizerOptions, 'beta1', 0.85)
    warmup_steps: int = with_default(OptimizerOptions, 'warmup_steps', 110)
    decay: str = with_default(OptimizerOptions, 'decay', 'triangular')
    decay_steps: int | None = with_default(OptimizerOptions, 'decay_steps', 480)
    ema_decay: float | None = option(
        0.95,
        'decay of the slow weights of lookahead at the end of training; they follow the network at once if not set',
        above=0,
        below=1,
    )
    weight_decay: float = option(
        0.00133, 'multiple of each parameter that is added to its gradient', at_least=0, at_most=1000
    )
    bias_scale: float = option(
        64.0, 'learning rate of the biases, as a multiple of the learning rate of the kernels', above=0, at_most=1e6
    )
    label_smoothing: float = option(
        0.2, 'share of each label that is spread evenly over all classes', at_least=0, below=1
    )


def require_together(model: ClassifierNetworkOptions, image_size: int) -> None:
    """Refuse a network that the images are too small for.

    Args:
      model: options of the network.
      image_size: side of the images in pixels.

    Raises:
      OptionError: naming the section and the field.
    """
    smallest = smallest_image(len(model.widths))
    require(
        image_size >= smallest,
        'data.image_size',
        f'={image_size} is too small for the {len(model.widths)} blocks of model.widths, which need at least {smallest}',
    )
    require(
        model.translation < image_size,
        'model.translation',
        f'={model.translation} must be below the side of the images, {image_size}',
    )
