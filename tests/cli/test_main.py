"""The command line: what it refuses, in one sentence, with exit code 2 and nothing written; how each mode ends."""

import importlib
import pathlib
import signal
import subprocess
import sys

import pytest
from etils import epath

from jaxgen.cli import modes
from jaxgen.errors import UserError
from tests.tiny import UNET, tiny_config

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def main_here(monkeypatch, capsys):
    """Return a function that runs a command line in this process and returns its exit code and what it has printed."""
    command_line = importlib.import_module('main')
    monkeypatch.chdir(ROOT)
    on_sigterm = signal.getsignal(signal.SIGTERM)

    def run(*args):
        return command_line.main(['main.py', *args]), capsys.readouterr()

    yield run
    signal.signal(signal.SIGTERM, on_sigterm)


def test_help_explains_every_mode(main_here):
    for argument in ('--mode=help', '--help'):
        code, said = main_here(argument)
        assert code == 0
        for name, mode in modes.MODES.items():
            assert f'--mode={name}' in said.out and mode.example in said.out


@pytest.mark.parametrize(
    ('args', 'words'),
    [
        (['--config=configs/ddpm_digits.py', '--mode=trian'], "--mode 'trian' does not exist; did you mean train"),
        (
            ['--config=configs/ddpm_digits.py', '--config.data.bath_size=8'],
            '--config.data.bath_size does not exist; did you mean config.data.batch_size?',
        ),
        (['--config=configs/ddpm_digits.py', '--config.data.batch_size=many'], 'batch_size'),
        (
            ['--config=configs/ddpm_digits.py', '--config.data.batch_size=0'],
            'config.data.batch_size=0 must be at least 1',
        ),
        (['--config=configs/nothing.py'], 'configs/nothing.py'),
        (['--config=configs/ddpm_cifar.py:smal'], "has no variant 'smal'"),
        (['--config=configs/ddpm_digits.py', 'train'], "'train' is not a flag"),
        (['--wrkdir=x', '--config=configs/ddpm_digits.py'], 'wrkdir'),
        (['--config=configs/ddpm_digit.py', '--config.seed=3'], 'did you mean configs/ddpm_digits.py?'),
        (
            ['--config=configs/ddpm_digits.py', '--config.edit.num=3'],
            '--config.edit.num has no effect with --mode=train: leave it out, or choose --mode=edit or --mode=demo',
        ),
        (
            ['--config=configs/ddpm_digits.py', '--mode=sample', '--config.sweep=width:8'],
            '--config.sweep.settings has no effect with --mode=sample: leave it out, or choose --mode=sweep',
        ),
        (
            ['--config=configs/ddpm_digits.py', '--config.optimizer.learning_rate=inf'],
            'learning_rate=inf must be finite',
        ),
        (['--config=configs/ddpm_digits.py', f'--config.data.batch_size={10**30}'], 'is too large: it must be at most'),
        (['--config=configs/ddpm_digits.py', f'--config.data.image_size={10**30}'], 'is too large: it must be at most'),
        (['--config=configs/ddpm_digits.py', '--config.model.channel_multipliers=nan'], 'must be whole numbers'),
        (
            ['--config=configs/ddpm_digits.py', '--config.data.image_size=4096', '--config.data.batch_size=1000000'],
            'config.data.batch_size: 1,000,000 images of 4096x4096x1 take 62,500 GiB as float32, and at most 64 GiB are',
        ),
        (
            ['--config=configs/ddpm_digits.py', '--mode=finetune', '--config.finetune.base=~nobody_here/x'],
            "config.finetune.base=~nobody_here/x: there is no user 'nobody_here' here",
        ),
        ([], '--config=configs/NAME.py is missing'),
    ],
)
def test_refused_in_one_sentence(main_here, args, words, tmp_path):
    code, said = main_here(f'--workdir={tmp_path}/run', *args)
    assert code == 2, said
    lines = said.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith('jaxgen: ') and words in lines[0], said
    assert not (tmp_path / 'run').exists()


@pytest.fixture
def broken_mode(monkeypatch):
    """Return a function that makes every mode raise an error as soon as it runs."""

    def make(error):
        def fail(mode, config, workdir):
            raise error

        monkeypatch.setattr(modes.Mode, 'function', fail)
        monkeypatch.setattr(modes, 'set_up', lambda config: None)

    return make


@pytest.mark.parametrize('mode', modes.MODES)
def test_every_mode_can_be_interrupted(main_here, broken_mode, mode, tmp_path):
    broken_mode(KeyboardInterrupt())
    args = ['--config=configs/ddpm_digits.py', f'--mode={mode}', f'--workdir={tmp_path}']
    assert main_here(*args) == (130, ('', 'jaxgen: interrupted\n'))


