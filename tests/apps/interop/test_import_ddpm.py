"""Folders of diffusers into run directories and back: their samples, their contents, and refusals."""

import contextlib
import dataclasses
import hashlib
import io
import json
import pathlib
import shutil
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDPMPipeline, DDPMScheduler, UNet2DModel
from etils import epath
from safetensors.numpy import load_file, save_file

from configs.ddpm_cifar import get_config as cifar
from jaxgen.apps.config import Config
from jaxgen.apps.interop import diffusers_folder, scheduler, unet_config
from jaxgen.apps.restore import restore
from jaxgen.apps.stored_config import read
from jaxgen.cli import modes
from jaxgen.diffusion.schedules import SCHEDULES
from jaxgen.errors import UserError
from jaxgen.io import hub
from tests.helpers.diffusers_folders import LIKE_CIFAR, command, edit, pipeline, unet2d
from tests.tiny import LONG

ROOT = pathlib.Path(__file__).parents[3]
THEIR_DEFAULTS = {
    'norm_eps': 1e-5,
    'freq_shift': 0,
    'flip_sin_to_cos': True,
    'downsample_padding': 1,
    'attention_head_dim': 8,
}


def import_(folder, workdir, **fields):
    modes.run('import', command(**{'interop.path': str(folder), **fields}), epath.Path(workdir))


def stored(workdir, **fields):
    """Return the config of a run directory with some fields changed."""
    return read(workdir / 'config.json', ['interop', 'evaluation']).replace(fields)


@pytest.fixture(scope='module')
def there(tmp_path_factory):
    """Return a folder with a pipeline of diffusers' default network, the run and the output of its import, and an export."""
    path = tmp_path_factory.mktemp('interop')
    pipeline(path / 'theirs', unet2d(**THEIR_DEFAULTS))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        import_(path / 'theirs', path / 'run')
    (path / 'said').write_text(said.getvalue())
    modes.run('export', stored(path / 'run', **{'interop.path': str(path / 'export')}), epath.Path(path / 'run'))
    return path


def loaded(folder, **fields):
    return diffusers_folder.load(command(**fields), pathlib.Path(folder))


def test_the_weights_come_back_bit_for_bit(there):
    before, after = (
        load_file(there / name / 'unet' / 'diffusion_pytorch_model.safetensors') for name in ('theirs', 'export')
    )
    assert before.keys() == after.keys()
    for name, x in before.items():
        np.testing.assert_array_equal(after[name], x)
    for part in ('unet/config.json', 'scheduler/scheduler_config.json'):
        theirs, exported = (json.loads((there / name / part).read_text()) for name in ('theirs', 'export'))
        shared = (theirs.keys() & exported.keys()) - {'dropout', 'timestep_spacing', '_class_name'}
        assert {k: theirs[k] for k in shared} == {k: exported[k] for k in shared} and len(shared) >= 10


def test_parameters_and_average_are_the_weights_and_the_optimiser_is_fresh(there):
    trained = restore(stored(there / 'run'), epath.Path(there / 'run'))
    assert trained.step == 0 and trained.model.updates == 0
    assert jax.tree.all(jax.tree.map(np.array_equal, trained.model.params, trained.model.ema))
    assert not any(np.any(x) for x in jax.tree.leaves(trained.model.opt_state))


def noises(steps):
    return [np.random.default_rng(i).normal(size=(2, 1, 8, 8)).astype('f') for i in range(steps + 1)]


