"""A classifier of scikit-learn's digits (8x8 pixels, included, no download) that evaluates generated digits.

python main.py --config=configs/judge_digits.py
  Hardware: two CPU cores
  Hours: 0.01
  Expect: at least 98% of the 360 test images recognised
"""

from jaxgen import config


def get_config():
    """Return a config with a network of two blocks; digits are not mirrored."""
    c = config.base('judge')
    c.data.name = 'digits'
    c.data.batch_size = 128
    c.data.random_flip = False
    c.model.widths = (32, 64)
    c.model.translation = 1
    c.optimizer.learning_rate = 0.2
    c.optimizer.warmup_steps = 50
    c.optimizer.decay_steps = 300
    c.train.steps = 300
    c.train.log_every = 50
    c.mesh.cpu_devices = 2
    c.checkpoint.every = 100
    return c
