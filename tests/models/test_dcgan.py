"""DCGAN against the PyTorch tutorial's networks, with every tensor randomised."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from jaxgen.apps.interop import dcgan as interop
from jaxgen.methods.dcgan import DCGAN
from jaxgen.methods.dcgan.options import DCGANOptimizerOptions, GANOptions
from jaxgen.models.dcgan import Discriminator, Generator, num_levels
from jaxgen.models.layers import spectral_norm
from tests.helpers.tutorial_networks import nchw, randomise, tutorial_networks

BATCH = 4
STEP_KEY = jax.random.key(5)
TAKEN = 10  # steps that Adam has already taken


def from_torch(network, kind):
    """Convert a tutorial network to the parameters and running statistics of ours: ``(params, batch_stats)``, float64."""
    state = {f'main.{name}': x.numpy().copy() for name, x in network.state_dict().items()}
    variables = interop.from_tutorial(state, kind)
    return variables['params'], variables.get('batch_stats', {})


def ours(dtype, image_size=64, ngf=64, nz=100, nc=3):
    types = {'dtype': dtype, 'param_dtype': dtype}
    return DCGAN(
        Generator(image_size, nc, ngf, nz, **types),
        Discriminator(image_size, ngf, **types),
        DCGANOptimizerOptions(),
        GANOptions(),
        (image_size, image_size, nc),
    )


def with_moments(network, kind, optimizers, name):
    """Return a tree like the parameters of a network, with one of Adam's moments of each parameter."""
    states = {p: s for optimizer in optimizers for p, s in optimizer.state.items()}
    kept = {key: p.detach().clone() for key, p in network.named_parameters()}
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(states[p][name])
        tree = from_torch(network, kind)[0]
        for key, p in network.named_parameters():
            p.copy_(kept[key])
    return tree


def state_of(dcgan, networks, dtype, optimizers=()):
    """Return a train state with the parameters of the tutorial's networks and the states of their optimisers."""
    shapes = jax.eval_shape(dcgan.init, STEP_KEY)
    model = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    states = []
    for network_state, network, kind in zip(
        (model.generator, model.discriminator), networks, ('up', 'down'), strict=True
    ):
        params, stats = jax.tree.map(lambda x: x.astype(dtype), from_torch(network, kind))
        assert jax.tree.structure(params) == jax.tree.structure(network_state.params)
        states.append(network_state.replace(params=params, stats={'batch_stats': stats}))
        if optimizers:
            adam = network_state.opt_state[1][0]._replace(
                count=np.int32(TAKEN),
                mu=with_moments(network, kind, optimizers, 'exp_avg'),
                nu=with_moments(network, kind, optimizers, 'exp_avg_sq'),
            )
            opt_state = (network_state.opt_state[0], (adam, *network_state.opt_state[1][1:]))
            states[-1] = states[-1].replace(
                opt_state=jax.tree.map(lambda x: x.astype(dtype) if x.ndim else x, opt_state)
            )
    return model.replace(generator=states[0], discriminator=states[1], ema=states[0].params)


def assert_close(got, expected, tolerance):
    """Compare each tensor, with ``tolerance`` relative to its largest value."""
    for (path, x), y in zip(jax.tree.leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        y = np.asarray(y)
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * abs(y).max(), err_msg=jax.tree_util.keystr(path))


def test_the_tutorials_number_and_distribution_of_parameters():
    dcgan = ours(jnp.float32)
    model = jax.eval_shape(dcgan.init, STEP_KEY)
    counts = {name: sum(x.size for x in jax.tree.leaves(p)) for name, p in dcgan.networks(model).items()}
    assert counts == {'generator': 3_576_704, 'discriminator': 2_765_568}

    started = jax.device_get(jax.jit(dcgan.init)(STEP_KEY))
    for network_state in (started.generator, started.discriminator):
        for path, values in jax.tree.leaves_with_path(network_state.params):
            name = path[-1].key
            if name == 'bias':
                assert not values.any()
            else:
                error = 0.02 / np.sqrt(values.size)
                assert abs(values.mean() - (name == 'scale')) < 5 * error, path
                assert abs(values.std() - 0.02) < 5 * error, path


