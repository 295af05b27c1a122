"""DDPM on CIFAR-10: the recipe of Ho et al. 2020, 35,746,307 parameters, and variants for two CPU cores and a GPU.

python main.py --config=configs/ddpm_cifar.py
  Hardware: an accelerator (the paper: TPU v3-8, 21 steps/s)
  Hours: 10.6 for 800,000 steps at the paper's 21 steps/s; not yet run to its end with jaxgen
  Expect: FID 3.17 against the 50,000 training images (reported in the paper)

python main.py --config=configs/ddpm_cifar.py:edm
  Hardware: two CPU cores
  Hours: 1.5 at 120 images/s, with nothing else on the cores
  Expect: FID 51.7 and 63% recognised as the requested class, 10,000 images against the 50,000 training images
    (docs/results/compare_cifar.md)

python main.py --config=configs/ddpm_cifar.py:cpu
  Hardware: two CPU cores
  Hours: 2.7 at 52 images/s on cores without AVX-512; an estimated 1.2 on cores with it, at the 120 images/s of edm
  Expect: FID 54 and 69% recognised as the requested class, where edm has 66 and 63%; 2,000 images against 5,000
    (docs/results/ddpm_cifar.md); the model in pretrained/ddpm_cifar

python main.py --config=configs/ddpm_cifar.py:guide
  Hardware: two CPU cores
  Hours: 0.05 at 240 images/s
  Expect: a worse model to guide edm with: --mode=sample --config.sample.guide=runs/ddpm_cifar-guide; an early snapshot of
    the same run guides better (docs/results/guidance.md)

python main.py --config=configs/ddpm_cifar.py:consistency
  Hardware: two CPU cores
  Hours: 0.8 at 95 images/s, with nothing else on the cores
  Expect: from the model of edm in runs/ddpm_cifar-edm one whose KID with two network calls (0.061) is near that of the model with
    fifteen without guidance (0.054); one call is not enough (docs/results/few_calls.md)

python main.py --config=configs/ddpm_cifar.py:flagship
  Hardware: one GPU
  Hours: 0.15, with the number of steps that python -m jaxgen.cli.flagship --minutes=8 (make flagship) sets
  Expect: not yet run on a GPU

python main.py --config=configs/ddpm_cifar.py:cnn
  Hardware: two CPU cores
  Hours: not yet run to its end
  Expect: a lower loss than edm after 20,000 images; neither shows objects by then (docs/results/ddpm_cifar_networks.md)

python main.py --config=configs/ddpm_cifar.py:one_class
  Hardware: two CPU cores, or a GPU
  Hours: 0.45, estimated from 120 images/s; on an H100 under 7 minutes
  Expect: FID 112 for dogs and 99 for horses, 5,000 images against the 5,000 of the class; 59% and 51% recognised as the class
    (docs/results/one_class.md)
"""

from jaxgen import config
from jaxgen.errors import UserError


def get_config(variant: str = ''):
    """Return the paper's recipe, or a variant of it.

    ``edm`` (1,585,116 parameters) is class-conditional and works on 2x2 patches. ``cpu`` trains the same network with Muon and
    a learning rate that falls to 0 over the last third. ``cnn`` (722,412) has no down- and upsampling and is there to compare
    with ``edm``: its step is as much work, within 4%. ``flagship`` (6,475,011) works on single pixels;
    ``jaxgen.cli.flagship`` sets its number of steps. ``one_class`` is ``edm`` for one class, dogs or those of
    ``data.classes``. ``guide`` (401,460) is ``edm`` with half the width and a fifteenth of the images, for autoguidance.
    ``consistency`` is ``edm`` tuned to few calls (Geng et al. 2024).
    """
    c = config.base()
    c.data.random_flip = True
    if variant == 'edm':
        c.data.batch_size = 32
        c.model.conditional = True
        c.model.patch_size = 2
        c.model.base_channels = 48
        c.model.channel_multipliers = (1, 2)
        c.model.norm_groups = 16
        c.model.num_res_blocks = 1
        c.model.attention_resolutions = (8,)
        c.model.dropout = 0.0
        c.diffusion.schedule = 'edm'
        c.diffusion.parameterisation = 'edm'
        c.diffusion.label_dropout = 0.1
        c.optimizer.learning_rate = 8e-4
        c.optimizer.warmup_steps = 500
        c.optimizer.ema_decay = 0.999
        c.optimizer.ema_lengths = (0.05, 0.1)
        c.optimizer.ema_snapshot_every = 500
        c.train.steps = 20_000
        c.train.log_every = 100
        c.mesh.cpu_devices = 2
        c.checkpoint.every = 500
        c.sample.every = 2000
        c.sample.sampler = 'dpmpp_2m'
        c.sample.num_steps = 15
        c.sample.guidance_scale = 2.5
    elif variant == 'cpu':
        c = get_config('edm')
        c.train.steps = 16_000
        c.optimizer.name = 'muon'
        c.optimizer.learning_rate = 1.6e-3
        c.optimizer.warmup_steps = 200
        c.optimizer.decay = 'linear'
        c.optimizer.cooldown_steps = 5500
        c.sample.every = 4000
    elif variant == 'flagship':
        c.data.batch_size = 512
        c.model.conditional = True
        c.model.dtype = 'bfloat16'
        c.model.base_channels = 64  # in bfloat16 the weights are 13 MB
        c.model.channel_multipliers = (1, 2, 2)
        c.model.norm_groups = 16
        c.model.dropout = 0.1
        c.diffusion.schedule = 'edm'
        c.diffusion.parameterisation = 'edm'
        c.diffusion.label_dropout = 0.1
        c.optimizer.learning_rate = 1e-3
        c.optimizer.warmup_steps = 500
        c.optimizer.decay = 'cosine'
        c.optimizer.ema_decay = 0.999
        c.train.steps = 12_000
        c.train.resident_data = True
        c.train.steps_per_dispatch = 20
        c.sample.batch_size = 500
        c.sample.sampler = 'heun'
        c.sample.num_steps = 18
        c.sample.guidance_scale = 1.5
    elif variant == 'cnn':
        c = get_config('edm')
        c.model.name = 'cnn'
        c.model.num_blocks = 13
    elif variant == 'guide':
        c = get_config('edm')
        c.model.base_channels = 24
        c.model.norm_groups = 8
        c.train.steps = 1300
    elif variant == 'consistency':
        c = get_config('edm')
        c.diffusion.parameterisation = 'consistency'
        c.diffusion.consistency_q = 256.0  # one stage, as close as the paper's last one: its recipe of an hour
        c.train.init_from = 'runs/ddpm_cifar-edm'
        c.train.steps = 8000
        c.optimizer.learning_rate = 1e-4
        c.optimizer.warmup_steps = 0
        c.optimizer.grad_clip_norm = None
        c.optimizer.ema_decay = 0.9993
        c.sample.sampler = 'consistency'
        c.sample.num_steps = 2
        c.sample.guidance_scale = 1.0
    elif variant == 'one_class':
        c = get_config('edm')
        c.data.classes = ('dog',)
        c.model.conditional = False
        c.diffusion.label_dropout = 0.0
        c.sample.guidance_scale = 1.0
        c.train.steps = 6000
        c.sample.every = 500
    elif variant:
        raise UserError(
            f'configs/ddpm_cifar.py has no variant {variant!r}; it has edm, cpu, guide, consistency, flagship, cnn '
            f'and one_class'
        )
    return c
