"""--mode=finetune: what it trains, what it does not change, its adapter, and resuming."""

import dataclasses
import hashlib
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image
from safetensors.numpy import load_file, save_file

from jaxgen.apps import stored_config
from jaxgen.apps.finetune import adapters
from jaxgen.apps.restore import restore
from jaxgen.apps.rules import validate
from jaxgen.apps.untrained import build_method
from jaxgen.cli import modes
from jaxgen.errors import UserError
from jaxgen.methods.lora import FineTunedDiffusion, with_new_labels
from jaxgen.metrics.sets.image_sets import open_set
from jaxgen.models import lora
from jaxgen.runtime.mesh import make_mesh, replicated
from jaxgen.training.checkpoints import Checkpoints
from jaxgen.training.state import start_state
from tests.helpers.runs import final_state
from tests.tiny import LONG, tiny_config

KEY = jax.random.key(0)
KNOWN = tuple('012456789')  # a base that has never seen a 3
COMMON = {
    'model.name': 'dit',
    'model.num_blocks': 1,
    'model.num_heads': 2,
    'model.patch_size': 2,
    'model.dropout': 0.1,
    'optimizer.warmup_steps': 1,
    'optimizer.learning_rate': 1e-2,
    'sample.num': 4,
    'sample.batch_size': 8,
    'sample.num_steps': 2,
    'sample.every': None,
}


def base_config(**fields):
    return tiny_config(**{**COMMON, 'data.classes': KNOWN, **fields})


def tuned_config(base, **fields):
    own = {
        'data.classes': ('3',),
        'data.max_examples': 50,
        'train.steps': 8,
        'finetune.base': str(base),
        'finetune.rank': 2,
    }
    return tiny_config(**{**COMMON, **own, **fields})


def random_base(workdir, seed=0, **fields):
    """Return a run directory with random weights, none of which is zero, so that every layer has a gradient."""
    c, rng = base_config(seed=seed, **fields), np.random.default_rng(seed)
    method = build_method(c, (8, 8, 1), 9)
    params = jax.tree.map(
        lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), jax.eval_shape(method.init, KEY).params
    )
    state = start_state(method, jax.jit(method.initial_state)(params)).replace(step=np.int32(4))
    workdir.mkdir(parents=True)
    (workdir / 'config.json').write_text(json.dumps(c.to_tree()))
    checkpoints = Checkpoints(workdir / 'checkpoints')
    checkpoints.save(4, jax.device_put(state, replicated(make_mesh())))
    checkpoints.wait()
    checkpoints.close()
    return workdir


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    return random_base(epath.Path(tmp_path_factory.mktemp('base')) / 'run')


def digests(folder):
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in pathlib.Path(folder).rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def tuned(base, tmp_path_factory):
    """Return the run directory of an uninterrupted fine-tuning, which did not change its base."""
    before, workdir = digests(base), epath.Path(tmp_path_factory.mktemp('tuned')) / 'run'
    modes.run('finetune', tuned_config(base), workdir)
    assert digests(base) == before
    return workdir


def drawn(config, workdir, classes=None, scale=1.0, adapter=None):
    path = None if adapter is None else str(adapter)
    config = config.replace({'sample.classes': classes, 'sample.adapter_scale': scale, 'sample.adapter': path})
    validate(config)
    trained = restore(config, workdir)
    return trained.sampler()(trained.model, 4)[0]


def test_only_the_adapted_layers_change(base, tuned):
    assert {'adapter.safetensors', 'checkpoints', 'config.json', 'metrics.jsonl'} <= {p.name for p in tuned.iterdir()}
    stored = json.loads((tuned / 'config.json').read_text())
    trained = restore(stored_config.read(tuned / 'config.json'), tuned)
    assert trained.class_names == (*KNOWN, '3') and stored['finetune']['base_hash']

    frozen = restore(base_config(), base).model.ema
    variables = trained.method.sampling_variables(trained.model, KEY, True)
    before, after = lora.flat(frozen), lora.flat(variables['params'])
    attention = {path for path, kind in lora.layers(frozen).items() if kind == 'attention'}
    assert attention == {'block0/qkv/kernel', 'block0/out/kernel'}
    for path, value in after.items():
        if path == 'label/embedding':
            np.testing.assert_array_equal(value[:9], before[path])
            assert abs(value[9] - np.mean(before[path], 0)).max() > 1e-3
        else:
            assert np.array_equal(value, before[path]) == (path not in attention), path


