"""The fields of a config with their defaults, and the checks that need neither data nor a device."""

from __future__ import annotations

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from jaxgen import methods
from jaxgen.apps.benchmark.variants import CASES
from jaxgen.apps.same_run import flatten
from jaxgen.data.dataset import SOURCES
from jaxgen.errors import check, names, pick
from jaxgen.metrics.registry import METRICS
from jaxgen.models.inception import RESIZES
from jaxgen.optim.schedules import DECAYS

SEEDS = 'seed', 'evaluation.seed', 'interpret.seed'


def base(family: str = 'ddpm') -> ConfigDict:
    """Return the fields of every experiment of a method, with their defaults; a config file changes what differs.

    The section ``model`` and the fields of one method alone come from its adapter in ``methods.CONFIGS``. Several names in
    one field are written ``dog,horse``.
    """
    c = ConfigDict()
    c.family = family
    c.seed = 0

    c.data = ConfigDict()
    c.data.name = 'cifar10'
    c.data.batch_size = 128  # the global batch, over all devices and processes
    c.data.classes = ''  # names to keep; empty keeps all
    c.data.max_examples = 0  # keep the first so many; 0 keeps all
    c.data.image_size = 0  # side in pixels; 0 is the data set's own
    c.data.crop = ''  # of pictures that are not square: the data set's first way, or another of its ways
    c.data.random_flip = False

    c.optimizer = ConfigDict()
    c.optimizer.learning_rate = 2e-4
    c.optimizer.beta1 = 0.9
    c.optimizer.warmup_steps = 0  # steps over which the learning rate rises from 0
    c.optimizer.decay = 'none'  # how the learning rate falls: none, cosine, linear (at the end) or triangular
    c.optimizer.decay_steps = placeholder(int)  # step at which the decay ends; None is train.steps
    c.optimizer.cooldown_steps = placeholder(int)  # length of decay=linear; None is a fifth of decay_steps
    c.optimizer.grad_clip_norm = 0.0  # 0 does not clip
    c.optimizer.ema_decay = 0.9999  # 0 keeps no average

    c.train = ConfigDict()
    c.train.steps = 800_000
    c.train.log_every = 100
    c.train.steps_per_dispatch = 1  # steps run on the device between two returns to Python
    c.train.grad_accumulation = 1  # micro-batches a step
    c.train.profile = 0  # a profile of five dispatches from this step on is left in the workdir's profile/; 0 for none
    c.train.resident_data = False  # keep the whole data set in the memory of each device, and send only its order
    c.train.deterministic = False  # on GPUs: the same bits in every run; without it, sums may be taken in any order
    c.train.prng = 'threefry2x32'  # or rbg: faster on TPU, but other bits on other shardings

    c.mesh = ConfigDict()
    c.mesh.fsdp = 1  # devices over which each parameter is sharded; the rest hold copies
    c.mesh.distributed = False  # one of several processes with one command: a TPU pod slice, Slurm; see processes.py
    c.mesh.cpu_devices = 0  # virtual devices where there is only a CPU; 0 leaves it to XLA_FLAGS (one, by default)
    c.mesh.keep_memory = False  # on CPUs: keep what a step frees; see memory.py for when that is faster

    c.checkpoint = ConfigDict()
    c.checkpoint.every = 5000
    c.checkpoint.keep = 3
    c.checkpoint.keep_every = 0  # checkpoints at multiples of this stay for ever; 0 for none
    c.checkpoint.restore = 'newest'  # or best (see evaluation.every), to sample and evaluate

    c.sample = ConfigDict()
    c.sample.num = 64
    c.sample.batch_size = 64
    c.sample.classes = ''  # classes to draw, in turn; empty draws all in turn
    c.sample.ema = True
    c.sample.every = 5000  # steps between the grids of training
    c.sample.name = 'samples'  # of the files that mode=sample writes

    c.sample.adapter = ''  # an adapter.safetensors to put on the workdir's model
    c.sample.adapter_scale = 1.0  # of what an adapter, or fine-tuning, changes: 0 is the base

    c.finetune = ConfigDict()
    c.finetune.base = ''  # the workdir of the model to fine-tune
    c.finetune.base_hash = ''  # of its weights: filled in
    c.finetune.method = 'lora'  # or full: every parameter
    c.finetune.rank = 8  # of lora's factors
    c.finetune.alpha = 8.0  # lora's updates are alpha / rank times their product
    c.finetune.targets = 'attention'  # kinds of layers (attention, dense, conv, label) or names, as in middle_0/conv1

    c.evaluation = ConfigDict()
    c.evaluation.generated = ''  # a folder, an .npz or a data set's split; empty: the workdir's model draws
    c.evaluation.reference = ''  # likewise; empty: the training split of data.name
    c.evaluation.num = 50_000  # images generated, or taken of what is given
    c.evaluation.reference_num = 0  # images taken of the reference; 0 takes all
    c.evaluation.seed = 0  # of what is generated: no sample of training has it
    c.evaluation.metrics = 'fid,kid,inception_score,precision_recall,fid_per_class'
    c.evaluation.extractor = 'inception'  # or judge
    c.evaluation.inception_weights = ''  # a .pth; empty: the published one, downloaded once
    c.evaluation.resize = 'tf1'  # to Inception's 299x299: tf1, as published figures have it, or clean, antialiased
    c.evaluation.judge = ''  # a classifier's .safetensors; empty: the one that comes with jaxgen, if any
    c.evaluation.batch_size = 0  # images that a network looks at at once; 0 is 8 a device on a CPU, 64 on others
    c.evaluation.every = 0  # steps between evaluations in training, after which the best checkpoint is kept; 0 for none

    c.compare = ConfigDict()
    c.compare.workdirs = ''  # of trained models, as in runs/ddpm_cifar,runs/dcgan_cifar
    c.compare.seeds = 1  # with which each is judged, from evaluation.seed on

    c.sweep = ''  # fields and values to try, as in timesteps:100,1000;width:32,64; see sweep/grammar.py
    c.sweeps = ConfigDict()
    c.sweeps.images = 0  # that each run of the sweep is trained on, whatever its batch; 0: train.steps as it is
    c.sweeps.seeds = 1  # with which each setting is run, from seed on
    c.sweeps.figure = 'kid'  # that says which setting is best

    c.likelihood = ConfigDict()
    c.likelihood.split = 'test'  # of data.name
    c.likelihood.num = 1000  # images; 0 takes all
    c.likelihood.terms = 0  # timesteps to judge, at most; 0 takes all, and 100 levels of a continuous schedule

    c.edit = ConfigDict()
    c.edit.kind = 'image2image'  # or inpaint, interpolate, transfer
    c.edit.input = ''  # a picture, or an image of a data set, as in cifar10:test:17
    c.edit.other = ''  # likewise: where an interpolation ends
    c.edit.mask = ''  # a picture of the network's size, white where it is to paint
    c.edit.strength = 0.6  # of the noise, 0 .. 1: how much of the picture may change
    c.edit.source_class = ''  # what a picture is of that is transferred to sample.classes
    c.edit.num = 8  # images to make
    c.edit.inversion_iterations = 3  # fixed-point steps a level on the way back to noise

    c.interpret = ConfigDict()
    c.interpret.parts = 'ablation,synthesis'  # what follows the atlas and the tests of its channels; empty for nothing
    c.interpret.seed = 0  # of noise, permutations and pictures
    c.interpret.num = 2000  # training images of the atlas; 0 takes all
    c.interpret.tested = 500  # of them, whose activations are kept one by one and tested
    c.interpret.levels = 5  # of noise
    c.interpret.permutations = 1000
    c.interpret.bins = 6  # of activations, for the mutual information
    c.interpret.false_discoveries = 0.05  # rate that is allowed among the channels said to be above chance
    c.interpret.layer = ''  # among whose channels a class has its own, as in up1_0; empty: all layers
    c.interpret.classes = ''  # whose channels are multiplied; empty: all
    c.interpret.top_k = 8  # channels of each of them
    c.interpret.factors = (0.0, 2.0)  # that channels are multiplied by: 0 ablates, more than 1 amplifies
    c.interpret.controls = 3  # random draws of as many channels
    c.interpret.images_per_class = 20  # that are drawn each time
    c.interpret.channels = (
        ''  # to make pictures for, as in up1_0:3,middle_0:17; empty: the most selective of each layer
    )
    c.interpret.ascent_steps = 256
    c.interpret.smoothness = 2.0  # weight of the total variation
    c.interpret.strengths = (0.2, 0.4, 0.6)  # of the noise on those pictures, from which they are denoised
    c.interpret.variations = 20  # images drawn from each picture and strength

    c.benchmark = ConfigDict()
    c.benchmark.cases = 'train,sample,features,data'
    c.benchmark.variants = ''  # names of those to run, in this order, as in float32,eager,channels-last; empty runs all
    c.benchmark.rounds = 3  # in each of which every variant has a process of its own
    c.benchmark.seconds = 10  # minimum time to measure each variant, in seconds
    c.benchmark.minutes = placeholder(float)  # start no variant after this time, in minutes; None sets no limit
    c.benchmark.steps_per_dispatch = 8  # of the variant that takes several
    c.benchmark.precision = 'highest'  # of products of float32 on both sides; or tensorfloat32, which GPUs have
    c.benchmark.python = ''  # the interpreter of PyTorch's side, if it is in another environment
    c.benchmark.baseline = ''  # the benchmark.json of another machine, where PyTorch has no backend for this device
    c.benchmark.trace = False  # leave profiles of jaxgen's variants in the workdir's profile/

    c.compile = ConfigDict()
    c.compile.topology = 'v5e:2x4'  # chips of a TPU slice, or v5p:2x2x1, v6e:2x2 ...
    c.compile.largest_batch = False  # compile with other batches, too, until the largest that fits is known

    c.interop = ConfigDict()
    c.interop.path = ''  # of mode=import and mode=export: a folder; to import also a name on the Hugging Face Hub
    c.interop.format = 'pytorch'  # of mode=export; or jaxgen: bfloat16 beside the config, to use as a workdir
    c.demo = ConfigDict()
    c.demo.workdirs = ''  # that the page shows; empty: that of --workdir and all under runs/ and pretrained/
    c.demo.host = '127.0.0.1'  # the address to listen at; 0.0.0.0 lets the whole network in
    c.demo.port = 7860

    methods.CONFIGS[family].fields(c)
    return c