@pytest.mark.parametrize(
    ('sampler', 'steps'),
    [('ddpm', 20), pytest.param('ddpm_fixedsmall', 5, marks=LONG), pytest.param('ddim', 5, marks=LONG)],
)
def test_pipelines_sample_our_images_from_the_same_noise(there, tmp_path, monkeypatch, sampler, steps):
    """With all timesteps and with some; like ours, diffusers' DDIM takes the noise from the clipped image, if asked to."""
    c = stored(there / 'run', **{'sample.sampler': sampler, 'interop.path': str(tmp_path / 'export')})
    modes.run('export', c, epath.Path(there / 'run'))

    given, name = iter(noises(steps)), sampler.partition('_')[0]
    kind = {'ddpm': DDPMPipeline, 'ddim': DDIMPipeline}[name]
    for module in (f'pipelines.{name}.pipeline_{name}', f'schedulers.scheduling_{name}'):
        monkeypatch.setattr(f'diffusers.{module}.randn_tensor', lambda *args, **kwargs: torch.from_numpy(next(given)))
    pipe = kind.from_pretrained(tmp_path / 'export')
    assert type(pipe.unet) is UNet2DModel
    pipe.set_progress_bar_config(disable=True)
    options = {'use_clipped_model_output': True} if sampler == 'ddim' else {}
    expected = pipe(batch_size=2, num_inference_steps=steps, output_type='np', **options).images

    trained = restore(c, epath.Path(there / 'run'))
    method, variables = trained.method, {'params': trained.model.ema}
    first, *rest = (x.transpose(0, 2, 3, 1) for x in noises(steps))
    rest = jax.numpy.stack(rest)

    @jax.jit
    def draw(x):
        levels = method.levels(variables, steps)
        run = method.prepare(
            variables, jax.random.split(jax.random.key(0)), jax.numpy.zeros(2, int), levels=levels, x=x
        )
        return dataclasses.replace(run, noise=lambda i: rest[i]).images()

    got = np.clip(draw(first) / 2 + 0.5, 0, 1)
    assert expected.std() > 0.1
    np.testing.assert_allclose(got, expected, atol=2e-3)  # diffusers' schedule is computed in float32


@LONG
def test_the_average_is_exported(there, tmp_path):
    """After further training the export has the average of the parameters or, without averaging, the parameters."""
    shutil.copytree(there / 'run', tmp_path / 'run')
    c, workdir = stored(tmp_path / 'run', **{'sample.every': None}), epath.Path(tmp_path / 'run')
    modes.run('train', c, workdir)
    trained = restore(c, workdir)
    assert trained.step == 2
    for ema, expected in ((True, trained.model.ema), (False, trained.model.params)):
        modes.run('export', c.replace({'sample.ema': ema, 'interop.path': str(tmp_path / str(ema))}), workdir)
        tensors = load_file(tmp_path / str(ema) / 'unet' / 'diffusion_pytorch_model.safetensors')
        np.testing.assert_array_equal(tensors['conv_in.weight'], expected['conv_in']['kernel'].transpose(3, 2, 0, 1))
    assert abs(trained.model.ema['conv_in']['kernel'] - trained.model.params['conv_in']['kernel']).max() > 0


def test_an_import_can_be_evaluated(there, tmp_path, capsys):
    shutil.copytree(there / 'run', tmp_path / 'run')
    c = stored(tmp_path / 'run', **{'evaluation.extractor': 'judge', 'evaluation.metrics': ('fid',)})
    modes.run('evaluate', c, epath.Path(tmp_path / 'run'))
    assert json.loads(capsys.readouterr().out.splitlines()[-1])['fid'] > 0


@pytest.mark.parametrize(
    ('content', 'words'),
    [(None, 'cannot be read'), ('{"family": ', 'is not the config.json'), ('{"seed": 1}', 'is not the config.json')],
)
def test_a_damaged_config_json_is_refused(tmp_path, content, words):
    if content:
        (tmp_path / 'config.json').write_text(content)
    with pytest.raises(UserError, match=f'^{tmp_path}/config.json {words}'):
        read(f'{tmp_path}/config.json')


def test_the_next_commands_are_printed(there):
    said = (there / 'said').read_text()
    flags = [f'--config.model.{name}={value}' for name, value in THEIR_DEFAULTS.items()]
    assert f'--config={there}/run/config.json --mode=sample' in said and all(flag in said for flag in flags)
    with pytest.raises(UserError, match='pass --config.model.attention_head_dim=8'):
        restore(command(), epath.Path(there / 'run'))


def test_a_matching_config_stays_as_it_is(tmp_path):
    pipeline(tmp_path / 'theirs')
    assert loaded(tmp_path / 'theirs').config == command()