def test_the_average_of_the_factors_lags_behind_them(base, tuned):
    learner = restore(tuned_config(base), tuned).model.learner
    for path, factor in lora.flat(learner.params).items():
        assert np.abs(factor - lora.flat(learner.ema)[path]).max() > 1e-4, path


@LONG
def test_a_unet_is_fine_tuned_where_it_attends_and_draws_grids(tmp_path):
    unet = {'model.name': 'unet', 'model.attention_resolutions': (4,)}  # of patches
    base, tuned = (epath.Path(tmp_path) / name for name in ('base', 'tuned'))
    random_base(base, **unet)
    c = tuned_config(base, **unet, **{'train.steps': 2, 'sample.every': 2, 'data.classes': ('4', '2')})
    modes.run('finetune', c, tuned)
    assert sorted(p.name for p in (tuned / 'samples').iterdir()) == ['step_0.png', 'step_2.png']
    first, last = (np.asarray(Image.open(tuned / 'samples' / f'step_{step}.png')) for step in (0, 2))
    assert first.std() > 1 and (first != last).any()

    before = lora.flat(restore(base_config(**unet), base).model.ema)
    trained = restore(c, tuned)
    after = lora.flat(trained.method.sampling_variables(trained.model, KEY, True)['params'])
    moved = {path for path in after if not np.array_equal(after[path], before[path])}
    attending = {path for path in before if 'attention' in path and path.endswith('kernel')}
    assert moved == attending and {path.partition('_')[0] for path in moved} == {'down0', 'middle', 'up0'}


def test_a_checkpoint_holds_the_adapter_alone(tuned):
    """It stores the factors, their average, Adam's two moments, and counters, but no array of the base."""
    method = restore(stored_config.read(tuned / 'config.json'), tuned).method
    config = stored_config.read(tuned / 'config.json')
    state = final_state(config, tuned, method)  # strict: nothing more, nothing less
    factors = (8 * 2 + 2 * 24) + (8 * 2 + 2 * 8) + 10 * 8
    sizes = [x.size for x in jax.tree.leaves(state) if x.ndim]
    assert sum(sizes) == 4 * factors and sum(x.size for x in jax.tree.leaves(method.base)) > 5 * factors


def test_scale_0_is_the_base_and_the_file_is_the_workdir(base, tuned):
    config, adapter = stored_config.read(tuned / 'config.json'), tuned / adapters.FILE
    plain = drawn(base_config(), base, ('0', '1', '4'))
    np.testing.assert_array_equal(drawn(config, tuned, ('0', '1', '4'), scale=0.0), plain)
    np.testing.assert_array_equal(drawn(base_config(), base, ('0', '1', '4'), scale=0.0, adapter=adapter), plain)
    whole = drawn(config, tuned)
    np.testing.assert_array_equal(drawn(base_config(), base, ('3',), adapter=adapter), whole)
    np.testing.assert_array_equal(
        drawn(config, tuned, ('3',)), whole
    )  # by default the classes of its training are sampled
    assert (drawn(base_config(), base, ('0', '1', '4'), adapter=adapter) != plain).any()


def test_its_samples_say_what_their_labels_mean(base, tuned):
    modes.run('sample', tuned_config(base, **{'sample.classes': ('3', '0')}), tuned)
    drawn = open_set(str(tuned / 'samples' / 'samples.npz'), 'field', class_names=tuple('0123456789'))
    assert drawn.labels.tolist() == [3, 0, 3, 0]


def test_a_resumed_run_equals_an_uninterrupted_one(base, tuned, tmp_path):
    workdir = epath.Path(tmp_path) / 'run'
    modes.run('finetune', tuned_config(base, **{'train.steps': 4}), workdir)
    config = stored_config.read(workdir / 'config.json', ('evaluation',)).replace({'train.steps': 8})
    modes.run('finetune', config, workdir)
    resumed, straight = (restore(stored_config.read(w / 'config.json'), w).model for w in (workdir, tuned))
    jax.tree.map(np.testing.assert_array_equal, resumed, straight)
    assert (workdir / adapters.FILE).read_bytes() == (tuned / adapters.FILE).read_bytes()