def validate(config: ConfigDict) -> None:
    """Refuses a config that cannot work, before anything is loaded or compiled.

    Raises:
      UserError: one sentence naming the field.
    """
    validate_fields(config)
    source = SOURCES[config.data.name]
    methods.CONFIGS[config.family].check(config, config.data.image_size or source.image_size)


def validate_fields(config: ConfigDict) -> None:
    """Refuse values that are out of range or do not go together, leaving out the checks of a single method.

    Raises:
      UserError: one sentence naming the field.
    """
    pick(config.family, methods.METHODS, 'config.family')
    flat = flatten(config.to_dict())
    other = set(flatten(base(config.family).to_dict())) ^ set(flat)
    check(
        not other,
        f'config.family={config.family} does not fit the fields of the config file (config.{min(other, default="")}): '
        f'choose another --config',
    )
    may_be_0 = (
        'data.max_examples',
        'data.image_size',
        'optimizer.warmup_steps',
        'mesh.cpu_devices',
        'checkpoint.keep_every',
        'evaluation.reference_num',
        'evaluation.batch_size',
        'evaluation.every',
        'sweeps.images',
        'benchmark.seconds',
        'likelihood.num',
        'likelihood.terms',
        'interpret.num',
        'train.profile',
        'model.attention_head_dim',
        'model.freq_shift',
        'model.downsample_padding',
    )
    for name, value in flat.items():
        if isinstance(value, int) and not isinstance(value, bool) and name not in SEEDS:
            least = 0 if name in may_be_0 else 1
            check(value >= least, f'config.{name}={value} must be at least {least}')
    for name in SEEDS:
        check(0 <= flat[name] < 2**32, f'config.{name}={flat[name]} must lie between 0 and 2**32 - 1')
    check(
        config.optimizer.learning_rate > 0,
        f'config.optimizer.learning_rate={config.optimizer.learning_rate} must be positive',
    )
    check(
        config.optimizer.grad_clip_norm >= 0,
        f'config.optimizer.grad_clip_norm={config.optimizer.grad_clip_norm} must not be negative',
    )
    _check_decay(config)
    for name in ('optimizer.beta1', 'optimizer.ema_decay'):
        check(0 <= flat[name] < 1, f'config.{name}={flat[name]} must be at least 0 and below 1')

    source = SOURCES[pick(config.data.name, SOURCES, 'config.data.name')]
    pick(config.model.dtype, ('float32', 'bfloat16'), 'config.model.dtype')
    pick(config.checkpoint.restore, ('newest', 'best'), 'config.checkpoint.restore')
    pick(config.evaluation.extractor, ('inception', 'judge'), 'config.evaluation.extractor')
    pick(config.evaluation.resize, RESIZES, 'config.evaluation.resize')
    pick(config.interop.format, ('pytorch', 'jaxgen'), 'config.interop.format')
    pick(config.benchmark.precision, ('highest', 'tensorfloat32'), 'config.benchmark.precision')
    for case in names(config.benchmark.cases):
        pick(case, CASES, 'config.benchmark.cases:')
    for metric in names(config.evaluation.metrics):
        pick(metric, METRICS, 'config.evaluation.metrics:')
    pick(config.train.prng, ('threefry2x32', 'rbg'), 'config.train.prng')
    _check_finetune(config)
    classes = [pick(c, source.class_names, 'config.data.classes:') for c in names(config.data.classes)]
    check(len(set(classes)) == len(classes), f'config.data.classes={config.data.classes} names a class twice')
    if config.data.crop:
        pick(config.data.crop, source.crops, f'config.data.crop: for {config.data.name}')
    if not config.finetune.base and not config.sample.adapter:  # else they are those of a base, too
        for c in names(config.sample.classes):
            pick(c, classes or source.class_names, 'config.sample.classes:')
    check(
        config.model.conditional or not config.sample.classes,
        'config.sample.classes needs a network that knows classes: set config.model.conditional=True and train, '
        'or leave it empty',
    )
    check(
        config.data.batch_size % config.train.grad_accumulation == 0,
        f'config.data.batch_size={config.data.batch_size} does not divide into '
        f'config.train.grad_accumulation={config.train.grad_accumulation} micro-batches',
    )


