"""The fields of a classifier in a ConfigDict, and the method that they describe."""

from __future__ import annotations

from ml_collections import ConfigDict

from jaxgen.errors import check
from jaxgen.methods.classifier.method import ClassifierMethod
from jaxgen.methods.classifier_options import ClassifierNetworkOptions, ClassifierOptimizerOptions
from jaxgen.methods.config_sections import options_from
from jaxgen.models.classifier import smallest_image


def fields(c: ConfigDict) -> None:
    """Add the fields of a classifier to a config, with the values of airbench94 for CIFAR-10."""
    c.model = ConfigDict()
    c.model.conditional = False  # always False: a classifier is not given the class label
    c.model.widths = (64, 256, 256)  # channels of each block; each block halves the side of the image
    c.model.translation = 2  # pixels by which an image is shifted in training, at most
    c.model.dtype = 'float32'  # precision of the convolutions: float32 or bfloat16

    c.optimizer.learning_rate = 1.5  # at its peak
    c.optimizer.beta1 = 0.85  # Nesterov momentum
    c.optimizer.weight_decay = 0.00133  # multiple of each parameter that is added to its gradient
    c.optimizer.bias_scale = 64.0  # learning rate of the biases, as a multiple of that of the kernels
    c.optimizer.label_smoothing = 0.2  # share of each label that is spread evenly over all classes
    c.optimizer.ema_decay = 0.95  # share of the slow weights of lookahead that a step keeps at the end; 0 for none
    c.optimizer.warmup_steps = 110  # step at which the learning rate is at its peak
    c.optimizer.decay = 'triangular'
    c.optimizer.decay_steps = 480  # a run may stop before, or go on with the last value

    c.data.batch_size = 1024
    c.data.random_flip = True
    c.train.steps = 480


def check_fields(c: ConfigDict, image_size: int) -> None:
    """Refuse a config that no classifier can have.

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
    check(not c.model.conditional, 'config.model.conditional must be False: a classifier is not given the class label')
    check(o.weight_decay >= 0, f'config.optimizer.weight_decay={o.weight_decay} must not be negative')
    check(o.bias_scale > 0, f'config.optimizer.bias_scale={o.bias_scale} must be positive')
    check(
        0 <= o.label_smoothing < 1,
        f'config.optimizer.label_smoothing={o.label_smoothing} must be at least 0 and below 1',
    )
    check(not c.evaluation.every, 'config.evaluation.every must be 0: a classifier generates no images to evaluate')
    check(
        c.train.grad_accumulation == 1,
        f'config.train.grad_accumulation={c.train.grad_accumulation} must be 1 for the classifier: its batch normalisation '
        f'needs the statistics of the whole batch',
    )


def from_config(c: ConfigDict, image_shape: tuple[int, int, int], num_classes: int) -> ClassifierMethod:
    """Return the classifier that a config describes."""
    return ClassifierMethod.from_options(
        options_from(ClassifierNetworkOptions, c.model),
        options_from(ClassifierOptimizerOptions, c.optimizer).resolved(c.train.steps),
        image_shape=image_shape,
        num_classes=num_classes,
    )
