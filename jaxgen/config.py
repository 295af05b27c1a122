"""Every field of a config with its default, and the checks that need neither data nor a device."""

from __future__ import annotations

import json

from ml_collections import ConfigDict

from jaxgen.data.dataset import SOURCES, pick
from jaxgen.diffusion.samplers import SAMPLERS
from jaxgen.diffusion.schedules import SCHEDULES
from jaxgen.errors import UserError


def base() -> ConfigDict:
    """The fields of every experiment; a config file changes what differs. Tuples of names are written ``dog,horse``."""
    c = ConfigDict()
    c.family = 'ddpm'
    c.seed = 0

    c.data = ConfigDict()
    c.data.name = 'cifar10'
    c.data.batch_size = 128  # the global batch, over all devices and processes
    c.data.classes = ''  # names to keep; empty keeps all
    c.data.max_examples = 0  # keep the first so many; 0 keeps all
    c.data.image_size = 0  # side in pixels; 0 keeps the stored size
    c.data.random_flip = False

    c.model = ConfigDict()
    c.model.name = 'unet'
    c.model.conditional = False  # class labels as an input
    c.model.base_channels = 128
    c.model.channel_multipliers = (1, 2, 2, 2)
    c.model.num_res_blocks = 2
    c.model.attention_resolutions = (16,)
    c.model.num_heads = 1
    c.model.dropout = 0.1
    c.model.norm_groups = 32
    c.model.patch_size = 1
    c.model.dtype = 'float32'  # of the computation: float32 or bfloat16

    c.diffusion = ConfigDict()
    c.diffusion.schedule = 'linear'
    c.diffusion.timesteps = 1000

    c.optimizer = ConfigDict()
    c.optimizer.learning_rate = 2e-4
    c.optimizer.warmup_steps = 5000
    c.optimizer.grad_clip_norm = 1.0
    c.optimizer.ema_decay = 0.9999

    c.train = ConfigDict()
    c.train.steps = 800_000
    c.train.log_every = 100
    c.train.steps_per_dispatch = 1  # steps run on the device between two returns to Python
    c.train.grad_accumulation = 1  # micro-batches a step
    c.train.prng = 'threefry2x32'  # or rbg: faster on TPU, but other bits on other shardings

    c.mesh = ConfigDict()
    c.mesh.fsdp = 1  # devices over which each parameter is sharded; the rest hold copies
    c.mesh.cpu_devices = 0  # virtual devices where there is only a CPU; 0 leaves it to XLA_FLAGS (one, by default)

    c.checkpoint = ConfigDict()
    c.checkpoint.every = 5000
    c.checkpoint.keep = 3
    c.checkpoint.keep_every = 0  # checkpoints at multiples of this stay for ever; 0 for none

    c.sample = ConfigDict()
    c.sample.num = 64
    c.sample.batch_size = 64
    c.sample.classes = ''  # classes to draw, in turn; empty draws all in turn
    c.sample.sampler = 'ddim'
    c.sample.num_steps = 50
    c.sample.ema = True
    c.sample.every = 5000  # steps between the grids of training
    c.sample.name = 'samples'  # of the files that mode=sample writes
    return c


def names(field: str) -> tuple[str, ...]:
    """The names in a comma-separated field."""
    return tuple(name.strip() for name in field.split(',') if name.strip())


# What a checkpoint is made of, and what decides the steps that made it.
NETWORK_FIELDS = ('family', 'data.name', 'data.classes', 'data.image_size', 'model', 'diffusion')
RUN_FIELDS = ('family', 'model', 'diffusion', 'seed', 'data', 'optimizer', 'train.grad_accumulation', 'train.prng')


def require_same(config: ConfigDict, stored: dict, fields, where: str) -> None:
    """Refuses a config that is not the one a checkpoint was made with.

    Args:
      stored: the config of the checkpoint, as in ``config.json``.
      fields: dotted names of the fields, or groups of fields, that must agree.
      where: the workdir, for the message.

    Raises:
      UserError: naming the first field that differs.
    """
    now = _flatten(json.loads(config.to_json()))
    then = _flatten(stored)
    for name in {**then, **now}:
        if any(name == f or name.startswith(f'{f}.') for f in fields) and now.get(name) != then.get(name):
            raise UserError(
                f'config.{name} is {now.get(name)!r}, but the checkpoint in {where} was made with {then.get(name)!r}: '
                f'pass --config.{name}={_argument(then.get(name))}, or another --workdir'
            )


def _argument(value) -> str:
    return ','.join(map(str, value)) if isinstance(value, list) else f"'{value}'" if value == '' else str(value)


def _flatten(tree: dict, prefix: str = '') -> dict:
    flat = {}
    for key, value in tree.items():
        flat.update(_flatten(value, f'{prefix}{key}.') if isinstance(value, dict) else {prefix + key: value})
    return flat