def _check_decay(config: ConfigDict) -> None:
    pick(config.optimizer.decay, DECAYS, 'config.optimizer.decay')
    if config.optimizer.decay == 'none':
        return
    optimizer = config.optimizer
    unset = optimizer.decay_steps is None
    decay_steps = config.train.steps if unset else optimizer.decay_steps
    end = f'config.{"train.steps" if unset else "optimizer.decay_steps"}={decay_steps}'
    check(
        optimizer.warmup_steps < decay_steps,
        f'config.optimizer.warmup_steps={optimizer.warmup_steps} must be below {end}, where the decay ends',
    )
    check(
        optimizer.decay != 'linear' or (optimizer.cooldown_steps or 1) <= decay_steps,
        f'config.optimizer.cooldown_steps={optimizer.cooldown_steps} must be at most {end}, where the decay ends',
    )


def _check_finetune(config: ConfigDict) -> None:
    how, scale = config.finetune, config.sample.adapter_scale
    tunable = ' or '.join(name for name, method in methods.METHODS.items() if method.supports.finetunes)
    for field, value in (('finetune.base', how.base), ('sample.adapter', config.sample.adapter)):
        check(
            not value or methods.METHODS[config.family].supports.finetunes,
            f'config.{field}={value} needs config.family={tunable}, and not {config.family}: choose another --config',
        )
    pick(how.method, ('lora', 'full'), 'config.finetune.method')
    check(bool(names(how.targets)), 'config.finetune.targets is empty: name layers, as in attention or attention,conv')
    check(how.alpha > 0, f'config.finetune.alpha={how.alpha} must be positive')
    check(0 <= scale <= 1, f'config.sample.adapter_scale={scale} must lie between 0 and 1')


def validate_devices(config: ConfigDict, devices: int) -> None:
    """Refuses batches that do not divide over the devices.

    Raises:
      UserError: one sentence naming the field.
    """
    check(devices % config.mesh.fsdp == 0, f'config.mesh.fsdp={config.mesh.fsdp} does not divide {devices} devices')
    micro_batch = config.data.batch_size // config.train.grad_accumulation
    check(
        micro_batch % devices == 0,
        f'config.data.batch_size={config.data.batch_size} (in config.train.grad_accumulation='
        f'{config.train.grad_accumulation} micro-batches) does not divide over {devices} devices',
    )
    for group in ('sample', 'evaluation'):
        size = config[group].batch_size
        check(size % devices == 0, f'config.{group}.batch_size={size} does not divide over {devices} devices')