def nearest_to_the_kink(networks):
    """Return a list to which each call of a (leaky) ReLU of the networks appends the size of its smallest input."""
    nearest = []
    for module in (m for network in networks for m in network if isinstance(m, (nn.ReLU, nn.LeakyReLU))):
        module.register_forward_pre_hook(lambda _, inputs: nearest.append(inputs[0].detach().abs().min().item()))
    return nearest


@pytest.mark.parametrize(
    ('dtype', 'tolerance', 'image_size', 'ngf', 'nz'), [(np.float64, 1e-9, 64, 16, 100), (np.float32, 1e-4, 16, 8, 16)]
)
def test_one_full_step_is_pytorchs(dtype, tolerance, image_size, ngf, nz):
    """Compare outputs, losses, metrics, running statistics, updated weights, and Adam's moments, which contain the gradients.

    Adam starts in mid-training, with random moments: its first update would be the sign of the gradient, which depends on
    rounding where the gradient is nearly zero. The gradient of a ReLU also depends on rounding where its input is nearly
    zero. That happens among the millions of inputs in the tutorial's networks, so float32 is tested with small networks, where
    no input is so near to zero.
    """
    rng = np.random.default_rng(7)
    networks = tutorial_networks(image_size, ngf, nz)
    optimizers = [torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in networks]
    for network, optimizer in zip(networks, optimizers, strict=True):
        network.double()
        randomise(network, rng)
        network.to(torch.float64 if dtype == np.float64 else torch.float32)
        for p in network.parameters():
            first, second = 0.01 * rng.normal(size=p.shape), 1e-3 * rng.uniform(0.5, 2, p.shape)
            optimizer.state[p] = {
                'step': torch.tensor(float(TAKEN)),
                'exp_avg': torch.from_numpy(first).to(p.dtype),
                'exp_avg_sq': torch.from_numpy(second).to(p.dtype),
            }
    generator, discriminator = networks
    real = rng.uniform(-1, 1, (BATCH, image_size, image_size, 3)).astype(dtype)
    label = np.zeros(BATCH, np.int32)

    with jax.enable_x64(dtype == np.float64):
        dcgan = ours(dtype, image_size, ngf, nz)
        model = state_of(dcgan, networks, dtype, optimizers)
        model = model.replace(ema=jax.tree.map(lambda x: -x, model.ema))
        latent_key = jax.random.split(jax.random.fold_in(STEP_KEY, 1), 4)[0]
        z = np.asarray(jax.random.normal(latent_key, (BATCH, nz), dtype))
        generate, judge = jax.jit(dcgan.generator.apply), jax.jit(dcgan.discriminator.apply)
        images = generate({'params': model.generator.params, **model.generator.stats}, z, label)
        logits = judge({'params': model.discriminator.params, **model.discriminator.stats}, real, label)
        after, metrics = jax.device_get(jax.jit(dcgan.step)(model, {'image': real, 'label': label}, STEP_KEY))

    noise = torch.from_numpy(z.copy())[:, :, None, None]
    with torch.no_grad():
        assert_close(images.transpose(0, 3, 1, 2), generator.eval()(noise), tolerance)
        assert_close(logits, discriminator.eval()(nchw(real)).flatten(), tolerance)

    for network in networks:
        network.train()
    nearest = nearest_to_the_kink(networks)
    criterion = nn.BCEWithLogitsLoss()
    one, zero = torch.ones(BATCH, dtype=noise.dtype), torch.zeros(BATCH, dtype=noise.dtype)
    real_logits = discriminator(nchw(real)).view(-1)
    loss_real = criterion(real_logits, one)
    loss_real.backward()
    fake = generator(noise)
    fake_logits = discriminator(fake.detach()).view(-1)
    loss_fake = criterion(fake_logits, zero)
    loss_fake.backward()
    optimizers[1].step()
    generator.zero_grad()
    later_logits = discriminator(fake).view(-1)
    loss_generator = criterion(later_logits, one)
    loss_generator.backward()
    optimizers[0].step()

    assert min(nearest) > 500 * np.finfo(dtype).eps
    np.testing.assert_allclose(metrics['loss_discriminator'], (loss_real + loss_fake).item(), rtol=tolerance)
    np.testing.assert_allclose(metrics['loss_generator'], loss_generator.item(), rtol=tolerance)
    for name, logits in (('d_real', real_logits), ('d_fake', fake_logits), ('d_fake_after', later_logits)):
        np.testing.assert_allclose(metrics[name], logits.sigmoid().mean().item(), rtol=tolerance)
    assert metrics['accuracy_real'] == (real_logits > 0).double().mean() != metrics['accuracy_fake']
    assert metrics['accuracy_fake'] == (fake_logits < 0).double().mean()
    averaged = jax.tree.map(
        lambda old, new: old + 0.9 * (new - old), model.ema, after.generator.params
    )  # (1 + 0) / (10 + 0)
    assert_close(after.ema, averaged, tolerance)
    for network_state, network, kind in zip(
        (after.generator, after.discriminator), networks, ('up', 'down'), strict=True
    ):
        params, stats = from_torch(network, kind)
        assert_close(network_state.stats['batch_stats'], stats, tolerance)
        assert_close(network_state.params, params, tolerance)
        assert_close(network_state.opt_state[1][0].mu, with_moments(network, kind, optimizers, 'exp_avg'), tolerance)
        assert_close(network_state.opt_state[1][0].nu, with_moments(network, kind, optimizers, 'exp_avg_sq'), tolerance)


