"""A classifier of CIFAR-10 that evaluates generated images: airbench94 (Jordan 2024) with a fixed first layer.

python main.py --config=configs/judge_cifar.py
  Hardware: two CPU cores
  Hours: 1.2 to 1.6 at 70 to 95 images/s with nothing else running; 400,384 images of 0.68 GFLOP each
  Expect: 93.3% of the 10,000 test images recognised, each by the mean over the image and its mirror image
    (python -m jaxgen.apps.publish_classifier runs/judge_cifar OUT.safetensors prints it)
"""

from jaxgen import config


def get_config():
    """Return a config with 1,971,328 parameters, eight epochs, and half the batch size and learning rate of airbench94."""
    c = config.base('judge')
    c.data.batch_size = 512
    c.optimizer.learning_rate = 0.75
    c.optimizer.warmup_steps = 180
    c.optimizer.decay_steps = 782
    c.train.steps = 782
    c.train.log_every = 10
    c.mesh.cpu_devices = 2
    c.checkpoint.every = 20
    return c
