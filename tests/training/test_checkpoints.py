"""Checkpoints: damaged ones are reported, the right ones are kept, and buffers may be reused at once."""

import functools
import shutil

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from jaxgen.errors import UserError
from jaxgen.runtime.mesh import make_mesh, replicated
from jaxgen.training.checkpoints import Checkpoints, DamagedError, checksum
from tests.helpers.hostile import digests

STATE = {
    'a': jnp.arange(3000, dtype=jnp.float32).reshape(30, 100) ** 0.5,
    'b': jnp.ones((7,), jnp.bfloat16),
    'n': jnp.asarray(3),
}


def template(devices=1):
    mesh = make_mesh(devices=jax.devices()[:devices])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), STATE)


def saved(tmp_path, steps, **options):
    checkpoints = Checkpoints(epath.Path(tmp_path) / 'checkpoints', **{'keep': 10, **options})
    for step in steps:
        checkpoints.save(step, {**STATE, 'n': jnp.asarray(step)})
    checkpoints.wait()
    return checkpoints


def largest_file(tmp_path, step):
    files = [f for f in (tmp_path / 'checkpoints' / str(step)).rglob('*') if f.is_file()]
    return max(files, key=lambda f: f.stat().st_size)


def test_round_trip_on_another_device_count(tmp_path):
    checkpoints = saved(tmp_path, [5])
    for devices in (1, 8):
        got = checkpoints.restore(5, template(devices))
        assert got['n'] == 5 and got['b'].dtype == jnp.bfloat16
        np.testing.assert_array_equal(got['a'], STATE['a'])
        assert len(got['a'].sharding.device_set) == devices


def test_keeps_a_count_and_an_interval(tmp_path):
    assert saved(tmp_path, range(1, 11), keep=2, keep_every=4).steps() == [4, 8, 9, 10]


def test_buffers_may_be_reused_at_once(tmp_path):
    """The next step overwrites donated buffers while the checkpoint is still being written."""

    @functools.partial(jax.jit, donate_argnums=0)
    def overwrite(x):
        return x * 0 - 1

    checkpoints = saved(tmp_path, [])
    for step in range(5):
        big = jnp.full((1000, 1000), float(step))
        checkpoints.save(step, {'x': big})
        overwrite(big).block_until_ready()
    checkpoints.wait()
    shape = jax.ShapeDtypeStruct((1000, 1000), jnp.float32, sharding=replicated(make_mesh(devices=jax.devices()[:1])))
    for step in range(5):
        assert (checkpoints.restore(step, {'x': shape})['x'] == step).all()


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


@pytest.mark.parametrize('damage', [cut, flip, lambda file: file.unlink()], ids=['cut', 'flip', 'unlink'])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(tmp_path, damage):
    checkpoints = saved(tmp_path, [1, 2, 3])
    damage(largest_file(tmp_path, 3))
    with pytest.raises(DamagedError):
        checkpoints.restore(3, template())
    reports = []
    step, state = checkpoints.restore_newest(template(), reports.append)
    assert step == 2 and state['n'] == 2
    assert len(reports) == 1 and str(tmp_path / 'checkpoints' / '3') in reports[0] and 'damaged' in reports[0]

    checkpoints.discard_after(2)
    assert checkpoints.steps() == [1, 2] and (tmp_path / 'damaged-3').is_dir()
    checkpoints.save(3, STATE)
    checkpoints.wait()
    assert checkpoints.restore(3, template())['n'] == 3


def test_only_damaged_checkpoints_are_refused(tmp_path):
    checkpoints = saved(tmp_path, [])
    assert checkpoints.restore_newest(template(), print) is None
    checkpoints.save(1, STATE)
    checkpoints.wait()
    cut(largest_file(tmp_path, 1))
    with pytest.raises(UserError, match='all checkpoints in .* are damaged'):
        checkpoints.restore_newest(template(), lambda text: None)