def test_the_cifar_config_is_that_of_the_published_model(tmp_path):
    """google/ddpm-cifar10-32 has this description; all its files lie in one folder."""

    theirs = {
        '_class_name': 'UNet2DModel', '_diffusers_version': '0.0.4', 'act_fn': 'silu', 'attention_head_dim': None,
        'block_out_channels': [128, 256, 256, 256], 'center_input_sample': False,
        'down_block_types': ['DownBlock2D', 'AttnDownBlock2D', 'DownBlock2D', 'DownBlock2D'], 'downsample_padding': 0,
        'flip_sin_to_cos': False, 'freq_shift': 1, 'in_channels': 3, 'layers_per_block': 2, 'mid_block_scale_factor': 1,
        'norm_eps': 1e-06, 'norm_num_groups': 32, 'out_channels': 3, 'sample_size': 32, 'time_embedding_type': 'positional',
        'up_block_types': ['UpBlock2D', 'UpBlock2D', 'AttnUpBlock2D', 'UpBlock2D'],
    }  # fmt: skip
    schedule = {
        '_class_name': 'DDPMScheduler', '_diffusers_version': '0.1.1', 'beta_end': 0.02, 'beta_schedule': 'linear',
        'beta_start': 0.0001, 'clip_sample': True, 'num_train_timesteps': 1000, 'variance_type': 'fixed_large',
    }  # fmt: skip
    c = Config.from_tree(cifar().to_dict())
    assert dataclasses.replace(c.model, **unet_config.to_model(theirs, c.model, 32, '')) == c.model
    assert dataclasses.replace(c.diffusion, **scheduler.to_diffusion(schedule, '')[0]) == c.diffusion
    assert scheduler.to_diffusion(schedule, '')[1] == 'ddpm'


def test_one_folder_the_network_alone_and_pytorchs_own_file(tmp_path):
    """Older repositories have everything in one folder, a .bin file in half precision, and older names."""
    theirs = unet2d()
    theirs.save_pretrained(tmp_path / 'flat')
    (tmp_path / 'flat' / 'diffusion_pytorch_model.safetensors').unlink()
    state = {k.replace('to_out.0', 'proj_attn'): v.half() for k, v in theirs.state_dict().items()}
    torch.save(state, tmp_path / 'flat' / 'diffusion_pytorch_model.bin')
    alone = loaded(tmp_path / 'flat', **{'diffusion.timesteps': 30})
    assert alone.config.diffusion.timesteps == 30 and 'those of config.diffusion: 30' in alone.notes[0]
    DDPMScheduler(25, variance_type='fixed_small').save_pretrained(tmp_path / 'flat')
    flat = loaded(tmp_path / 'flat', **{'diffusion.timesteps': 30})
    assert flat.config.diffusion.timesteps == 25 and 'sample.sampler=ddpm_fixedsmall' in flat.notes[0]
    expected = state['conv_in.weight'].float().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(flat.model.params['conv_in']['kernel'], expected)


def test_images_of_another_size(tmp_path):
    """The import sets data.image_size, so that the data are resized."""
    pipeline(tmp_path / 'theirs', unet2d(sample_size=(16, 16)))
    imported = loaded(tmp_path / 'theirs')
    assert imported.config.data.image_size == 16 and imported.config.model.attention_resolutions == (8,)
    assert imported.method.image_shape == (16, 16, 1)


def refused(folder, workdir, words, mode='import', **fields):
    with pytest.raises(UserError, match=words):
        modes.run(mode, command(**{'interop.path': folder and str(folder), **fields}), epath.Path(workdir))


