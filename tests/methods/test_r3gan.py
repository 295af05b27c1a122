"""R3GAN: one full step against PyTorch, its schedule, and the refusals of its options."""

import jax
import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from jaxgen.apps.interop import r3gan as interop
from jaxgen.apps.rules import validate
from jaxgen.apps.untrained import build_method
from jaxgen.errors import UserError
from jaxgen.methods.r3gan import R3GAN
from jaxgen.methods.r3gan.options import R3GANOptimizerOptions, R3GANOptions
from jaxgen.models.r3gan import R3GANDiscriminator, R3GANGenerator
from jaxgen.runtime.mesh import make_mesh
from jaxgen.training.state import start_on_mesh
from jaxgen.training.step import make_dispatch
from tests.helpers.r3gan_networks import r3gan_networks, randomise, state_dict
from tests.helpers.tutorial_networks import nchw
from tests.tiny import LONG, tiny_config

KEY = jax.random.key(3)
CHANNELS, GROUP, LATENT, CLASSES, BATCH, TAKEN = (8, 4, 4), 4, 5, 10, 6, 10
KINDS = ('generator', 'discriminator')


def ours(gan=None):
    types = {'dtype': np.float64, 'param_dtype': np.float64}
    common = {'channels': CHANNELS, 'num_blocks': 1, 'group_size': GROUP, 'num_classes': CLASSES, **types}
    return R3GAN(
        R3GANGenerator(16, 3, latent_size=LATENT, **common),
        R3GANDiscriminator(16, **common),
        R3GANOptimizerOptions(),
        gan or R3GANOptions(gamma=0.3),
        (16, 16, 3),
    )


def random_adam(network, rng):
    """Return a state of Adam in mid-training, because its first update is only the sign of the gradient."""
    adam = torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.0, 0.99))
    for p in network.parameters():
        moments = 0.01 * rng.normal(size=p.shape), 1e-3 * rng.uniform(0.5, 2, p.shape)
        first, second = map(torch.from_numpy, moments)
        adam.state[p] = {'step': torch.tensor(float(TAKEN)), 'exp_avg': first, 'exp_avg_sq': second}
    return adam


def tree_of(network, kind, template, adam=None, moment=None):
    """Return the parameters of a network in our format, or a moment of Adam for them."""
    state = state_dict(network)
    if adam is not None:
        state |= {name: adam.state[p][moment].numpy().copy() for name, p in network.named_parameters()}
    return interop.from_official(state, kind, template)


def state_of(method, networks, adams):
    model = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), jax.eval_shape(method.init, KEY))
    own = {}
    for kind, network, adam in zip(KINDS, networks, adams, strict=True):
        before = getattr(model, kind)
        mu, nu = (tree_of(network, kind, before.params, adam, name) for name in ('exp_avg', 'exp_avg_sq'))
        moments = before.opt_state[1][0]._replace(count=np.int32(TAKEN), mu=mu, nu=nu)
        opt_state = (before.opt_state[0], (moments, *before.opt_state[1][1:]))
        own[kind] = before.replace(params=tree_of(network, kind, before.params), opt_state=opt_state)
    return model.replace(**own, ema=jax.tree.map(lambda x: -x, own['generator'].params))


def torch_step(networks, adams, real, z, label, gamma):
    """Take a step of the paper on one set of pairs, and return the metrics."""
    generator, discriminator = networks

    def penalty(images, logits):
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return gamma / 2 * gradient.square().sum((1, 2, 3)).mean()

    fake = generator(z, label)
    shown = real.clone().requires_grad_(True), fake.detach().requires_grad_(True)
    real_logits, fake_logits = (discriminator(images, label) for images in shown)
    r1, r2 = penalty(shown[0], real_logits), penalty(shown[1], fake_logits)
    loss = softplus(fake_logits - real_logits).mean() + r1 + r2
    adams[1].zero_grad()
    loss.backward()
    adams[1].step()
    real_after, fake_after = discriminator(real, label), discriminator(fake, label)
    loss_generator = softplus(real_after - fake_after).mean()
    adams[0].zero_grad()
    loss_generator.backward()
    adams[0].step()
    margin, margin_after = real_logits - fake_logits, real_after - fake_after
    values = {'loss_discriminator': loss, 'r1': r1, 'r2': r2, 'real_minus_fake': margin.mean()}
    values |= {'accuracy_pairs': (margin > 0).double().mean(), 'loss_generator': loss_generator}
    return values | {'real_minus_fake_after': margin_after.mean()}