def test_a_changed_base_is_refused(base, tuned, tmp_path):
    moved = epath.Path(tmp_path) / 'moved'
    shutil.copytree(base, moved)
    config = stored_config.read(tuned / 'config.json', ('evaluation',))
    restore(config.replace({'finetune.base': str(moved)}), tuned)
    other = random_base(epath.Path(tmp_path) / 'other', 1)
    config = config.replace({'finetune.base': str(other), 'train.steps': 12})
    before = (tuned / 'config.json').read_text()
    for mode in ('finetune', 'sample'):
        with pytest.raises(
            UserError, match='holds other weights .* bring those back, or fine-tune in another --workdir'
        ):
            modes.run(mode, config, tuned)
    assert (tuned / 'config.json').read_text() == before
    with pytest.raises(UserError, match='config.sample.adapter=.* is for a base with the weights'):
        drawn(base_config(seed=1), other, adapter=tuned / adapters.FILE)


def test_full_finetuning_takes_the_steps_of_training_from_the_base():
    """It is compared with the base's own method over two steps; at the start they are equal bit for bit."""
    c = tiny_config(**{**COMMON, 'model.name': 'cnn', 'model.dropout': 0.0})
    ddpm = build_method(c, (8, 8, 1), 10)
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), jax.eval_shape(ddpm.init, KEY).params
    )
    model = jax.jit(ddpm.initial_state)(params)
    method = FineTunedDiffusion.from_method(ddpm, base=params, paths=tuple(lora.flat(params)))
    adapted = method.with_frozen(jax.jit(method.init)(KEY))
    jax.tree.map(np.testing.assert_array_equal, method.sampling_variables(adapted, KEY, True)['params'], params)
    batch = {'image': rng.uniform(-1, 1, (16, 8, 8, 1)).astype(np.float32), 'label': np.arange(16, dtype=np.int32) % 10}
    expected, got = jax.jit(ddpm.step), jax.jit(method.step)
    for i in range(2):
        model, ours = expected(model, batch, jax.random.fold_in(KEY, i))
        adapted, theirs = got(adapted, batch, jax.random.fold_in(KEY, i))
        np.testing.assert_allclose(theirs['loss'], ours['loss'], rtol=1e-5)
    learnt = method.sampling_variables(adapted, KEY, False)['params']
    moved = jax.tree.map(lambda a, b: abs(a - b).max(), model.params, params)
    assert min(jax.tree.leaves(moved)) > 1e-4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), learnt, model.params)


def test_new_labels_leave_the_row_of_no_class_last():
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    of = {'label': {'embedding': table}}
    np.testing.assert_array_equal(with_new_labels(of, 3, 2)['label']['embedding'], table[[0, 1, 2, 3, 3, 3]])
    np.testing.assert_array_equal(with_new_labels(of, 4, 1)['label']['embedding'], [*table, table.mean(0)])
    assert with_new_labels(of, 4, 0) is of and with_new_labels({}, 0, 3) == {}


@pytest.mark.parametrize(
    ('fields', 'sentence'),
    [
        ({'finetune.base': None}, 'config.finetune.base is not set: name the run directory'),
        ({'finetune.base': 'nowhere'}, 'config.finetune.base=nowhere holds no trained model'),
        ({'finetune.rank': 0}, 'config.finetune.rank=0 must be at least 1'),
        ({'finetune.alpha': 0.0}, 'config.finetune.alpha=0.0 must be above 0'),
        ({'finetune.method': 'lore'}, "config.finetune.method 'lore' does not exist; did you mean lora"),
        (
            {'finetune.targets': ('atention',)},
            "config.finetune.targets: .* 'atention' does not exist; did you mean attention",
        ),
        ({'finetune.targets': ()}, 'config.finetune.targets is empty'),
        ({'sample.adapter_scale': 1.5}, 'config.sample.adapter_scale=1.5 must be at most 1'),
        ({'sample.adapter': 'a.safetensors'}, 'config.sample.adapter=a.safetensors is for sampling'),
        ({'model.base_channels': 16}, 'base_channels is 16, .* made with 8: .* or another config.finetune.base'),
        ({'data.image_size': 16}, 'generates images of 8 pixels and 1 channels, but config.data has 16 and 1'),
        ({'sample.classes': ('three',)}, "config.sample.classes 'three' does not exist"),
    ],
)
def test_what_finetuning_refuses(base, tmp_path, fields, sentence):
    with pytest.raises(UserError, match=sentence):
        modes.run('finetune', tuned_config(base, **fields), epath.Path(tmp_path) / 'run')
    assert not (tmp_path / 'run').exists()


