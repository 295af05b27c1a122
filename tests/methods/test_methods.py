"""What the trainer expects of every method, and the steps and options of DCGAN."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest

from jaxgen import methods
from jaxgen.apps.untrained import build_method
from jaxgen.gan import losses, penalties
from jaxgen.runtime.mesh import make_mesh
from jaxgen.training.state import start_on_mesh
from jaxgen.training.step import make_dispatch
from tests.tiny import tiny_config

KEY = jax.random.key(0)


def build(name, **fields):
    return build_method(tiny_config(name, **fields), (8, 8, 1), 10)


def batch(size=16):
    rng = np.random.default_rng(0)
    return {'image': rng.uniform(-1, 1, (size, 8, 8, 1)), 'label': np.arange(size, dtype=np.int32) % 10}


@functools.cache
def first_step():
    """Return a DCGAN, its first model, and that model and its metrics after a step on ``batch()``."""
    method = build('dcgan')
    model = jax.jit(method.init)(KEY)
    return method, model, *jax.jit(method.step)(model, batch(), KEY)


@pytest.mark.parametrize('name', [name for name, method in methods.METHODS.items() if method.supports.samples])
@pytest.mark.parametrize('ema', [True, False])
def test_an_image_depends_on_its_key_and_label_alone(name, ema):
    method = build(name)
    shapes = jax.eval_shape(method.init, KEY)
    rng = np.random.default_rng(0)
    # Positive numbers, because some are variances; small enough for a network without normalisation.
    scale = 0.3 if name != 'r3gan' else 0.15
    model = jax.tree.map(lambda s: abs(rng.normal(0, scale, s.shape)).astype(s.dtype), shapes)
    variables = jax.jit(lambda m: method.sampling_variables(m, KEY, ema))(model)
    draw = jax.jit(method.sample)
    keys, labels = jax.random.split(KEY, 6), np.arange(6)
    images = draw(variables, keys, labels)
    assert images.shape == (6, 8, 8, 1) and abs(images).max() <= 1 and images.std() > 0.05
    np.testing.assert_allclose(draw(variables, keys[3:5], labels[3:5]), images[3:5], atol=1e-4)
    assert abs(draw(variables, keys[:2], labels[[0, 5]])[1] - images[1]).max() > 1e-3


def one_step(method, devices, fsdp=1):
    mesh = make_mesh(fsdp, jax.devices()[:devices])
    template, state = start_on_mesh(method, KEY, mesh)
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 8, 8, 1), np.uint8)
    batches = {'image': images, 'label': batch()['label'][None]}
    return jax.device_get(make_dispatch(method, KEY, mesh, template, random_flip=True)(state, batches)[0])


def test_dcgan_on_one_and_eight_devices_with_everything_on():
    """Above all, the statistics of its normalisation are those of the global batch, not of the rows on a device."""
    fields = {
        'gan.r1_gamma': 0.1,
        'gan.augment': ('color', 'translation', 'cutout'),
        'gan.diffusion_noise': True,
        'model.spectral_norm': True,
    }
    with jax.enable_x64(True):
        method = build('dcgan', **fields)
        types = {'dtype': np.float64, 'param_dtype': np.float64}
        method = dataclasses.replace(
            method, generator=method.generator.clone(**types), discriminator=method.discriminator.clone(**types)
        )
        one, eight = one_step(method, 1), one_step(method, 8, fsdp=2)
    assert one.step == 1
    for (path, x), y in zip(jax.tree.leaves_with_path(eight), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-9 * max(1, abs(y).max()), err_msg=jax.tree_util.keystr(path))


def test_steps_and_learning_rate_of_the_discriminator():
    method = build('dcgan', **{'gan.discriminator_steps': 2, 'gan.discriminator_learning_rate': 1e-12})
    start = jax.jit(method.init)(KEY)
    model, _ = jax.jit(method.step)(start, batch(), KEY)
    players = model.generator, model.discriminator
    counts = [int(optax.tree_utils.tree_get_all_with_path(p.opt_state, 'count')[0][1]) for p in players]
    assert counts == [1, 2] and model.updates == 1
    moved = [
        jax.tree.leaves(jax.tree.map(lambda a, b: abs(a - b).max(), after.params, before.params))
        for after, before in zip(players, (start.generator, start.discriminator), strict=True)
    ]
    assert min(moved[0]) > 1e-5 and max(moved[1]) < 1e-8


def test_the_penalty_is_added_to_the_discriminators_loss():
    method, model, _, metrics = first_step()
    step = jax.jit(build('dcgan', **{'gan.r1_gamma': 100.0}).step)
    without, penalised = (m['loss_discriminator'] for m in (metrics, step(model, batch(), KEY)[1]))
    discriminator = method.discriminator

    def critic(x):
        variables = {'params': model.discriminator.params, **model.discriminator.stats}
        return discriminator.apply(variables, x, batch()['label'], train=True, mutable=['batch_stats'])[0]

    penalty = penalties.r1(critic, batch()['image'].astype(np.float32), 100.0)
    assert penalty > 0.001
    np.testing.assert_allclose(penalised - without, penalty, rtol=1e-3)


def test_the_noise_grows_every_fourth_step_while_the_discriminator_is_sure():
    fields = {'gan.diffusion_noise': True, 'gan.diffusion_images': 640, 'gan.diffusion_target': -0.99}
    method = build('dcgan', **fields)
    model, advance = jax.jit(method.init)(KEY), jax.jit(method.step)
    for i, strength in enumerate((0, 0, 0, 0.1, 0.1, 0.1, 0.1, 0.2)):
        model, metrics = advance(model, batch(), jax.random.fold_in(KEY, i))
        np.testing.assert_allclose(model.noise['strength'], strength, atol=1e-6)
        if i in (3, 7):
            assert model.noise['signs'] == 0
    assert metrics['noise_timesteps'] == 109  # 10 + 0.1 * 990, during the eighth step


class Spy:
    """A discriminator that records its inputs, even if its calls are compiled or differentiated."""

    def __init__(self, network):
        self.network, self.shown, self.labels = network, [], []

    def apply(self, variables, images, label, *args, **kwargs):
        jax.debug.callback(lambda x: self.shown.append(np.array(x)), images, ordered=True)
        self.labels.append(label)
        return self.network.apply(variables, images, label, *args, **kwargs)


@pytest.mark.parametrize(('loss', 'turns'), [('non_saturating', 2), ('hinge', 1)])
def test_the_discriminator_gets_its_images_and_its_loss(loss, turns):
    """Each turn shows its rows of the real images, as in ``--mode=data``, and generated images, augmented by its own keys.

    At the end, the generated images of the last turn are augmented again for the generator, as in DiffAugment.
    """
    method = build('dcgan', **{'gan.augment': ('color', 'cutout'), 'gan.discriminator_steps': turns, 'gan.loss': loss})
    data = {'image': batch()['image'].astype(np.float32), 'label': batch()['label']}
    spy = Spy(method.discriminator)

    @jax.jit
    def run(model):
        return dataclasses.replace(method, discriminator=spy).step(model, data, KEY)[1]

    @jax.jit
    def expect(model):
        real, shown = method.augment(data['image'], KEY), []
        for i in range(turns):
            turn_key = jax.random.fold_in(KEY, i + 1)
            fake, _, model = method._generate(model, data['label'][i::turns], turn_key)
            _, _, fake_key, generator_key = jax.random.split(turn_key, 4)
            shown += [real[i::turns], method.augment(fake, fake_key)]
        shown.append(method.augment(fake, generator_key))
        variables = {'params': model.discriminator.params, **model.discriminator.stats}

        def say(images):
            label = data['label'][::turns]
            return method.discriminator.apply(variables, images, label, train=True, mutable=['batch_stats'])

        return shown, [say(x)[0] for x in shown[:2]]

    model = jax.jit(method.init)(KEY)
    metrics, (expected, (real_logits, fake_logits)) = run(model), expect(model)
    jax.effects_barrier()
    assert abs(expected[0] - data['image'][::turns]).max() > 0.5
    for got, images in zip(spy.shown, expected, strict=True):
        np.testing.assert_allclose(got, images, atol=1e-5)
    for i, label in enumerate(spy.labels):
        np.testing.assert_array_equal(label, data['label'][min(i // 2, turns - 1) :: turns])
    assert len(spy.labels) == 2 * turns + 1
    if turns == 1:  # in later turns the discriminator has changed
        functions = losses.LOSSES[loss]
        value = functions.real(real_logits) + functions.fake(fake_logits)
        np.testing.assert_allclose(metrics['loss_discriminator'], value, rtol=1e-5)


def test_gradient_norms_are_those_that_adam_is_given():
    """The first moment after the first step is (1 - beta1) times the gradient."""
    method, _, after, metrics = first_step()
    for name, network in (('generator', after.generator), ('discriminator', after.discriminator)):
        gradient = optax.tree.norm(optax.tree.get(network.opt_state, 'mu')) / (1 - method.optimizer.beta1)
        np.testing.assert_allclose(metrics[f'grad_norm_{name}'], gradient, rtol=1e-5)