def test_other_sizes_are_the_same_networks_with_fewer_levels():
    rng = np.random.default_rng(1)
    for image_size in (8, 32):
        networks = tutorial_networks(image_size, ngf=8, nz=5, nc=1)
        for network in networks:
            randomise(network.double(), rng)
        z, real = rng.normal(size=(3, 5)), rng.uniform(-1, 1, (3, image_size, image_size, 1))
        with jax.enable_x64(True):
            dcgan = ours(np.float64, image_size, 8, 5, 1)
            model = state_of(dcgan, networks, np.float64)
            label = np.zeros(3, np.int32)
            images = dcgan.generator.apply({'params': model.generator.params, **model.generator.stats}, z, label)
            logits = dcgan.discriminator.apply(
                {'params': model.discriminator.params, **model.discriminator.stats}, real, label
            )
        with torch.no_grad():
            assert_close(images.transpose(0, 3, 1, 2), networks[0].eval()(torch.from_numpy(z)[:, :, None, None]), 1e-9)
            assert_close(logits, networks[1].eval()(nchw(real)).flatten(), 1e-9)


def test_statistics_of_the_averaged_generator_match_update_bn():
    """Compare with ``torch.optim.swa_utils.update_bn`` on the same latents; before any update, running statistics are kept."""
    rng = np.random.default_rng(2)
    networks = tutorial_networks(8, ngf=4, nz=5, nc=1)
    for network in networks:
        randomise(network.double(), rng)
    with jax.enable_x64(True):
        dcgan = ours(np.float64, 8, 4, 5, 1)
        model = state_of(dcgan, networks, np.float64)
        params = jax.tree.map(lambda x: -x, model.ema)
        elsewhere = model.replace(updates=np.int32(1), generator=model.generator.replace(params=params))
        averaged = jax.jit(lambda m: dcgan.sampling_variables(m, STEP_KEY, ema=True))
        variables, imported = averaged(elsewhere), averaged(model)
        keys = [jax.random.split(k)[0] for k in jax.random.split(STEP_KEY, 16)]
        latents = [torch.from_numpy(np.array(jax.random.normal(k, (128, 5))))[:, :, None, None] for k in keys]
    torch.optim.swa_utils.update_bn(latents, networks[0])
    assert_close(variables['batch_stats'], from_torch(networks[0], 'up')[1], 1e-9)
    assert_close(variables['params'], model.ema, 0)
    running = dcgan.sampling_variables(elsewhere, STEP_KEY, ema=False)
    assert_close(running['batch_stats'], model.generator.stats['batch_stats'], 0)
    assert_close(running['params'], elsewhere.generator.params, 0)
    assert_close(imported['batch_stats'], model.generator.stats['batch_stats'], 0)


def test_labels_reach_both_networks():
    rng = np.random.default_rng(3)
    generator, discriminator = Generator(8, 1, 4, 5, num_classes=3), Discriminator(8, 4, num_classes=3)
    z, x = rng.normal(size=(2, 5)).astype('f'), rng.normal(size=(2, 8, 8, 1)).astype('f')
    for network, inputs in ((generator, z), (discriminator, x)):
        variables = network.init(STEP_KEY, inputs, np.array([0, 1]))
        first = network.apply(variables, inputs, np.array([0, 1]))
        second = network.apply(variables, inputs, np.array([0, 2]))
        np.testing.assert_array_equal(first[0], second[0])
        assert abs(first[1] - second[1]).max() > 1e-3


