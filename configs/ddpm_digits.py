from jaxgen import config


def get_config():
    c = config.base()
    c.data.name = 'digits'
    c.data.batch_size = 64
    c.model.conditional = True
    c.model.base_channels = 32
    c.model.channel_multipliers = (1, 2)
    c.model.attention_resolutions = (4,)
    c.model.norm_groups = 8
    c.model.dropout = 0.0
    c.model.num_res_blocks = 1
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup_steps = 100
    c.optimizer.ema_decay = 0.998
    c.train.steps = 2000
    c.train.log_every = 100
    c.mesh.cpu_devices = 2
    c.checkpoint.every = 500
    c.sample.every = 1000
    c.sample.num = 100
    c.sample.batch_size = 100
    return c
