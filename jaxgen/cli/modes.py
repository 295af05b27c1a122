"""The modes of the command line: for each a function, the config sections that it loads, a help text and an example."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterable

from etils import epath
from ml_collections import ConfigDict

from jaxgen.apps.config import MODEL, SHARED, Config
from jaxgen.apps.data import resolve
from jaxgen.apps.devices import set_up
from jaxgen.apps.rules import validate
from jaxgen.errors import UserError
from jaxgen.runtime import progress


@dataclasses.dataclass(frozen=True)
class Mode:
    """An entry of ``MODES``.

    Attributes:
      target: the function ``(config, workdir)`` as ``module:name``. It is imported when the mode runs, because some modes need
        packages that take long to import or may be missing.
      help: one sentence on what the mode does.
      example: a command line that works.
      sections: the config sections that the mode loads in addition to those of the model.
      starts_devices: whether this process uses the devices itself; if not, its child processes do.
      writes: whether the mode writes to the run directory.
      trains: whether the mode takes training steps, in this process or in child processes.
      shows_data: whether the mode shows the images as they are now, instead of as they were when the run began.
      spares_published: whether the mode writes to ``runs/<name>`` for a model under ``pretrained/``.
      validates: whether the config is validated as it is; if not, the mode validates the configs that it derives from it.
    """

    target: str
    help: str
    example: str
    sections: tuple[str, ...] = ()
    starts_devices: bool = True
    writes: bool = True
    trains: bool = False
    shows_data: bool = False
    spares_published: bool = False
    validates: bool = True

    @property
    def batch_sizes(self) -> str:
        """The fields that decide how much memory the mode needs."""
        evaluates = 'evaluation' in self.sections and not self.trains
        fields = ['data'] * self.trains + ['sample'] + ['evaluation'] * evaluates
        return ' or '.join(f'config.{section}.batch_size' for section in fields)

    @property
    def function(self) -> Callable[[Config, epath.Path], None]:
        """The function of the mode."""
        module, _, name = self.target.partition(':')
        return getattr(importlib.import_module(module), name)


def config_of(mode: Mode, draft: ConfigDict) -> Config:
    """Return the config of a mode: the sections of a draft that it loads.

    Raises:
      UserError: if a field refuses its value.
    """
    return Config.from_tree(draft.to_dict(), mode.sections)


def require_read(name: str, fields: Iterable[str]) -> None:
    """Refuse command-line fields that the mode does not read, since the user must have meant another mode.

    Args:
      name: the name of the mode.
      fields: the fields that the command line changes.

    Raises:
      UserError: naming the modes that read the first such field.
    """
    for field in fields:
        section = field.partition('.')[0]
        if section in MODEL or section not in SHARED or section in MODES[name].sections:
            continue
        readers = [f'--mode={reader}' for reader, mode in MODES.items() if section in mode.sections]
        raise UserError(
            f'--config.{field} has no effect with --mode={name}: leave it out, or choose {" or ".join(readers)}'
        )


def run(name: str, config: Config, workdir: epath.Path) -> None:
    """Check the config, set JAX up for it, and run a mode.

    Raises:
      UserError: if the config cannot work.
    """
    mode = MODES[name]
    with progress.shown():
        config = resolve(config, None if mode.shows_data else workdir)
        if mode.validates:
            validate(config)
        if mode.starts_devices:
            set_up(config)
        mode.function(config, workdir)


MODES = {
    'train': Mode(
        'jaxgen.apps.train:train',
        'train a model, or resume from the newest checkpoint of the run directory (the default)',
        'python main.py --config=configs/ddpm_digits.py',
        sections=('evaluation', 'log'),
        trains=True,
    ),
    'finetune': Mode(
        'jaxgen.apps.train:finetune',
        'fine-tune the diffusion model of another run directory, with low-rank factors or as a whole',
        'python main.py --config=runs/ddpm_digits/config.json --mode=finetune --config.finetune.base=runs/ddpm_digits '
        '--config.data.classes=3 --workdir=runs/threes',
        sections=('evaluation', 'log'),
        trains=True,
    ),
    'data': Mode(
        'jaxgen.apps.data_report:run',
        'show the training images with their labels before and after augmentation, and their statistics',
        'python main.py --config=configs/dcgan_dogs.py --mode=data --config.gan.augment=color',
        shows_data=True,
    ),
    'evaluate': Mode(
        'jaxgen.apps.evaluate.run:run',
        'FID and other metrics of the newest checkpoint, or of any two sets: folders, .npz files, splits of a data set',
        'python main.py --config=configs/ddpm_cifar.py --mode=evaluate --config.evaluation.generated=cifar10:test',
        sections=('evaluation',),
    ),
    'compare': Mode(
        'jaxgen.apps.compare.run:run',
        'evaluate several trained models under one protocol, and show the results in one report.html',
        'python main.py --config=configs/ddpm_cifar.py --mode=compare --config.compare.workdirs=runs/ddpm_cifar,runs/dcgan_cifar',
        sections=('compare', 'evaluation'),
    ),
    'sweep': Mode(
        'jaxgen.apps.sweep.run:run',
        'train a model with each of several settings and seeds, and report which setting is best; a stopped sweep resumes',
        "python main.py --config=configs/ddpm_digits.py --mode=sweep --config.sweep='timesteps:100,1000;width:16,32' "
        '--config.sweep.images=20000 --config.sweep.seeds=3',
        sections=('sweep', 'evaluation'),
        starts_devices=False,
        validates=False,  # the config may work only together with a setting, so each setting is validated with it
        trains=True,
    ),
    'sample': Mode(
        'jaxgen.apps.sample:run',
        'sample images from the newest checkpoint: a grid, a folder of PNGs and an .npz under samples/',
        'python main.py --config=configs/ddpm_digits.py --mode=sample --config.sample.num=100',
        spares_published=True,
    ),
    'likelihood': Mode(
        'jaxgen.apps.likelihood.likelihood:run',
        'estimate a bound on the bits per dimension of test images under a diffusion model',
        'python main.py --config=configs/ddpm_cifar.py --mode=likelihood --config.likelihood.num=1000',
        sections=('likelihood', 'evaluation'),
        spares_published=True,
    ),
    'edit': Mode(
        'jaxgen.apps.edit.run:run',
        'edit an image with a diffusion model: --config.edit.kind=image2image, inpaint, interpolate or transfer',
        'python main.py --config=configs/ddpm_cifar.py --mode=edit --config.edit.input=dog.jpg --config.edit.strength=0.5',
        sections=('edit',),
        spares_published=True,
    ),
    'interpret': Mode(
        'jaxgen.apps.interpret.run:run',
        'find the channels that respond to a class, and show what they do: ablations and synthesised images',
        'python main.py --config=configs/ddpm_digits.py --mode=interpret --config.interpret.classes=3,8',
        sections=('interpret', 'evaluation'),
        spares_published=True,
    ),
    'demo': Mode(
        'jaxgen.apps.demo.run:run',
        'serve a page in the browser on which trained models sample, edit and are compared',
        'python main.py --config=configs/ddpm_digits.py --mode=demo',
        sections=('demo', 'edit'),
        writes=False,
    ),
    'benchmark': Mode(
        'jaxgen.apps.benchmark.run:run',
        'measure the speed of training, sampling, Inception features and the input pipeline against PyTorch',
        'python main.py --config=configs/ddpm_cifar.py --mode=benchmark --config.data.batch_size=8',
        sections=('benchmark', 'evaluation'),
        starts_devices=False,
        trains=True,
    ),
    'compile': Mode(
        'jaxgen.apps.compile.run:run',
        'compile the training step and the sampler for a TPU slice without having one, and report memory, work and time',
        'python main.py --config=configs/ddpm_cifar.py --mode=compile --config.compile.topology=v5e:2x4',
        sections=('compile',),
        starts_devices=False,
        trains=True,
    ),
    'import': Mode(
        'jaxgen.apps.interop.workdirs:import_weights',
        "make a run directory from the weights of a diffusers UNet2DModel, of the PyTorch tutorial's DCGAN or of R3GAN",
        'python main.py --config=configs/ddpm_cifar.py --mode=import --config.interop.path=google/ddpm-cifar10-32 '
        '--workdir=runs/pretrained',
        sections=('interop',),
    ),
    'export': Mode(
        'jaxgen.apps.interop.workdirs:export_weights',
        'write the newest checkpoint for PyTorch (diffusers or the tutorial), or as a small run directory of jaxgen',
        'python main.py --config=runs/pretrained/config.json --mode=export --config.interop.path=exported',
        sections=('interop',),
        writes=False,
    ),
}