def test_the_projection_of_the_label():
    """A label adds the product of its embedding and the mean of the last feature map to the logit."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(5, 8, 8, 1))
    with jax.enable_x64(True):
        types = {'dtype': np.float64, 'param_dtype': np.float64}
        labelled, plain = Discriminator(8, 4, num_classes=3, **types), Discriminator(8, 4, **types)
        labels = np.array([0, 1, 2, 1, 0])
        params = labelled.init(STEP_KEY, x, labels)['params']
        kernel = np.asarray(params['down_0']['kernel'])
        embedding = rng.normal(size=(3, 4))
        got = labelled.apply({'params': {**params, 'label': {'embedding': embedding}}}, x, labels)
        without = plain.apply({'params': {k: v for k, v in params.items() if k != 'label'}}, x, labels)
    features = torch.nn.functional.conv2d(nchw(x), torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()), None, 2, 1)
    pooled = torch.nn.functional.leaky_relu(features, 0.2).mean((2, 3)).numpy()
    np.testing.assert_allclose(got - without, (embedding[labels] * pooled).sum(1), atol=1e-12)


def test_spectral_norm_is_pytorchs():
    rng = np.random.default_rng(5)
    layer = torch.nn.utils.spectral_norm(nn.Conv2d(3, 6, 4, bias=False).double())
    kernel, x = layer.weight_orig.detach().numpy().transpose(2, 3, 1, 0), rng.normal(size=(1, 3, 4, 4))
    u = layer.weight_u.numpy().copy()
    (layer(torch.from_numpy(x)) ** 2).sum().backward()
    with jax.enable_x64(True):

        def loss(kernel):
            normalised, next_u = spectral_norm(kernel, u)
            return jnp.sum(jnp.einsum('nihw,hwio->no', x, normalised) ** 2), (normalised, next_u)

        grad, (normalised, next_u) = jax.grad(loss, has_aux=True)(jnp.asarray(kernel))
    np.testing.assert_allclose(normalised.transpose(3, 2, 0, 1), layer.weight.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(next_u, layer.weight_u.numpy(), atol=1e-12)
    np.testing.assert_allclose(grad.transpose(3, 2, 0, 1), layer.weight_orig.grad.numpy(), atol=1e-9)


def test_the_spectral_norm_of_kernels_converges_to_one():
    discriminator = Discriminator(8, 4, batch_norm=False, spectral_norm=True)
    x, label = np.ones((2, 8, 8, 1), 'f'), np.zeros(2, np.int32)
    variables = jax.jit(discriminator.init)(STEP_KEY, x, label)
    train = jax.jit(lambda v: discriminator.apply(v, x, label, train=True, mutable=['spectral'])[1])
    for _ in range(60):
        variables = {**variables, **train(variables)}
    for name in ('down_0', 'down_1'):
        kernel = variables['params'][name]['kernel']
        normalised, _ = spectral_norm(kernel, variables['spectral'][name]['u'])
        largest = np.linalg.svd(np.asarray(normalised).reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        np.testing.assert_allclose(largest, 1, rtol=1e-4)


def test_without_batch_norm_the_convolutions_have_biases():
    discriminator = Discriminator(8, 4, batch_norm=False, spectral_norm=True)
    grey, label = np.zeros((1, 8, 8, 1), 'f'), np.zeros(1, np.int32)
    variables = jax.jit(discriminator.init)(STEP_KEY, grey, label)
    grads = jax.grad(lambda p: discriminator.apply({**variables, 'params': p}, grey, label)[0])(variables['params'])
    assert grads['down_1']['bias'] == 1
    assert all(
        'bias' not in p
        for p in jax.eval_shape(Discriminator(8, 4).init, STEP_KEY, grey, label)['params'].values()
        if 'kernel' in p
    )


@pytest.mark.parametrize('image_size', [4, 12, 48, 63, 72, 100])
def test_impossible_sizes_are_refused(image_size):
    with pytest.raises(ValueError, match=f'8, 16, 32, 64 ... pixels .*, not of {image_size}'):
        num_levels(image_size)
