"""Refuse options of different sections that do not go together, before anything is computed."""

from __future__ import annotations

from jaxgen.apps import data
from jaxgen.apps.config import Config
from jaxgen.apps.evaluate.options import require_averages, require_samples
from jaxgen.apps.finetune.options import require_finetunable
from jaxgen.data.options import require_memory
from jaxgen.methods import METHODS
from jaxgen.methods.options import require_conditional, require_known_classes
from jaxgen.schema import located, require, require_one_of
from jaxgen.training.options import require_devices, require_micro_batches
from jaxgen.training.writers.options import require_installed


def validate(config: Config) -> None:
    """Refuse a config whose sections do not go together.

    Raises:
      UserError: with one sentence that names the field.
    """
    method, known = METHODS[config.method], data.facts(config)
    with located('config.optimizer.'):
        config.optimizer.resolved(config.train.steps)
    with located('config.'):
        require(
            not (config.train.resident_data and config.data.crop == 'random'),
            'train.resident_data',
            '=True has no crop=random: choose another config.data.crop, or leave it out',
        )
        require_memory(_images_at_once(config), known.image_shape)
        require_micro_batches(config.data.batch_size, config.train.grad_accumulation)
        require_conditional(config.sample, config.model.conditional)
        require_finetunable(config.finetune, config.sample, config.method, method.supports.finetunes)
        if config.finetune.base is None and config.sample.adapter is None:  # otherwise the base has classes of its own
            require_known_classes(config.sample, known.class_names)
        if 'log' in config.sections:
            require_installed(config.log)
        if 'evaluation' in config.sections:
            require_samples(config.evaluation, config.method, method.supports.samples)
            require_averages(config.evaluation, getattr(config.optimizer, 'ema_lengths', None), config.sample.ema)
        if 'likelihood' in config.sections:
            require_one_of([config.likelihood.split], known.splits, 'likelihood.split')
        method.check_options(config.sections, known.image_size)


def _images_at_once(config: Config) -> dict[str, int]:
    """Return the number of images in memory at once, by the field that decides it."""
    train, batch_size = config.train, config.data.batch_size
    dispatched = 1 if train.resident_data else min(train.steps_per_dispatch, train.steps)
    return {
        'data.batch_size': batch_size,
        'train.steps_per_dispatch': dispatched * batch_size,
        'sample.batch_size': config.sample.batch_size,
        'sample.num': config.sample.num,
    }


def validate_devices(config: Config, devices: int) -> None:
    """Refuse batches that do not divide over the devices.

    Raises:
      UserError: one sentence that names the field.
    """
    sizes = {'sample.batch_size': config.sample.batch_size}
    if 'evaluation' in config.sections and config.evaluation.batch_size is not None:
        sizes['evaluation.batch_size'] = config.evaluation.batch_size
    with located('config.'):
        require_devices(config.data.batch_size, config.train.grad_accumulation, sizes, config.mesh.fsdp, devices)