def test_what_belongs_to_another_mode_or_workdir(base, tuned, tmp_path):
    with pytest.raises(UserError, match='is for --mode=finetune'):
        modes.run('train', tuned_config(base), epath.Path(tmp_path) / 'run')
    with pytest.raises(UserError, match='is the --workdir itself'):
        modes.run('finetune', tuned_config(base, **{'data.classes': KNOWN}), base)
    with pytest.raises(UserError, match='but the model in .* was fine-tuned from'):
        modes.run('sample', tuned_config(base, **{'finetune.base': None}), tuned)
    with pytest.raises(UserError, match='config.finetune.base is .* was not fine-tuned: pass another --workdir'):
        modes.run('finetune', tuned_config(tuned, **{'data.classes': ('3',)}), base)
    with pytest.raises(UserError, match='config.finetune.rank is 4, but the checkpoint in .* was made with 2'):
        modes.run('finetune', tuned_config(base, **{'finetune.rank': 4, 'train.steps': 12}), tuned)
    c = tiny_config('dcgan', **{'finetune.base': str(base)})
    with pytest.raises(UserError, match='config.finetune.base=.* needs a diffusion model, and family=dcgan is none'):
        modes.run('finetune', c, epath.Path(tmp_path) / 'run')


def test_damaged_adapters_are_refused(base, tuned, tmp_path):
    good, bad = tuned / adapters.FILE, tmp_path / 'bad.safetensors'
    read = adapters.read(good, '')
    assert read.finetune == {'method': 'lora', 'rank': 2, 'alpha': 8.0, 'targets': ['attention']} and read.strength == 4
    metadata = {adapters.METADATA: json.dumps({name: getattr(read, name) for name in adapters.FIELDS})}
    tensors = load_file(good)

    def refused(sentence):
        with pytest.raises(UserError, match=sentence):
            drawn(base_config(), base, ('3',), adapter=bad)

    refused(f'config.sample.adapter={bad} cannot be read')
    bad.write_bytes(good.read_bytes()[:-100])
    refused('is damaged, or no adapter')
    save_file(tensors, bad, {'format': 'np'})
    refused('is damaged, or no adapter')
    save_file({**tensors, 'nowhere/kernel/a': tensors['label/embedding/delta']}, bad, metadata)
    refused('changes nowhere/kernel, which the base does not have')
    save_file({**tensors, 'label/embedding/delta': np.zeros((3, 3), np.float32)}, bad, metadata)
    refused('label/embedding/delta is 3x3')
    adapters.write(bad, dataclasses.replace(read, base='0' * 64))
    refused('is for a base with the weights 00000000')


def test_other_modes_accept_a_finetuned_run_directory(base, tuned, tmp_path, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path))
    fields = {
        'evaluation.num': 60,
        'evaluation.extractor': 'judge',
        'evaluation.metrics': ('fid',),
        'likelihood.num': 8,
        'likelihood.terms': 3,
        'likelihood.split': 'train',
        'edit.input': 'digits:test:3',
        'edit.num': 4,
    }
    for mode in ('evaluate', 'likelihood', 'edit'):
        modes.run(mode, tuned_config(base, **fields), tuned)
    judged = json.loads((tuned / 'evaluation' / '8.json').read_text())['protocol']['generated']
    bound = json.loads((tuned / 'likelihood' / '8.json').read_text())['protocol']
    assert judged['base'] == restore(tuned_config(base), tuned).method.base_hash
    assert judged['weights'] == bound['weights'] != judged['base']
    assert (tuned / 'edits' / 'image2image' / 'grid.png').exists()