def test_checksum_sees_every_byte_and_place():
    start = checksum(STATE)
    assert start == checksum(jax.device_put(STATE, replicated(make_mesh())))
    swapped = STATE['a'].at[3, 4].set(STATE['a'][3, 5]).at[3, 5].set(STATE['a'][3, 4])
    others = [
        {**STATE, 'a': STATE['a'].at[29, 99].multiply(1 + 2**-23)},
        {**STATE, 'a': swapped},
        {**STATE, 'n': jnp.asarray(4)},
    ]
    assert len({int(start), *(int(checksum(other)) for other in others)}) == 4


def test_a_full_disk_is_one_sentence(tmp_path):
    checkpoints = saved(tmp_path, [1])
    (tmp_path / 'checkpoints').rename(tmp_path / 'before')
    (tmp_path / 'checkpoints').write_text('in the way')
    with pytest.raises(UserError, match='cannot write a checkpoint to .*checkpoints'):
        checkpoints.save(2, STATE)
        checkpoints.wait()
    checkpoints.close()


def test_a_mesh_writes_without_compiling(tmp_path):
    """Replicated arrays are not cut into a part for each device, which would take a program for every part and shape."""
    everywhere = replicated(make_mesh(devices=jax.devices()))
    state = {str(n): jax.device_put(np.arange(8.0 * n).reshape(8, n), everywhere) for n in (3, 5, 7)}
    checkpoints = Checkpoints(tmp_path / 'checkpoints')
    checksum(state)  # whose programs are its own
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if 'backend_compile' in event else None
    )
    checkpoints.save(1, state)
    checkpoints.wait()
    assert not compiled
    jax.jit(lambda x: x + 3)(state['3'])
    assert compiled  # the listener hears
    checkpoints.close()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            {'a': jax.ShapeDtypeStruct((30, 50), jnp.float32)},
            'a is 30x100 in the checkpoint .*2, and 30x50 in the model',
        ),
        ({'c': jax.ShapeDtypeStruct((3,), jnp.float32)}, 'c is absent in the checkpoint .*2, and 3 in the model'),
        ({'b': None}, 'b is 7 in the checkpoint .*2, and absent in the model'),
    ],
)
def test_a_checkpoint_of_another_model_is_not_called_damaged(tmp_path, change, words):
    checkpoints, reports = saved(tmp_path, [1, 2]), []
    before = digests(tmp_path)
    other = {name: x for name, x in (template() | change).items() if x is not None}
    other = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=template()['a'].sharding) for name, x in other.items()
    }
    with pytest.raises(UserError, match=f'^{words}.*bring back the config.json'):
        checkpoints.restore_newest(other, reports.append)
    assert digests(tmp_path) == before and not reports


def test_a_folder_with_another_number_is_no_checkpoint(tmp_path):
    @flax.struct.dataclass
    class State:
        step: jax.Array

    checkpoints = Checkpoints(epath.Path(tmp_path) / 'checkpoints', keep=10)
    sharding, reports = template()['a'].sharding, []
    shapes = State(jax.ShapeDtypeStruct((), jnp.int32, sharding=sharding))
    for step in (1, 2):
        checkpoints.save(step, State(jax.device_put(jnp.int32(step), sharding)))
    checkpoints.wait()
    (tmp_path / 'checkpoints' / '2').rename(tmp_path / 'checkpoints' / '9')
    assert checkpoints.restore_newest(shapes, reports.append)[0] == 1
    assert 'checkpoints/9 is damaged (it holds step 2: rename its folder to 2)' in reports[0]
    shutil.rmtree(tmp_path / 'checkpoints' / '1')
    with pytest.raises(UserError, match='it holds step 2: rename its folder to 2'):
        checkpoints.restore_newest(shapes, reports.append)


def test_a_removed_folder_is_made_again(tmp_path):
    checkpoints = saved(tmp_path, [1, 2], keep=2)
    shutil.rmtree(tmp_path)
    for step in (3, 4, 5):
        checkpoints.save(step, {**STATE, 'n': jnp.asarray(step)})
    checkpoints.wait()
    assert checkpoints.steps() == [4, 5] and checkpoints.restore(5, template())['n'] == 5