@pytest.mark.parametrize('mode', modes.MODES)
def test_no_error_of_a_mode_ends_in_a_traceback(main_here, broken_mode, mode, tmp_path):
    broken_mode(ZeroDivisionError('division by zero'))
    code, said = main_here('--config=configs/ddpm_digits.py', f'--mode={mode}', f'--workdir={tmp_path}')
    assert code == 1 and len(said.err.splitlines()) == 2 and f'{tmp_path}/traceback.txt' in said.err
    assert 'ZeroDivisionError' in (tmp_path / 'traceback.txt').read_text()


@pytest.mark.parametrize(
    ('mode', 'fields'),
    [
        ('train', 'config.data.batch_size or config.sample.batch_size'),
        ('sample', 'config.sample.batch_size'),
        ('evaluate', 'config.sample.batch_size or config.evaluation.batch_size'),
        ('sweep', 'config.data.batch_size or config.sample.batch_size'),
    ],
)
def test_a_full_memory_names_the_batch_size(main_here, broken_mode, mode, fields):
    broken_mode(MemoryError('Unable to allocate 3 TiB'))
    code, said = main_here('--config=configs/ddpm_digits.py', f'--mode={mode}')
    assert code == 2 and said.err == (
        f'jaxgen: there is not enough memory (MemoryError: Unable to allocate 3 TiB): lower {fields}, or choose a smaller '
        f'model\n'
    )


@pytest.mark.parametrize('mode', ['train', 'sample', 'evaluate', 'edit', 'compare', 'compile'])
def test_a_workdir_that_is_a_file_is_refused(main_here, tmp_path, mode):
    (tmp_path / 'file').write_text('mine')
    code, said = main_here(f'--workdir={tmp_path}/file/run', '--config=configs/ddpm_digits.py', f'--mode={mode}')
    assert code == 2 and said.err == (
        f'jaxgen: --workdir={tmp_path}/file/run cannot be made, because {tmp_path}/file is a file: name another folder\n'
    )
    assert (tmp_path / 'file').read_text() == 'mine'