@pytest.mark.parametrize(
    ('file', 'fields', 'words'),
    [
        ('model_index.json', {'_class_name': 'LDMPipeline'}, "model_index.json: _class_name='LDMPipeline'"),
        ('unet/config.json', {'_class_name': 'UNet2DConditionModel'}, "config.json: _class_name='UNet2DConditionModel'"),
        ('unet/config.json', {'_class_name': 'removed'}, 'config.json: _class_name=None'),
        ('unet/config.json', {'act_fn': 'gelu'}, "unet/config.json: act_fn='gelu'"),
        ('unet/config.json', {'sample_size': [8, 16]}, r'sample_size=\[8, 16\]'),
        ('unet/config.json', {'sample_size': 9}, 'config.data.image_size=9 does not divide by 2'),
        ('unet/config.json', {'in_channels': 3, 'out_channels': 3}, 'in_channels=3, but .* config.data.name=digits have 1'),
        ('unet/config.json', {'num_class_embeds': 7}, 'num_class_embeds=7, but there are 10 classes'),
        ('unet/config.json', {'layers_per_block': 2}, r'diffusion_pytorch_model.safetensors: \S+ is missing \(and \d+ more'),
        ('unet/config.json', {'norm_num_groups': 3}, 'norm_groups=3 does not divide'),
        ('scheduler/scheduler_config.json', {'_class_name': 'EulerDiscreteScheduler'}, "_class_name='EulerDiscreteScheduler'"),
        ('scheduler/scheduler_config.json', {'beta_schedule': 'scaled_linear'}, "beta_schedule='scaled_linear'"),
        ('scheduler/scheduler_config.json', {'rescale_betas_zero_snr': True}, 'rescale_betas_zero_snr=True'),
        ('scheduler/scheduler_config.json', {'beta_end': 0.01}, 'beta_end=0.01'),
        ('scheduler/scheduler_config.json', {'prediction_type': 'flow'}, "prediction_type='flow'"),
        ('scheduler/scheduler_config.json', {'variance_type': 'learned'}, "variance_type='learned'"),
        ('scheduler/scheduler_config.json', {'clip_sample': False}, 'clip_sample=False'),
        ('scheduler/scheduler_config.json', {'trained_betas': [0.1]}, r'trained_betas=\[0.1\]'),
    ],
)  # fmt: skip
def test_refused_descriptions_leave_no_files(there, tmp_path, file, fields, words):
    shutil.copytree(there / 'theirs', tmp_path / 'theirs')
    edit(tmp_path / 'theirs' / file, **fields)
    refused(tmp_path / 'theirs', tmp_path / 'run', words)
    assert not (tmp_path / 'run').exists()


HOSTILE = (None, True, -1, 0, 0.5, 1e300, 2**70, 'x', '', [], [[]], {}, ['x', None], [1] * 1000, 'x' * 100_000)


@pytest.mark.parametrize('field', unet_config.DEFAULTS)
def test_descriptions_of_networks_with_any_value(field):
    """Each value is accepted, or refused in one sentence that names its field."""
    for value in HOSTILE:
        try:
            fields = unet_config.to_model({**LIKE_CIFAR, field: value}, command().model, 8, 'x.json')
            side = unet_config.side({**LIKE_CIFAR, field: value}, 8, 'x.json')
        except UserError as e:
            assert 'x.json: ' in str(e) and len(str(e)) < 400 and '\n' not in str(e)
        else:
            with contextlib.suppress(UserError):  # the fields have ranges of their own
                command().replace({f'model.{name}': x for name, x in fields.items()})
            assert 0 < side <= unet_config.MAX_SIDE


@pytest.mark.parametrize('field', [*scheduler.DEFAULTS, '_class_name'])
def test_descriptions_of_schedulers_with_any_value(field):
    described = {'_class_name': 'DDPMScheduler', 'variance_type': 'fixed_large'}
    for value in HOSTILE:
        with contextlib.suppress(UserError):
            fields, _ = scheduler.to_diffusion({**described, field: value}, 'x.json')
            assert command().replace({f'diffusion.{name}': x for name, x in fields.items()})


@pytest.mark.parametrize('file', ['model_index.json', 'unet/config.json', 'scheduler/scheduler_config.json'])
@pytest.mark.parametrize(
    'content', [b'', b'[]', b'null', b'\xff\xfe', b'[' * 10_000, b'{"_class_name": NaN}', b' ' * 2**21]
)
def test_descriptions_that_are_no_json_are_named(there, tmp_path, file, content):
    for part in ('', 'unet', 'scheduler'):
        (tmp_path / 'theirs' / part).mkdir(exist_ok=True)
    for name in ('model_index.json', 'unet/config.json', 'scheduler/scheduler_config.json'):
        (tmp_path / 'theirs' / name).write_bytes((there / 'theirs' / name).read_bytes())
    (tmp_path / 'theirs' / file).write_bytes(content)
    with pytest.raises(UserError, match=f'^{tmp_path}/theirs/{file} is ') as e:
        loaded(tmp_path / 'theirs')
    assert '\n' not in str(e.value)


