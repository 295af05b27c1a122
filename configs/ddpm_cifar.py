from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    c = config.base()
    c.data.random_flip = True
    if variant == 'small':
        c.data.batch_size = 32
        c.model.patch_size = 2
        c.model.base_channels = 64
        c.model.channel_multipliers = (1, 2, 2)
        c.model.num_res_blocks = 1
        c.model.attention_resolutions = (8,)
        c.model.dropout = 0.0
        c.optimizer.learning_rate = 5e-4
        c.optimizer.warmup_steps = 500
        c.optimizer.ema_decay = 0.999
        c.train.steps = 10_000
        c.train.log_every = 50
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 250
        c.sample.every = 500
        c.sample.num = 64
    elif variant:
        raise UserError(f'configs/ddpm_cifar.py has no variant {variant!r}; it has small')
    return c