def test_a_process_that_is_refused_ends_with_2(tmp_path):
    args = [f'--workdir={tmp_path}/run', '--config=configs/ddpm_digits.py', '--config.data.batch_size=0']
    done = subprocess.run([sys.executable, 'main.py', *args], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == 'jaxgen: config.data.batch_size=0 must be at least 1\n'


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'data.batch_size': 12}, 'config.data.batch_size=12 .* does not divide over 8 devices'),
        ({'data.batch_size': 16, 'train.grad_accumulation': 4}, 'does not divide over 8 devices'),
        (
            {'data.batch_size': 16, 'train.grad_accumulation': 5},
            'does not divide into train.grad_accumulation=5',
        ),
        ({'sample.batch_size': 12}, 'config.sample.batch_size=12 does not divide over 8 devices'),
        ({'mesh.fsdp': 3}, 'config.mesh.fsdp=3 does not divide 8 devices'),
        ({'model.norm_groups': 3}, 'config.model.norm_groups=3 does not divide a level of 8 channels'),
        ({'model.num_heads': 3}, 'config.model.num_heads=3 does not divide'),
        ({'model.channel_multipliers': (1, 1, 1, 1, 1)}, 'config.data.image_size=8 does not divide by 16'),
        ({'model.channel_multipliers': ()}, 'config.model.channel_multipliers is empty'),
        ({'model.patch_size': 3}, 'config.data.image_size=8 does not divide by model.patch_size=3'),
        ({'model.pixel_channels': 8}, 'config.model.pixel_channels=8 is for a UNet on patches: set model.name=unet'),
        (
            {'model.pixel_channels': 8, 'model.patch_size': 2, 'model.name': 'dit'},
            'config.model.pixel_channels=8 is for',
        ),
        ({'model.name': 'unnet'}, "config.model.name 'unnet' does not exist; did you mean unet"),
        ({'model.dtype': 'float16'}, 'config.model.dtype'),
        ({'model.dropout': 1.0}, 'config.model.dropout=1.0 must be below 1'),
        ({'model.base_channels': 7}, 'config.model.base_channels=7 must be even'),
        ({'family': 'vae'}, "config.family 'vae' does not exist"),
        ({'family': 'dcgan'}, 'config.diffusion does not exist'),
        ({'data.crop': 'box'}, "config.data.crop 'box' does not exist; did you mean center"),
        ({'data.name': 'digit'}, 'did you mean digits'),
        ({'data.classes': ('3', 'eight')}, "config.data.classes 'eight' does not exist"),
        ({'data.classes': ('3', '3')}, 'config.data.classes=3,3 names a class twice'),
        (
            {'data.classes': ('3',), 'sample.classes': ('4',)},
            "config.sample.classes '4' does not exist; did you mean 3",
        ),
        (
            {'model.conditional': False, 'sample.classes': ('4',)},
            'config.sample.classes needs a network that takes class labels',
        ),
        ({'diffusion.schedule': 'cosin'}, 'config.diffusion.schedule'),
        ({'sample.sampler': 'dim'}, 'did you mean ddim'),
        ({'sample.num_steps': 21}, 'config.sample.num_steps=21 must be at most diffusion.timesteps=20'),
        ({'optimizer.learning_rate': -1.0}, 'config.optimizer.learning_rate=-1.0 must be above 0'),
        ({'seed': -1}, 'config.seed=-1'),
        ({'train.prng': 'mt19937'}, 'config.train.prng'),
    ],
)
def test_impossible_values(fields, words, tmp_path):
    with pytest.raises(UserError, match=words):
        modes.run('train', tiny_config(**{**UNET, **fields}), epath.Path(tmp_path) / 'run')
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'data.image_size': 12}, 'config.data.image_size: DCGAN makes images of 8, 16, 32, 64 .*, not of 12'),
        ({'data.image_size': 4}, 'config.data.image_size: .*, not of 4'),
        ({'model.latent_size': 0}, 'config.model.latent_size=0 must be at least 1'),
        ({'model.base_channels': 0}, 'config.model.base_channels=0 must be at least 1'),
        ({'gan.loss': 'hing'}, "config.gan.loss 'hing' does not exist; did you mean hinge"),
        ({'gan.augment': ('color', 'cutoff')}, "config.gan.augment 'cutoff' does not exist; did you mean cutout"),
        ({'gan.diffusion_noise': True, 'model.base_channels': 3}, 'config.model.base_channels=3 must be at least 4'),
        ({'gan.r1_gamma': -1.0}, 'config.gan.r1_gamma=-1.0 must be above 0'),
        ({'gan.diffusion_target': 2.0}, 'config.gan.diffusion_target=2.0 must be at most 1'),
        ({'gan.discriminator_steps': 3}, 'does not divide into batches .* for gan.discriminator_steps=3'),
        ({'train.grad_accumulation': 2}, 'config.train.grad_accumulation=2 must be 1 for DCGAN'),
        ({'optimizer.beta1': 1.0}, 'config.optimizer.beta1=1.0 must be below 1'),
        ({'data.name': 'stanford_dogs', 'data.classes': ('beagel',)}, "'beagel' does not exist; did you mean beagle"),
        ({'data.name': 'stanford_dogs', 'data.image_size': 72}, 'config.data.image_size: .*, not of 72'),
    ],
)
def test_impossible_games(fields, words, tmp_path):
    with pytest.raises(UserError, match=words):
        modes.run('train', tiny_config('dcgan', **fields), epath.Path(tmp_path) / 'run')
    assert not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'model.widths': ()}, 'config.model.widths is empty'),
        ({'model.widths': (4, 0)}, 'config.model.widths=4,0: each value must be at least 1'),
        ({'model.widths': (4, 4, 4)}, 'config.data.image_size=8 is too small for the 3 blocks .* at least 9'),
        ({'model.translation': 8}, 'config.model.translation=8 must be below the side of the images, 8'),
        ({'model.conditional': True}, 'config.model.conditional must be False'),
        (
            {'optimizer.warmup_steps': 12},
            'config.optimizer.warmup_steps=12 must be below decay_steps=12',
        ),
        ({'optimizer.weight_decay': -0.1}, 'config.optimizer.weight_decay=-0.1 must be at least 0'),
        ({'optimizer.bias_scale': 0.0}, 'config.optimizer.bias_scale=0.0 must be above 0'),
        ({'optimizer.label_smoothing': 1.0}, 'config.optimizer.label_smoothing=1.0 must be below 1'),
        ({'train.grad_accumulation': 2}, 'config.train.grad_accumulation=2 must be 1 for the classifier'),
        ({'evaluation.every': 4}, 'config.evaluation.every=4 must be unset'),
    ],
)
def test_impossible_judges(fields, words, tmp_path):
    with pytest.raises(UserError, match=words):
        modes.run('train', tiny_config('judge', **fields), epath.Path(tmp_path) / 'run')
    assert not (tmp_path / 'run').exists()
