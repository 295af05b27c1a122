"""The compiled step: any number of devices, micro-batches and steps in a dispatch make the same update."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgen.diffusion.schedules import linear
from jaxgen.errors import UserError
from jaxgen.methods.base import Method
from jaxgen.methods.diffusion.method import Diffusion
from jaxgen.models.cnn import CNN
from jaxgen.models.unet import UNet
from jaxgen.optim.ema import ema_update
from jaxgen.runtime.mesh import make_mesh
from jaxgen.training import step
from jaxgen.training.state import initializer, state_template
from tests.tiny import tiny_config

KEY = jax.random.key(0)
BATCH = 16


def method(dtype, grad_accumulation=1, dropout=0.1, unet=False):
    """Return a diffusion model with a tiny network: ``unet`` has all kinds of layers, and ``cnn`` compiles quickly."""
    options = {'dropout': dropout, 'norm_groups': 4, 'dtype': dtype, 'param_dtype': dtype}
    network = UNet(1, 8, (1,), 1, (), **options) if unet else CNN(1, 8, 1, **options)
    optimizer_options = tiny_config(**{'optimizer.warmup_steps': 0}).optimizer
    return Diffusion(network, linear(20), optimizer_options, (8, 8, 1), grad_accumulation=grad_accumulation)


def batches(count):
    rng = np.random.default_rng(0)
    return {
        'image': rng.integers(0, 256, (count, BATCH, 8, 8, 1), np.uint8),
        'label': np.zeros((count, BATCH), np.int32),
    }


def randomised_state(ddpm):
    """Return a state with random parameters: a new network ends in layers of zeros."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(initializer(ddpm, KEY))
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    params = jax.tree.map(lambda x: rng.normal(0, 0.2, x.shape).astype(x.dtype), state.model.params)
    return state.replace(model=state.model.replace(params=params), nonfinite_step=np.int32(-1))


def run(ddpm, devices=1, fsdp=1, dispatches=((0, 1),)):
    mesh = make_mesh(fsdp, jax.devices()[:devices])
    template = state_template(initializer(ddpm, KEY), mesh)
    state = jax.device_put(randomised_state(ddpm), jax.tree.map(lambda s: s.sharding, template))
    dispatch = step.make_dispatch(ddpm, KEY, mesh, template, random_flip=True)
    data = batches(dispatches[-1][1])
    for start, end in dispatches:
        state, done = dispatch(state, jax.tree.map(lambda x, s=start, e=end: x[s:e], data))
    assert done == dispatches[-1][1]
    return jax.device_get(state)


def assert_same(a, b, tolerance):
    for (path, x), y in zip(jax.tree.leaves_with_path(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(
            x, y, rtol=0, atol=tolerance * max(1, abs(y).max()), err_msg=jax.tree_util.keystr(path)
        )


def assert_same_gradients(a, b, tolerance):
    """Compare Adam's first moments, 0.1 of the gradient after one step, up to ``tolerance`` of each tensor's largest value."""
    moments = [jax.tree.leaves_with_path(optax.tree_utils.tree_get(state.model.opt_state, 'mu')) for state in (a, b)]
    for (path, x), (_, y) in zip(*moments, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * abs(y).max(), err_msg=jax.tree_util.keystr(path))


def test_one_and_eight_devices_agree_in_float64():
    with jax.enable_x64(True):
        ddpm = method(jnp.float64, unet=True)
        one = run(ddpm)
        moved = one.model.params['conv_in']['kernel'] - randomised_state(ddpm).model.params['conv_in']['kernel']
        assert abs(moved).max() > 1e-5
        assert_same(run(ddpm, devices=8, fsdp=4), one, 1e-9)


def test_one_and_eight_devices_agree_in_float32():
    one, eight = run(method(jnp.float32)), run(method(jnp.float32), devices=8)
    np.testing.assert_allclose(eight.sums['loss'], one.sums['loss'], rtol=1e-5)
    assert_same_gradients(eight, one, 1e-4)


def test_fsdp_shards_the_parameters():
    mesh = make_mesh(4, jax.devices())
    template = state_template(initializer(method(jnp.float32, unet=True), KEY), mesh)
    kernel = template.model.params['middle_0']['conv1']['kernel']
    assert kernel.sharding.shard_shape(kernel.shape) == (3, 3, 2, 8)
    assert template.step.sharding.is_fully_replicated


def test_micro_batches_make_the_same_update():
    with jax.enable_x64(True):
        whole = run(method(jnp.float64, dropout=0.0))
        pieces = run(method(jnp.float64, 4, dropout=0.0), devices=4)
        assert_same_gradients(pieces, whole, 1e-9)
        np.testing.assert_allclose(pieces.sums['loss'], whole.sums['loss'], rtol=1e-12)


def test_several_steps_a_dispatch_make_the_same_updates():
    with jax.enable_x64(True):
        ddpm = method(jnp.float64)
        single = run(ddpm, dispatches=((0, 1), (1, 2), (2, 3)))
        assert single.step == 3 and single.count == 3
        assert_same(run(ddpm, dispatches=((0, 3),)), single, 1e-9)


def test_buffers_are_donated():
    ddpm, mesh = method(jnp.float32), make_mesh(devices=jax.devices()[:1])
    state = jax.device_put(randomised_state(ddpm))
    old = state.model.params['conv_in']['kernel']
    step.make_dispatch(ddpm, KEY, mesh, state)(state, batches(1))
    assert old.is_deleted()


def test_flip_mirrors_half_of_the_images():
    batch = {'image': batches(1)['image'][0].repeat(8, axis=0), 'label': jnp.zeros(128, jnp.int32)}
    plain = step.prepare_batch(batch, KEY, False)['image']
    np.testing.assert_allclose(plain, batch['image'] / 127.5 - 1, atol=1e-6)
    flipped = step.prepare_batch(batch, KEY, True)['image']
    mirrored = jnp.all(flipped == plain[:, :, ::-1], axis=(1, 2, 3))
    assert jnp.all(mirrored | jnp.all(flipped == plain, axis=(1, 2, 3)))
    assert 0.3 < mirrored.mean() < 0.7


def test_the_first_step_that_is_not_finite_is_named():
    class Exploding(Method):
        metrics = ('loss',)

        def init(self, key):
            return jnp.zeros(())

        networks = sampling_variables = from_weights = None

        def step(self, model, batch, key):
            return model + 1, {'loss': jnp.where(model >= 3, jnp.nan, 1.0)}

    state = initializer(Exploding(), KEY)()
    for i in range(6):
        state = step.train_step(Exploding(), KEY, False, state, {k: v[0] for k, v in batches(1).items()})
        assert state.nonfinite_step == (-1 if i < 3 else 4)


@pytest.mark.parametrize(('at', 'decay'), [(0, 0.1), (90, 0.91), (10**6, 0.9999)])
def test_ema_forgets_the_start(at, decay):
    got = ema_update({'w': jnp.ones(())}, {'w': jnp.zeros(())}, jnp.asarray(at), 0.9999)['w']
    np.testing.assert_allclose(got, decay, rtol=1e-5)


def test_a_state_that_no_memory_holds_is_refused():
    with pytest.raises(UserError, match=r'the network takes 8\.0 TiB with its .* choose fewer channels or blocks'):
        state_template(lambda: {'kernel': jnp.zeros((2**21, 2**20))}, make_mesh())
