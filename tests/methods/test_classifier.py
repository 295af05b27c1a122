"""The classifier: its optimizer against PyTorch's, its shifts of images, and its step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxgen.apps.untrained import build_method
from jaxgen.errors import UserError
from jaxgen.methods.classifier import translation
from jaxgen.methods.classifier.options import ClassifierOptimizerOptions
from jaxgen.optim.ema import lookahead
from jaxgen.optim.optimizer import make_nesterov
from jaxgen.optim.schedules import learning_rate
from jaxgen.runtime.mesh import make_mesh
from jaxgen.training.state import start_on_mesh
from jaxgen.training.step import make_dispatch
from tests.tiny import LONG, tiny_config

KEY = jax.random.key(0)


def build(**fields):
    return build_method(tiny_config('judge', **fields), (8, 8, 1), 10)


def test_moved_images_are_windows_of_padded_ones():
    images = np.random.default_rng(0).normal(size=(25, 6, 7, 3)).astype(np.float32)
    shifts = np.array([(y, x) for y in range(-2, 3) for x in range(-2, 3)])
    moved = translation(images, jnp.asarray(shifts))
    for image, (y, x), got in zip(images, shifts, moved, strict=True):
        padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), 'reflect')
        np.testing.assert_array_equal(got, padded[2 - y : 8 - y, 2 - x : 9 - x])


def test_training_moves_by_every_shift_as_often():
    image = np.random.default_rng(0).normal(size=(8, 8, 1)).astype(np.float32)
    moved = build(**{'model.translation': 1}).augment(jnp.asarray(image)[None].repeat(900, 0), KEY)
    shifts = np.array([(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    candidates = translation(jnp.asarray(image)[None].repeat(9, 0), jnp.asarray(shifts))
    counts = jnp.all(moved[:, None] == candidates, axis=(2, 3, 4)).sum(0)
    assert counts.sum() == 900 and counts.min() > 60


def test_nesterov_with_weight_decay_and_fast_biases_is_pytorchs():
    options = ClassifierOptimizerOptions(learning_rate=0.1, warmup_steps=2, decay_steps=12)
    rng = np.random.default_rng(0)
    start, gradients = (
        {'a': {'kernel': rng.normal(size=(*n, 5)), 'bias': rng.normal(size=(*n, 3))}} for n in ((), (16,))
    )
    kernel, bias = (torch.nn.Parameter(torch.tensor(start['a'][name])) for name in ('kernel', 'bias'))
    groups = [{'params': [kernel]}, {'params': [bias], 'weight_decay': 0.03 / 8}]
    theirs = torch.optim.SGD(groups, lr=1.0, momentum=options.beta1, nesterov=True, weight_decay=0.03)
    rates = np.interp(np.arange(16), [0, 2, 12, 100], np.array([0.2, 1, 0.07, 0.07]) * options.learning_rate)
    with jax.enable_x64(True):
        tx, ours = make_nesterov(options, weight_decay=0.03, bias_scale=8.0), jax.tree.map(jnp.asarray, start)
        state = tx.init(ours)
        for i, rate in enumerate(rates):
            theirs.param_groups[0]['lr'], theirs.param_groups[1]['lr'] = rate, rate * 8
            g = jax.tree.map(lambda x, i=i: x[i], gradients)
            kernel.grad, bias.grad = torch.tensor(g['a']['kernel']), torch.tensor(g['a']['bias'])
            theirs.step()
            updates, state = tx.update(g, state, ours)
            ours = optax.apply_updates(ours, updates)
            np.testing.assert_allclose(ours['a']['kernel'], kernel.detach().numpy(), atol=1e-6)
            np.testing.assert_allclose(ours['a']['bias'], bias.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(('at', 'share'), [(0, 0.2), (1, 0.6), (2, 1.0), (7, 0.535), (12, 0.07), (1000, 0.07)])
def test_the_triangle_ends_where_the_config_says_and_not_with_the_run(at, share):
    options = build(**{'train.steps': 500}).optimizer
    np.testing.assert_allclose(learning_rate(options)(at), share * options.learning_rate, rtol=1e-6)


@pytest.mark.parametrize(
    ('at', 'share'), [(4, None), (5, 0.9**5 * (5 / 12) ** 3), (10, 0.9**5 * (10 / 12) ** 3), (15, 0.9**5)]
)
def test_lookahead_every_fifth_step(at, share):
    slow, fast = lookahead({'w': jnp.ones(())}, {'w': jnp.zeros(())}, jnp.asarray(at), decay=0.9, decay_steps=12)
    expected = (1, 0) if share is None else (share, share)
    np.testing.assert_allclose((slow['w'], fast['w']), expected, rtol=1e-5)


def test_a_step_is_that_of_pytorchs_loss():
    fields = {'optimizer.label_smoothing': 0.3, 'optimizer.warmup_steps': 0}
    method = build(**fields)
    rng = np.random.default_rng(0)
    data = {'image': rng.uniform(-1, 1, (16, 8, 8, 1)), 'label': np.arange(16, dtype=np.int32) % 10}
    with jax.enable_x64(True):
        method = dataclasses.replace(method, network=method.network.clone(dtype=np.float64, param_dtype=np.float64))
        before = jax.jit(method.init)(KEY)
        after, metrics = jax.jit(method.step)(before, data, KEY)
        seen = method.augment(jnp.asarray(data['image']), KEY)
        (features, logits), _ = method.network.apply(before.variables, seen, train=True, mutable=['batch_stats'])
    head = torch.tensor(np.asarray(before.variables['params']['head']['kernel']), requires_grad=True)
    their_logits = torch.tensor(np.asarray(features)) @ head / 9
    loss = torch.nn.functional.cross_entropy(their_logits, torch.tensor(data['label']).long(), label_smoothing=0.3)
    loss.backward()
    np.testing.assert_allclose(metrics['loss'], loss.item(), rtol=1e-6)
    np.testing.assert_allclose(metrics['accuracy'], np.mean(np.asarray(logits).argmax(1) == data['label']))
    o = method.optimizer
    change = -o.learning_rate * (1 + o.beta1) * (head.grad.numpy() + o.weight_decay * head.detach().numpy())
    got = after.variables['params']['head']['kernel'] - before.variables['params']['head']['kernel']
    np.testing.assert_allclose(got, change, rtol=0, atol=1e-6 * abs(change).max())
    assert after.updates == 1 and metrics['learning_rate'] > 0


@LONG
def test_one_and_eight_devices_agree_in_float64():
    """The images are not shifted: a reflected pixel equals another one, and rounding would decide which one a pool takes."""
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 8, 8, 1), np.uint8)
    batches = {'image': images, 'label': (np.arange(80, dtype=np.int32) % 10).reshape(5, 16)}

    def run(method, devices, fsdp):
        mesh = make_mesh(fsdp, jax.devices()[:devices])
        template, state = start_on_mesh(method, KEY, mesh)
        return jax.device_get(make_dispatch(method, KEY, mesh, template, random_flip=True)(state, batches)[0])

    with jax.enable_x64(True):
        network = build().network.clone(dtype=np.float64, param_dtype=np.float64)
        method = dataclasses.replace(build(), network=network, translation=0)
        one, eight = run(method, 1, 1), run(method, 8, 2)
    for (path, x), y in zip(jax.tree.leaves_with_path(eight), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-9 * max(1, abs(y).max()), err_msg=jax.tree_util.keystr(path))


def test_it_generates_no_images():
    method = build()
    with pytest.raises(UserError, match='generates no images'):
        method.sample({}, jax.random.split(KEY, 1), np.zeros(1, np.int32))
    with pytest.raises(UserError, match='generates no images'):
        method.sampling_protocol()