def test_damaged_files_are_named(there, tmp_path):
    folder = tmp_path / 'theirs'
    shutil.copytree(there / 'theirs', folder)
    weights = folder / 'unet' / 'diffusion_pytorch_model.safetensors'
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    refused(folder, tmp_path / 'run', 'diffusion_pytorch_model.safetensors is not a complete file of tensors')
    tensors = load_file(there / 'theirs' / 'unet' / weights.name)
    save_file({**tensors, 'conv_in.bias': tensors['conv_in.bias'].astype(np.float64)}, weights)
    refused(folder, tmp_path / 'run', 'conv_in.bias is float64, and the weights of jaxgen are float32')
    save_file({k: v for k, v in tensors.items() if k != 'conv_out.bias'}, weights)
    refused(folder, tmp_path / 'run', f'{weights}: conv_out.bias is missing$')
    weights.unlink()
    refused(folder, tmp_path / 'run', 'unet holds neither diffusion_pytorch_model.safetensors nor')
    (folder / 'unet' / 'config.json').write_text('{"_class_name": ')
    refused(folder, tmp_path / 'run', 'unet/config.json is not the config.json of a folder of diffusers')
    refused(tmp_path, tmp_path / 'run', 'holds no config.json, so it is not a folder of diffusers')
    assert not (tmp_path / 'run').exists()


def test_existing_files_are_not_overwritten(there, tmp_path):
    refused(there / 'theirs', there / 'run', 'checkpoints holds checkpoints already: import into another --workdir')
    c = stored(there / 'run', **{'interop.path': str(there / 'theirs')})
    with pytest.raises(UserError, match='exists already, and is not an empty folder'):
        modes.run('export', c, epath.Path(there / 'run'))
    refused(None, tmp_path / 'run', 'config.interop.path is not set')
    refused(tmp_path / 'new', tmp_path / 'run', 'holds no trained model', 'export')
    assert not list(tmp_path.iterdir())


def test_a_refused_export_leaves_no_files(there, tmp_path, monkeypatch):
    c = stored(there / 'run', **{'interop.path': str(tmp_path / 'export')})
    with monkeypatch.context() as m, pytest.raises(UserError, match='schedule=linear_betas cannot be exported'):
        m.setattr(scheduler, 'SCHEDULES', {})
        modes.run('export', c, epath.Path(there / 'run'))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('timesteps', [20, 1000])
@pytest.mark.parametrize('schedule', ['linear', 'linear_betas', 'linear_zero_snr', 'cosine', 'cosine_zero_snr'])
@pytest.mark.parametrize('parameterisation', ['eps', 'x0', 'v', 'edm'])
def test_schedules_are_diffusers_own_or_refused(timesteps, schedule, parameterisation):
    """diffusers' scheduler has our alphas_cumprod, and its description is read back as ours."""
    fields = {'timesteps': timesteps, 'schedule': schedule, 'parameterisation': parameterisation}
    c = command(**{f'diffusion.{name}': value for name, value in fields.items()})
    if parameterisation == 'edm' or (timesteps == 20 and schedule in ('linear', 'linear_zero_snr')):
        with pytest.raises(UserError, match='cannot be exported'):
            scheduler.from_diffusion(c.diffusion, 'ddpm')
        return
    theirs = scheduler.from_diffusion(c.diffusion, 'ddpm')
    ours = SCHEDULES[schedule](timesteps).alphas_cumprod
    np.testing.assert_allclose(DDPMScheduler.from_config(theirs).alphas_cumprod, ours, rtol=1e-4, atol=1e-7)
    back, _ = scheduler.to_diffusion(theirs, 'there')
    same = {'linear_betas': ('linear', 'linear_betas')}.get(schedule, (schedule,))
    assert back['schedule'] in same and back['parameterisation'] == parameterisation and back['timesteps'] == timesteps


