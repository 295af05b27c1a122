"""Class-conditional DDPM on scikit-learn's 1,437 training digits (8x8 pixels, included, no download).

python main.py --config=configs/ddpm_digits.py
  Hardware: two CPU cores (any accelerator works too)
  Hours: 0.1
  Expect: a classifier of real digits recognises at least 90% of 1,000 samples with a confidence over 0.9
"""

from jaxgen import config


def get_config():
    """Return a config with a network of a million parameters that trains in less than eight minutes."""
    c = config.base()
    c.data.name = 'digits'
    c.data.batch_size = 64
    c.model.conditional = True
    c.model.base_channels = 32
    c.model.channel_multipliers = (1, 2)
    c.model.num_res_blocks = 1
    c.model.attention_resolutions = (4,)
    c.model.norm_groups = 8
    c.model.dropout = 0.0
    c.optimizer.learning_rate = 2e-3
    c.optimizer.warmup_steps = 100
    c.optimizer.ema_decay = 0.998
    c.train.steps = 2000
    c.mesh.cpu_devices = 2
    c.checkpoint.every = 250
    c.sample.every = 500
    c.sample.num = 100
    c.sample.batch_size = 100
    c.evaluation.extractor = 'judge'  # Inception was not trained on images of 8x8 pixels
    c.evaluation.num = 1000
    return c
