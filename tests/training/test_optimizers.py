"""Optimizers: Adam and AdamW against PyTorch, Muon against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxgen.errors import UserError
from jaxgen.optim.muon import orthogonalise
from jaxgen.optim.optimizer import make_optimizer
from jaxgen.optim.options import OPTIMIZERS, OptimizerOptions

RNG = np.random.default_rng(0)
# Factors of the gradients, so that only some of them are clipped
SIZES = np.array([0.1, 3, 0.2, 5, 1, 0.01, 2, 1])[:, None]
TORCH_OPTIMIZERS = {'adam': torch.optim.Adam, 'adamw': torch.optim.AdamW}


def run(options, params, gradients):
    """Return the parameters after each of the updates."""
    tx = make_optimizer(options.resolved(len(gradients)))
    state, path = tx.init(params), []
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path


@pytest.mark.parametrize('name', TORCH_OPTIMIZERS)
def test_clipping_and_warm_up_are_those_of_pytorch(name):
    decay = 0.0 if name == 'adam' else 0.3
    common = {'learning_rate': 0.1, 'beta1': 0.8, 'beta2': 0.97, 'weight_decay': decay}
    options = OptimizerOptions(name=name, warmup_steps=5, grad_clip_norm=1.0, **common)
    start, gradients = RNG.normal(size=7), RNG.normal(size=(8, 7)) * SIZES
    weight = torch.nn.Parameter(torch.tensor(start))
    theirs = TORCH_OPTIMIZERS[name]([weight], betas=(0.8, 0.97), weight_decay=decay)
    with jax.enable_x64(True):
        path = run(options, jnp.asarray(start), list(jnp.asarray(gradients)))
    for i, (g, ours) in enumerate(zip(gradients, path, strict=True)):
        theirs.param_groups[0]['lr'] = 0.1 * min(i / 5, 1)
        weight.grad = torch.tensor(g)
        torch.nn.utils.clip_grad_norm_([weight], 1.0)
        theirs.step()
        np.testing.assert_allclose(ours, weight.detach().numpy(), rtol=1e-5)  # torch clips by norm + 1e-6


def newton_schulz(matrix):
    """Five steps of the iteration of Jordan et al. 2024, with their coefficients."""
    x = matrix / np.linalg.norm(matrix)
    x = x.T if len(x) > x.shape[1] else x
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if len(matrix) > matrix.shape[1] else x


@pytest.mark.parametrize('shape', [(6, 4), (4, 6), (5, 5), (3, 3, 2, 5)])
def test_muon_orthogonalises_the_momentum_of_kernels(shape):
    options = OptimizerOptions(name='muon', learning_rate=0.1, weight_decay=0.3)
    start, gradients = RNG.normal(size=shape), RNG.normal(size=(3, *shape))
    with jax.enable_x64(True):
        path = run(options, {'kernel': jnp.asarray(start)}, [{'kernel': jnp.asarray(g)} for g in gradients])
    kernel, momentum = start.reshape(-1, shape[-1]), 0
    rows, columns = kernel.shape
    for gradient, found in zip(gradients.reshape(3, rows, columns), path, strict=True):
        momentum = 0.95 * momentum + 0.05 * gradient
        ahead = 0.95 * momentum + 0.05 * gradient  # Nesterov momentum
        step = 0.2 * np.sqrt(max(rows, columns)) * newton_schulz(ahead)
        kernel = kernel - 0.1 * (step + 0.3 * kernel)
        np.testing.assert_allclose(found['kernel'].reshape(rows, columns), kernel, rtol=1e-6)


def test_muon_of_float32_is_that_of_float64_for_gradients_of_low_rank():
    """Singular values from 1 down to 1e-6, as those of a network's gradients, whose squares float32 hardly holds."""
    left, right = (np.linalg.qr(RNG.normal(size=(n, 64)))[0] for n in (9 * 64, 64))
    gradient = left * np.logspace(0, -6, 64) @ right.T
    expected = 0.2 * np.sqrt(9 * 64) * newton_schulz(gradient)
    found = orthogonalise(jnp.asarray(gradient.reshape(3, 3, 64, 64), jnp.float32)).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_muon_updates_all_but_kernels_by_adamw_with_nesterov_momentum():
    options = OptimizerOptions(name='muon', learning_rate=0.1, beta1=0.8, beta2=0.97, weight_decay=0.2)
    names, gradients = ('bias', 'embedding'), RNG.normal(size=(4, 2, 3, 4))
    x, mean, square = RNG.normal(size=(2, 3, 4)), 0, 0
    with jax.enable_x64(True):
        start = dict(zip(names, jnp.asarray(x), strict=True))
        path = run(options, start, [dict(zip(names, jnp.asarray(g), strict=True)) for g in gradients])
    for i, (g, found) in enumerate(zip(gradients, path, strict=True), 1):
        mean, square = 0.8 * mean + 0.2 * g, 0.97 * square + 0.03 * g**2
        ahead = 0.8 * mean / (1 - 0.8 ** (i + 1)) + 0.2 * g / (1 - 0.8**i)
        x = x - 0.1 * (ahead / (np.sqrt(square / (1 - 0.97**i)) + 1e-8) + 0.2 * x)
        np.testing.assert_allclose([found[name] for name in names], x, rtol=1e-6)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_updates_are_about_as_large_as_those_of_adam(name):
    """One learning rate serves all of them: the root mean square of an update is 0.1 to 1.1 times the learning rate."""
    start = {'kernel': jnp.asarray(RNG.normal(size=(3, 3, 16, 8)))}
    gradient = {'kernel': jnp.asarray(RNG.normal(size=(3, 3, 16, 8)))}
    after = run(OptimizerOptions(name=name, learning_rate=1e-3), start, [gradient])[-1]
    assert 0.1 < jnp.sqrt(jnp.mean(jnp.square(after['kernel'] - start['kernel']))) / 1e-3 < 1.1


def test_weight_decay_without_an_optimizer_that_has_it_is_refused():
    with pytest.raises(UserError, match='weight_decay=0.1 needs name=adamw or muon'):
        OptimizerOptions(weight_decay=0.1)