def validate(config: ConfigDict) -> None:
    """Refuses values that cannot work, before anything is loaded or compiled.

    Raises:
      UserError: one sentence naming the field.
    """
    flat = _flatten(config.to_dict())
    may_be_0 = (
        'data.max_examples',
        'data.image_size',
        'optimizer.warmup_steps',
        'mesh.cpu_devices',
        'checkpoint.keep_every',
    )
    for name, value in flat.items():
        if isinstance(value, int) and not isinstance(value, bool) and name != 'seed':
            least = 0 if name in may_be_0 else 1
            _check(value >= least, f'config.{name}={value} must be at least {least}')
    _check(0 <= config.seed < 2**32, f'config.seed={config.seed} must lie between 0 and 2**32 - 1')
    for name in ('optimizer.learning_rate', 'optimizer.grad_clip_norm'):
        _check(flat[name] > 0, f'config.{name}={flat[name]} must be positive')
    for name in ('optimizer.ema_decay', 'model.dropout'):
        _check(0 <= flat[name] < 1, f'config.{name}={flat[name]} must be at least 0 and below 1')

    source = SOURCES[pick(config.data.name, SOURCES, 'config.data.name')]
    pick(config.diffusion.schedule, SCHEDULES, 'config.diffusion.schedule')
    pick(config.sample.sampler, SAMPLERS, 'config.sample.sampler')
    pick(config.model.dtype, ('float32', 'bfloat16'), 'config.model.dtype')
    pick(config.train.prng, ('threefry2x32', 'rbg'), 'config.train.prng')
    classes = [pick(c, source.class_names, 'config.data.classes:') for c in names(config.data.classes)]
    _check(len(set(classes)) == len(classes), f'config.data.classes={config.data.classes} names a class twice')
    for c in names(config.sample.classes):
        pick(c, classes or source.class_names, 'config.sample.classes:')
    _check(
        config.model.conditional or not config.sample.classes,
        'config.sample.classes needs a network that knows classes: set config.model.conditional=True and train, '
        'or leave it empty',
    )
    _check(
        config.sample.num_steps <= config.diffusion.timesteps,
        f'config.sample.num_steps={config.sample.num_steps} is more than config.diffusion.timesteps='
        f'{config.diffusion.timesteps}',
    )
    _check(
        config.data.batch_size % config.train.grad_accumulation == 0,
        f'config.data.batch_size={config.data.batch_size} does not divide into '
        f'config.train.grad_accumulation={config.train.grad_accumulation} micro-batches',
    )
    _check_unet(config, config.data.image_size or source.image_size)


def _check_unet(config: ConfigDict, image_size: int) -> None:
    model = config.model
    pick(model.name, ('unet',), 'config.model.name')
    _check(
        len(model.channel_multipliers) > 0 and min(model.channel_multipliers) > 0,
        f'config.model.channel_multipliers={model.channel_multipliers} must be positive numbers',
    )
    _check(
        model.base_channels >= 4 and model.base_channels % 2 == 0,
        f'config.model.base_channels={model.base_channels} must be even and at least 4',
    )
    halvings = 2 ** (len(model.channel_multipliers) - 1) * model.patch_size
    _check(
        image_size % halvings == 0,
        f'config.data.image_size={image_size} does not divide by {halvings}: config.model.channel_multipliers has '
        f'{len(model.channel_multipliers)} levels and config.model.patch_size is {model.patch_size}',
    )
    for multiplier in model.channel_multipliers:
        width = model.base_channels * multiplier
        for field in ('norm_groups', 'num_heads'):
            _check(
                width % model[field] == 0,
                f'config.model.{field}={model[field]} does not divide a level of {width} channels '
                f'(config.model.base_channels={model.base_channels} times {multiplier})',
            )


def validate_devices(config: ConfigDict, devices: int) -> None:
    """Refuses batches that do not divide over the devices.

    Raises:
      UserError: one sentence naming the field.
    """
    _check(devices % config.mesh.fsdp == 0, f'config.mesh.fsdp={config.mesh.fsdp} does not divide {devices} devices')
    micro_batch = config.data.batch_size // config.train.grad_accumulation
    _check(
        micro_batch % devices == 0,
        f'config.data.batch_size={config.data.batch_size} (in config.train.grad_accumulation='
        f'{config.train.grad_accumulation} micro-batches) does not divide over {devices} devices',
    )
    _check(
        config.sample.batch_size % devices == 0,
        f'config.sample.batch_size={config.sample.batch_size} does not divide over {devices} devices',
    )


def _check(holds: bool, sentence: str) -> None:
    if not holds:
        raise UserError(sentence)