def assert_close(got, expected):
    for (path, x), y in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        atol = 1e-9 * max(abs(np.asarray(y)).max(), 1e-3)
        np.testing.assert_allclose(x, y, rtol=0, atol=atol, err_msg=jax.tree_util.keystr(path))


def test_one_full_step_is_pytorchs():
    """The losses, metrics, updated weights, moments of Adam (which show the gradients) and moving average are the same."""
    rng = np.random.default_rng(2)
    networks = [network.double() for network in r3gan_networks(CHANNELS, GROUP, 1, LATENT, classes=CLASSES)]
    for network in networks:
        randomise(network, rng)
    adams = [random_adam(network, rng) for network in networks]
    real, label = rng.uniform(-1, 1, (BATCH, 16, 16, 3)), np.arange(BATCH, dtype=np.int32)
    with jax.enable_x64(True):
        method = ours()
        model = state_of(method, networks, adams)
        latent_key = jax.random.split(jax.random.fold_in(KEY, 1), 3)[0]
        z = np.array(jax.random.normal(latent_key, (BATCH, LATENT), np.float64))
        after, metrics = jax.device_get(jax.jit(method.step)(model, {'image': real, 'label': label}, KEY))
    expected = torch_step(networks, adams, nchw(real), torch.from_numpy(z), torch.from_numpy(label).long(), 0.3)

    assert after.updates == 1 and set(metrics) == set(method.metrics)
    np.testing.assert_allclose([metrics['gamma'], metrics['learning_rate']], [0.3, 2e-4], rtol=1e-6)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value.item(), rtol=1e-9, err_msg=name)
    for kind, network, adam in zip(KINDS, networks, adams, strict=True):
        state = getattr(after, kind)
        template, moments = state.params, state.opt_state[1][0]
        assert_close(state.params, tree_of(network, kind, template))
        assert_close(moments.mu, tree_of(network, kind, template, adam, 'exp_avg'))
        assert_close(moments.nu, tree_of(network, kind, template, adam, 'exp_avg_sq'))
        norm = np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(moments.mu)))  # beta1 is 0: the gradient itself
        np.testing.assert_allclose(metrics[f'grad_norm_{kind}'], norm, rtol=1e-9)
    # The first update of an average keeps 1 / 10 of it.
    assert_close(after.ema, jax.tree.map(lambda a, p: a + 0.9 * (p - a), model.ema, after.generator.params))


def test_gamma_falls_along_half_a_cosine():
    method = ours(R3GANOptions(gamma=0.05, final_gamma=0.005, burn_in_steps=100))
    got = [float(method.gamma(np.int32(updates))) for updates in (0, 50, 100, 1000)]
    np.testing.assert_allclose(got, [0.05, 0.0275, 0.005, 0.005], rtol=1e-5)
    assert float(ours().gamma(np.int32(10**6))) == pytest.approx(0.3)


@LONG
def test_one_and_eight_devices_make_the_same_step():
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 16, 3), np.uint8)
    batches = {'image': images, 'label': np.arange(16, dtype=np.int32)[None] % CLASSES}
    with jax.enable_x64(True):
        method, states = ours(R3GANOptions(augment=('color', 'translation', 'cutout'))), []
        for devices, fsdp in ((1, 1), (8, 2)):
            mesh = make_mesh(fsdp, jax.devices()[:devices])
            template, state = start_on_mesh(method, KEY, mesh)
            state = make_dispatch(method, KEY, mesh, template, random_flip=True)(state, batches)[0]
            states.append(jax.device_get(state))
    assert_close(states[1].model.discriminator.params, states[0].model.discriminator.params)
    assert_close(states[1].model.generator.opt_state, states[0].model.generator.opt_state)


@pytest.mark.parametrize(
    ('fields', 'sentence'),
    [
        ({'data.image_size': 12}, 'config.data.image_size: .* 8, 16, 32, 64'),
        ({'model.group_size': 5}, 'config.model.group_size=5 must divide 2 times the channels .* here 8,4'),
        ({'model.channels': (8, 4, 2, 1), 'data.image_size': 64}, 'config.model.group_size=4 .* here 8,4,2,1,0'),
        ({'train.grad_accumulation': 2}, 'config.train.grad_accumulation=2 must be 1 for R3GAN: both networks'),
        ({'gan.final_gamma': 0.01}, 'config.gan.burn_in_steps=None does not go with final_gamma=0.01'),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        validate(tiny_config('r3gan', **fields))


def test_an_unconditional_model_knows_no_classes():
    method = build_method(tiny_config('r3gan', **{'model.conditional': False}), (8, 8, 1), 10)
    assert not method.capabilities.knows_classes
    assert 'label' not in jax.eval_shape(method.init, KEY).discriminator.params