def test_only_the_needed_files_are_downloaded_from_the_hub(there, monkeypatch):
    asked = []

    def download(name, allow_patterns, local_files_only):
        asked.append((name, allow_patterns, local_files_only))
        return str(there / 'theirs')

    sizes = {'unet/diffusion_pytorch_model.safetensors': 1000, 'model_index.json': 10, 'unet/model.bin': 2**50}
    on_the_hub(monkeypatch, sizes, download)
    assert hub.folder('google/ddpm-cifar10-32') == there / 'theirs'
    assert asked == [('google/ddpm-cifar10-32', ['*.json', '*diffusion_pytorch_model.safetensors'], False)]


def on_the_hub(monkeypatch, sizes, download):
    """Replace the Hub by a stand-in with one repository, whose files have these sizes."""
    siblings = [types.SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()]
    about = types.SimpleNamespace(siblings=siblings)
    monkeypatch.setattr(hub, 'reachable', lambda url: True)
    monkeypatch.setattr('huggingface_hub.HfApi.model_info', lambda *args, **kwargs: about)
    monkeypatch.setattr('huggingface_hub.snapshot_download', download)


def test_too_large_a_folder_of_the_hub_is_not_downloaded(monkeypatch):
    on_the_hub(monkeypatch, {'unet/diffusion_pytorch_model.safetensors': 2**50}, None)
    with pytest.raises(UserError, match=f'some/model has {2**50} bytes, and at most'):
        hub.folder('some/model')


def test_a_file_of_the_hub_has_the_hash_that_it_is_stored_under(tmp_path, monkeypatch):
    content = b'the whole file'
    blob = tmp_path / 'blobs' / hashlib.sha256(content).hexdigest()
    file = tmp_path / 'snapshots' / 'unet' / 'diffusion_pytorch_model.safetensors'
    for path in (blob, file):
        path.parent.mkdir(parents=True)
    blob.write_bytes(content)
    file.symlink_to(blob)
    (file.parent / 'config.json').write_text('{}')
    on_the_hub(monkeypatch, {}, lambda *args, **kwargs: str(tmp_path / 'snapshots'))
    assert hub.folder('some/model') == tmp_path / 'snapshots'
    blob.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f'{file} is damaged .*: delete {blob} and run this again'):
        hub.folder('some/model')


def test_a_missing_network_name_or_library_is_explained(tmp_path, monkeypatch):
    monkeypatch.setattr(hub, 'reachable', lambda url: False)
    refused('no/such-model', tmp_path / 'run', 'no/such-model is not a folder here, and https://\\S+ cannot be reached')
    monkeypatch.setattr(hub, 'reachable', lambda url: True)

    def missing(*args, **kwargs):
        raise OSError('404 Client Error\nand so on')

    monkeypatch.setattr('huggingface_hub.HfApi.model_info', missing)
    refused('no/such-model', tmp_path / 'run', r'does not provide it \(404 Client Error\): check the name')
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    refused('no/such-model', tmp_path / 'run', 'takes huggingface_hub: pip install huggingface_hub')
    refused(
        './no/such/folder',
        tmp_path / 'run',
        'config.interop.path: ./no/such/folder is neither a folder nor a name on the Hugging',
    )
    assert not (tmp_path / 'run').exists()


def test_without_pytorch_from_the_command_line(there, tmp_path):
    """Import, and export with the config of the run directory, in a process that cannot import torch or diffusers."""
    blocked = (
        'import json, sys; sys.modules.update(torch=None, diffusers=None); import main; '
        'sys.exit(any(main.main(["main.py", *args]) for args in json.loads(sys.argv[1])))'
    )
    imported = (
        '--config=configs/ddpm_digits.py', '--mode=import', f'--workdir={tmp_path}/run', '--config.mesh.cpu_devices=None',
        f'--config.interop.path={there}/theirs', '--config.sample.num_steps=2',
    )  # fmt: skip
    exported = f'--config={tmp_path}/run/config.json', '--mode=export', f'--config.interop.path={tmp_path}/export'
    command = [sys.executable, '-c', blocked, json.dumps([imported, exported])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = (
        load_file(folder / 'unet' / 'diffusion_pytorch_model.safetensors')
        for folder in (there / 'theirs', tmp_path / 'export')
    )
    assert all(np.array_equal(before[name], after[name]) for name in before)
