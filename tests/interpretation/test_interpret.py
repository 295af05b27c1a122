"""Causes and pictures on tiny models, the mode from a workdir to its page, and what it refuses."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from scipy import stats

from jaxgen.apps import adapters
from jaxgen.apps.interpret import synthesis
from jaxgen.apps.interpret.ablation import Scaled, Sight, ablate, control, factors_of
from jaxgen.apps.interpret.activations import activations
from jaxgen.apps.interpret.interpret import interpret
from jaxgen.apps.interpret.probes import probes_of
from jaxgen.apps.interpret.selectivity import Channel
from jaxgen.apps.interpret.synthesis import Target
from jaxgen.apps.restore import restore
from jaxgen.cli import modes
from jaxgen.diffusion.editing import last_levels
from jaxgen.errors import UserError
from jaxgen.training.sampling import SamplePipeline
from tests.tiny import tiny_config, untrained

FEW = {
    'interpret.num': 40,
    'interpret.tested': 30,
    'interpret.levels': 2,
    'interpret.permutations': 20,
    'interpret.classes': '3,8',
    'interpret.top_k': 2,
    'interpret.factors': (0.0, 2.0),
    'interpret.controls': 1,
    'interpret.images_per_class': 2,
    'interpret.ascent_steps': 3,
    'interpret.strengths': (0.5,),
    'interpret.variations': 4,
}
DENOISER = {'diffusion.parameterisation': 'edm', 'model.name': 'cnn', 'model.num_blocks': 1}


def config_of(family, **fields):
    return tiny_config(family, **{**FEW, **(DENOISER if family == 'ddpm' else {}), **fields})


def awake(params):
    """Kernels of normal numbers that keep activations of order 1, also those that start at zero."""
    rng = np.random.default_rng(1)
    scale = lambda x: np.prod(x.shape[:-1]) ** -0.5  # noqa: E731
    return jax.tree.map(
        lambda x: (scale(x) * rng.normal(size=x.shape)).astype(x.dtype) if x.ndim > 1 else np.asarray(x), params
    )


def ready(family, folder):
    """What a workdir holds, its weights replaced by such numbers; and the workdir."""
    c = config_of(family)
    workdir = epath.Path(untrained(c, folder / 'run'))
    found = restore(c, workdir)
    model = found.model.replace(ema=awake(found.model.ema))
    if family == 'dcgan':
        model = model.replace(discriminator=model.discriminator.replace(params=awake(model.discriminator.params)))
    return dataclasses.replace(found, model=model), workdir


@pytest.fixture(scope='module')
def ddpm(tmp_path_factory):
    return ready('ddpm', tmp_path_factory.mktemp('ddpm'))


@pytest.fixture(scope='module')
def dcgan(tmp_path_factory):
    return ready('dcgan', tmp_path_factory.mktemp('dcgan'))


@pytest.fixture(params=['ddpm', 'dcgan'])
def trained(request):
    return request.getfixturevalue(request.param)


def draw(trained, factors, num=20):
    model, size = (trained.model, factors), trained.config.sample.batch_size
    classes = range(len(trained.class_names))
    sampler = SamplePipeline(
        Scaled(trained.method), trained.mesh, model, classes=classes, stream='interpretation', batch_size=size
    )
    return sampler(model, num)


def blocks_of(trained):
    variables = trained.sampler().variables(trained.model)
    probe = probes_of(trained, variables, 2)[0]
    return probe.blocks(trained.method.image_shape)


def test_times_one_is_the_same_bit_for_bit(trained):
    trained, _ = trained
    blocks = blocks_of(trained)
    expected, labels = trained.sampler(0, 'interpretation')(trained.model, 20)
    got, same = draw(trained, factors_of(blocks, (), 1.0))
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(same, labels)
    first = next(iter(blocks))
    other, _ = draw(trained, factors_of(blocks, [Channel(first, c) for c in range(blocks[first])], 5.0))
    assert np.any(other != expected)


def test_controls_are_other_channels_of_the_same_blocks():
    blocks = {'a': 6, 'b': 3}
    chosen = [Channel('a', 1), Channel('b', 0), Channel('a', 5), Channel('b', 1)]
    for seed in range(20):
        drawn = control(blocks, chosen, np.random.default_rng(seed))
        assert sorted(c.block for c in drawn) == ['a', 'a', 'b'] and len(set(drawn)) == 3  # b has but one other
        assert not set(drawn) & set(chosen)


def captured(network, variables, *inputs):
    """What Flax keeps of each submodule."""
    _, state = network.apply(variables, *inputs, capture_intermediates=True, mutable=['intermediates'])
    return {name: kept['__call__'][0] for name, kept in state['intermediates'].items() if isinstance(kept, dict)}


IMAGES = np.random.default_rng(3).uniform(-1, 1, (6, 8, 8, 1)).astype(np.float32)
LABELS, KEYS = np.array([0, 3, 5, 9, 3, 1], np.int32), jax.random.split(jax.random.key(2), 6)


def test_a_denoiser_is_looked_at_on_images_with_noise_the_noisiest_first(ddpm):
    """Every second of the six timesteps of a sampler; their noise by the definition of DDPM."""
    trained, _ = ddpm
    method = dataclasses.replace(trained.method, prediction='eps')  # the network's input is the noisy image itself
    variables = {'params': trained.model.ema}
    told, untold = probes_of(dataclasses.replace(trained, method=method), variables, 3)
    assert told.levels == untold.levels == ('t=16', 't=9', 't=2')
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, 20))
    for number, t in enumerate((16, 9, 2)):
        noise = np.stack([jax.random.normal(jax.random.fold_in(key, number), (8, 8, 1)) for key in KEYS])
        noisy = np.sqrt(kept[t]) * IMAGES + np.sqrt(1 - kept[t]) * noise
        got = activations(told.look, variables, IMAGES, LABELS, KEYS, number)
        expected = captured(method.network, variables, noisy.astype(np.float32), np.full(6, t, np.float32), LABELS)
        assert list(got) == ['conv_in', 'block0', 'norm_out']
        for block, value in got.items():
            np.testing.assert_allclose(value, expected[block], atol=1e-4)

    def seen(probe, labels):
        return activations(probe.look, variables, IMAGES, labels, KEYS, 1)['block0']

    np.testing.assert_array_equal(seen(untold, LABELS), seen(untold, LABELS[::-1]))
    of_each = jax.vmap(lambda k: seen(told, jnp.full(6, k)))(jnp.arange(10))
    same = np.abs(of_each - seen(untold, LABELS)).max((2, 3, 4)) < 1e-5
    assert np.all(same.sum(0) == 1) and len(set(same.argmax(0))) > 2  # told one of them at random each


def test_the_networks_of_a_gan_are_looked_at_as_they_play(dcgan):
    trained, _ = dcgan
    method, player = trained.method, trained.model.discriminator
    drawing = trained.sampler().variables(trained.model)
    generator, discriminator = probes_of(trained, drawing, 2)
    latents = np.stack([jax.random.normal(key, (6,)) for key in KEYS])
    got = activations(generator.look, drawing, IMAGES, LABELS, KEYS, 0)
    expected = captured(method.generator, drawing, latents, LABELS)
    own = captured(method.discriminator, {'params': player.params, **player.stats}, IMAGES, LABELS)
    judged = activations(discriminator.look, discriminator.variables, IMAGES, LABELS[::-1], KEYS, 0)
    assert list(got) == ['up_0', 'norm_0'] and list(judged) == ['down_0']
    for seen, kept in ((got, expected), (judged, own)):
        for block, value in seen.items():
            np.testing.assert_allclose(value, kept[block], atol=1e-5)
            assert np.ptp(np.asarray(value), 0).max() > 1e-3


class Shade:
    """Sees the class asked for, these being in turn, where an image is brighter than half of the first ones it was shown."""

    def __init__(self):
        self.half = None

    def __call__(self, images):
        brightness = images.mean((1, 2, 3))
        self.half = np.median(brightness) if self.half is None else self.half
        return np.where(brightness > self.half, np.arange(len(images)) % 10, -1)


def paired(after, before):
    """Bonett & Price 2012: counts of the images that changed, one more each way, two images more in all."""
    n = len(after) + 2
    won, lost = (np.sum(after > before) + 1) / n, (np.sum(after < before) + 1) / n
    half = stats.norm.ppf(0.975) * np.sqrt((won + lost - (won - lost) ** 2) / n)
    return np.mean(after.astype(float) - before), max(won - lost - half, -1), min(won - lost + half, 1)


def test_effects_are_of_the_same_images(trained):
    trained, _ = trained
    options = trained.config.interpret.copy_and_resolve_references()
    options.images_per_class = 10
    blocks = blocks_of(trained)
    chosen = {'3': [Channel(list(blocks)[-1], c) for c in range(4)]}
    done, shade = [], Shade()
    found = ablate(trained, options, shade, blocks, chosen, done.append)
    assert [(e.factor, e.draw) for e in found.effects] == [(0.0, 0), (2.0, 0), (0.0, 1), (2.0, 1)] and done[-1] == 5
    labels = np.arange(100) % 10
    np.testing.assert_array_equal(found.labels, labels)
    assert 0 < found.right[labels == 3].sum() < 10 and 40 < found.right.sum() <= 50
    for effect in found.effects:
        images, _ = draw(trained, factors_of(blocks, effect.channels, effect.factor), 100)
        right = images.mean((1, 2, 3)) > shade.half
        np.testing.assert_array_equal(effect.right, right)
        np.testing.assert_array_equal(effect.images, images[labels == 3][:8])
        of_class = labels == 3
        np.testing.assert_allclose(effect.on_class, paired(right[of_class], found.right[of_class]), atol=1e-12)
        np.testing.assert_allclose(effect.on_others, paired(right[~of_class], found.right[~of_class]), atol=1e-12)
    flipped = [e.right != found.right for e in found.effects[:2]]
    assert all(x[labels == 3].any() and x[labels != 3].any() and not x.all() for x in flipped)
    assert len(found.images['3']) == 8


def test_recognised_classes_are_those_of_the_model(dcgan):
    trained, _ = dcgan
    real = modes.load('digits', 'test')
    seen = Sight(trained, find_classifier('digits'))(real.images[:100])
    assert np.mean(seen == real.labels[:100]) > 0.95


def test_a_synthesised_picture_drives_its_channels(trained):
    trained, _ = trained
    variables = trained.sampler().variables(trained.model)
    probe = probes_of(trained, variables, 2)[-1]
    shape = trained.method.image_shape
    blocks = probe.blocks(shape)
    block = list(blocks)[-1]
    targets = [Target(Channel(block, c), 3, bool(c % 2), len(probe.levels) - 1, 0.0, 0.1) for c in range(4)]
    rough, smooth = (
        synthesis.drive(probe, shape, blocks, targets, 60, weight, jax.random.key(0)) for weight in (0.0, 20.0)
    )
    assert np.all(rough.after > rough.before + 0.5), (rough.before, rough.after)
    roughness = [np.mean([synthesis.total_variation(x) for x in d.pictures]) for d in (rough, smooth)]
    assert roughness[1] < 0.5 * roughness[0] and np.abs(rough.pictures).max() <= 1


def test_a_picture_seen_anew_is_moved_and_scaled_about_its_middle():
    spot = np.zeros((33, 33, 1), np.float32)
    spot[16, 16] = 1
    for i in range(10):
        seen = np.asarray(synthesis.seen_anew(spot, jax.random.key(i)))[..., 0]
        centre = (np.indices(seen.shape) * seen).sum((1, 2)) / seen.sum()
        assert np.all(np.abs(centre - 16) < 33 / 16 + 0.6) and 0.5 < seen.sum() < 1.7
    flat = np.asarray(synthesis.seen_anew(np.ones((33, 33, 1), np.float32), jax.random.key(1)))
    np.testing.assert_allclose(flat[8:-8, 8:-8], 1, atol=1e-5)


def test_what_is_denoised_is_what_editing_makes_of_it(ddpm):
    """A picture and the grey one, from the definition; the same noise on both."""
    trained, _ = ddpm
    c, method, key = trained.config, trained.method, jax.random.key(5)
    variables = trained.sampler().variables(trained.model)
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 1)).astype(np.float32)
    got = synthesis.denoise(trained, variables, pictures, c.interpret, key)
    assert got.images.shape == (1, 4, 4, 8, 8, 1) and got.told.tolist() == [0, 1, 2, 3]
    levels = last_levels(method.levels(variables), 0.5)
    noise = jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, 2), 0), (8, 8, 1))
    for i, start in ((1, pictures[1]), (-1, 0)):
        x = (levels.alpha[0] * start + levels.sigma[0] * noise)[None]
        expected = method.prepare(variables, None, np.array([2]), levels=levels, x=x).images()[0]
        expected = np.clip(np.round((np.asarray(expected) + 1) * 127.5), 0, 255)
        assert np.max(np.abs(got.images[0, i, 2] - expected)) <= 1


def test_from_a_workdir_to_a_page(trained):
    trained, workdir = trained
    modes.run('interpret', trained.config, workdir)
    folder = workdir / 'interpretation'
    networks = {'ddpm': {'cnn', 'cnn_untold'}, 'dcgan': {'generator', 'discriminator'}}[trained.config.family]
    assert {p.name for p in folder.iterdir()} == {
        'report.html',
        'ablation.npz',
        'synthesis.npz',
        *(f'{name}.npz' for name in networks),
    }
    page = (folder / 'report.html').read_text()
    assert '<svg' in page and 'data:image/png' in page and not re.search(r'(src|href)="(?!data:|#)', page)
    assert 'nan' not in re.sub(r'<[^>]*>', ' ', page).lower().split()
    with np.load(folder / 'ablation.npz') as arrays:
        assert arrays['right'].shape == (8, 20) and set(arrays['class']) == {'3', '8'}
        for factor in (0.0, 2.0):
            own, random = (
                [
                    100 * arrays[on][(arrays['factor'] == factor) & (arrays['draw'] == d), 0]
                    for on in ('on_class', 'on_others')
                ]
                for d in (0, 1)
            )
            change, other = np.mean(own, 1) - np.mean(random, 1)
            assert (
                f'Times {factor:g}, in the mean over 2 classes, the own channels differ from random ones by {change:+.1f}'
                in page
            )
            assert f'and by {change - other:+.1f} in that change' in page
    assert (
        page.count('two of the 4 such tests') == 2
        and 'as many random channels of the same blocks, or all others' in page
    )
    assert len(re.findall('(beyond all of|within) 1 random draw', page)) == 4 and 'in up to 100% of cases' in page
    for name in networks:
        with np.load(folder / f'{name}.npz') as arrays:
            levels = len(arrays['levels'])
            block = next(key for key in arrays if key.startswith('mean/'))
            assert arrays[block].shape[:2] == (levels, 10) and arrays['counts'].sum() == 40
            name = block.partition('/')[2]
            assert arrays[f'low/{name}'].shape == arrays[block].shape and 0 < arrays[f'low/{name}'].mean() < 1
            assert all(f'>{bits:.3g}<' in page for bits in arrays[f'information_excess/{name}'].mean(1))
            assert np.all(arrays[f'index_strict/{name}'] >= 1 / 21) and arrays[f'information_strict/{name}'].ndim == 2
    if 'generator' in networks:  # the quicker of the two: all of it is the same a second time
        before = {p.name: p.read_bytes() for p in folder.iterdir()}
        modes.run('interpret', trained.config, workdir)
        assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'interpret.layer': 'blok0'}, r"config.interpret.layer: 'blok0' does not exist; did you mean block0"),
        (
            {'interpret.channels': 'conv_inn:0'},
            "config.interpret.channels: the layer 'conv_inn' .* did you mean conv_in",
        ),
        (
            {'interpret.channels': 'block0:9'},
            r"config.interpret.channels: 'block0:9' does not exist; did you mean block0:",
        ),
        ({'interpret.channels': 'block0'}, "config.interpret.channels: 'block0' does not exist; did you mean block0:"),
        ({'interpret.classes': '3,33'}, "config.interpret.classes: '33' does not exist; did you mean 3"),
        ({'interpret.parts': 'ablate'}, "config.interpret.parts: 'ablate' does not exist; did you mean ablation"),
        ({'interpret.top_k': 99}, 'config.interpret.top_k=99 must be below the 24 channels of the network'),
        ({'interpret.layer': 'block0', 'interpret.top_k': 8}, 'must be below the 8 channels of block0'),
        ({'interpret.levels': 11}, 'config.interpret.levels=11 must be at most half of config.diffusion.timesteps=20'),
        ({'interpret.factors': (-1.0,)}, 'config.interpret.factors'),
        ({'interpret.strengths': (0.5, 1.5)}, 'config.interpret.strengths'),
        ({'interpret.bins': 1}, 'config.interpret.bins=1 must be at least 2'),
        ({'interpret.false_discoveries': 0.0}, 'config.interpret.false_discoveries=0.0 must lie between'),
        (
            {'interpret.permutations': 18},
            'config.interpret.permutations=18 are too few .* at config.interpret.false_discoveries=0.05: pass at least 19',
        ),
        ({'interpret.smoothness': -1.0}, 'config.interpret.smoothness=-1.0'),
        ({'interpret.seed': -1}, 'config.interpret.seed=-1'),
        ({'evaluation.judge': 'nowhere.safetensors'}, 'config.evaluation.judge'),
        (
            {'diffusion.schedule': 'flow', 'diffusion.parameterisation': 'mean_flow', 'sample.sampler': 'mean_flow'},
            'config.diffusion.parameterisation=mean_flow is not interpreted',
        ),
    ],
)
def test_what_cannot_be_interpreted_is_refused_in_a_sentence(ddpm, fields, words):
    _, workdir = ddpm
    with pytest.raises(UserError, match=words):
        modes.run('interpret', config_of('ddpm', **fields), workdir)


def test_a_fine_tuned_model_is_looked_at_over_all_that_it_knows(tmp_path):
    base, tuned = (epath.Path(tmp_path) / name for name in ('base', 'tuned'))
    known = config_of('ddpm', **{'data.classes': '8,3', 'data.max_examples': 20, 'interpret.levels': 1})
    fields = {'interpret.num': 0, 'interpret.levels': 1, 'interpret.factors': (0.0,), 'interpret.classes': '5'}
    c = config_of('ddpm', **fields, **{'data.classes': '5', 'data.max_examples': 2, 'interpret.parts': 'ablation'})
    c.finetune.base, c.finetune.targets = str(base), 'dense'
    untrained(known, base)
    untrained(c, tuned)
    modes.run('interpret', c, tuned)
    every = modes.load('digits', 'train').labels
    with np.load(tuned / 'interpretation' / 'cnn.npz') as arrays:
        assert arrays['classes'].tolist() == ['8', '3', '5']
        assert arrays['counts'].tolist() == [np.sum(every == k) for k in (8, 3, 5)]
    with np.load(tuned / 'interpretation' / 'ablation.npz') as arrays:
        assert np.bincount(arrays['labels']).tolist() == [2, 2, 2] and set(arrays['class']) == {'5'}

    method = restore(c, tuned).method
    factors = jax.tree.map(np.asarray, method.init(jax.random.key(0)).ema)
    adapters.write(tmp_path / 'a.safetensors', adapters.of_config(c, factors, method.base_hash, ('8', '3', '5')))
    known.sample.adapter, known.interpret.num, known.interpret.parts = str(tmp_path / 'a.safetensors'), 0, ''
    known.interpret.classes = ''
    found = interpret(known, restore(known, base), base)
    assert found.atlases[0].counts.tolist() == [np.sum(every == k) for k in (8, 3, 5)]


def test_a_model_of_one_class_tells_none_apart(tmp_path):
    c = config_of('ddpm', **{'data.classes': '3'})
    with pytest.raises(UserError, match='config.data.classes=3: channels that tell classes apart need two of them'):
        modes.run('interpret', c, untrained(c, epath.Path(tmp_path) / 'run'))


def test_a_model_that_knows_no_classes_is_not_asked_to_draw_one(ddpm, tmp_path):
    c = config_of('ddpm', **{'model.conditional': False})
    with pytest.raises(UserError, match='config.model.conditional=False .* --config.interpret.parts=synthesis'):
        modes.run('interpret', c, epath.Path(tmp_path) / 'run')
    trained, _ = ddpm
    unconditional = dataclasses.replace(trained, config=c)
    assert [p.network for p in probes_of(unconditional, {'params': trained.model.ema}, 2)] == ['cnn']
    assert synthesis.told_classes(unconditional) == (0,)


def test_a_judge_draws_nothing_to_interpret(tmp_path):
    with pytest.raises(UserError, match='config.family=judge generates no images'):
        modes.run('interpret', tiny_config('judge'), epath.Path(tmp_path) / 'run')
