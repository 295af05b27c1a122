"""The smallest configs that do everything: a few thousand parameters on 8x8 digits, compiled in seconds."""

from jaxgen import config


def tiny_config(family='ddpm', /, **fields):
    """``fields`` by dotted name, as in ``tiny_config('dcgan', **{'train.steps': 4})``."""
    c = config.base(family)
    c.data.name = 'digits'
    c.data.batch_size = 16
    c.model.base_channels = 8
    c.model.conditional = True
    c.optimizer.ema_decay = 0.9
    c.train.steps = 12
    c.train.log_every = 4
    c.checkpoint.every = 4
    c.sample.num = 16
    c.sample.batch_size = 16
    c.sample.every = 6
    if family == 'ddpm':
        c.model.channel_multipliers = (1,)
        c.model.num_res_blocks = 1
        c.model.attention_resolutions = ()
        c.model.norm_groups = 4
        c.diffusion.timesteps = 20
        c.optimizer.warmup_steps = 2
        c.sample.num_steps = 4
    if family == 'dcgan':
        c.model.latent_size = 6
    c.update_from_flattened_dict(fields)
    return c
