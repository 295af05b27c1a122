"""Extraction: the same features for any batches and any devices; the cache of features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.errors import UserError
from jaxgen.metrics import features
from jaxgen.metrics.features import Extraction, Extractor, default_batch_size, stored_features
from jaxgen.metrics.sets import image_sets
from jaxgen.metrics.sets.image_sets import open_set
from jaxgen.runtime.mesh import make_mesh
from jaxgen.runtime.progress import Stage

WEIGHTS = np.random.default_rng(0).normal(size=(64, 12)).astype(np.float32)
TINY = Extractor(
    lambda w, x: (jnp.tanh(x.reshape(len(x), -1) / 255.0 @ w), x[:, 0, 0, :].astype(jnp.float32)),
    WEIGHTS,
    1,
    8,
    {'name': 'tiny'},
)
IMAGES = np.random.default_rng(1).integers(0, 256, (53, 8, 8, 1), np.uint8)


def run(devices, batch_size, cuts):
    mesh = make_mesh(devices=jax.devices()[:devices]) if devices else None
    stage = Stage('features', 53)
    (found,) = Extraction([TINY], mesh, batch_size)(np.split(IMAGES, cuts), stage)
    assert stage.done == 53
    return found


def test_batches_devices_and_pieces_change_nothing():
    expected = np.tanh(IMAGES.reshape(53, -1) / 255.0 @ WEIGHTS)
    for devices, batch_size, cuts in (
        (1, 64, []),
        (1, 7, [3, 50]),
        (8, 16, [1, 2, 40]),
        (8, 8, []),
        (2, 2, [53]),
        (0, 16, [9]),
    ):
        found = run(devices, batch_size, cuts)
        assert found.features.dtype == np.float32
        np.testing.assert_allclose(found.features, expected, atol=1e-5)
        np.testing.assert_array_equal(found.logits, IMAGES[:, 0, 0, :])


def test_default_batches_have_8_images_per_cpu():
    assert default_batch_size() == 8 and default_batch_size(make_mesh()) == 64


def test_one_compiled_shape():
    compiled = []

    def apply(w, x):
        compiled.append(x.shape)
        return x.reshape(len(x), -1).astype(jnp.float32), None

    extraction = Extraction([Extractor(apply, 0.0, 1, None, {})], make_mesh(devices=jax.devices()[:1]), 16)
    for _ in range(2):
        (found,) = extraction([IMAGES[:40], IMAGES[40:]])
        assert found.logits is None and len(found.features) == 53
    assert compiled == [(16, 8, 8, 1)]


def test_only_requested_extractors_are_compiled_and_run():
    def never(w, x):
        raise AssertionError('compiled')

    extraction = Extraction([TINY, Extractor(never, 0.0, 1, None, {}), TINY], make_mesh(), 8)
    first, last = extraction([IMAGES], which=(0, 2))
    np.testing.assert_array_equal(first.features, last.features)
    assert len(extraction([IMAGES])) == 1


def test_images_are_spread_over_all_devices():
    extraction = Extraction([TINY], make_mesh(), 16)
    text = extraction._runs[0].lower(WEIGHTS, jnp.zeros((16, 8, 8, 1), jnp.uint8)).compile().as_text()
    assert 'u8[2,8,8,1]' in text and 'u8[16,8,8,1]' not in text


def test_features_that_are_not_finite_are_refused():
    broken = Extractor(lambda w, x: (x.reshape(len(x), -1) / 0.0, None), 0.0, 1, None, {})
    with pytest.raises(UserError, match='not finite'):
        Extraction([broken], make_mesh(), 8)([IMAGES])


def test_features_of_a_stored_set_resume_after_the_parts_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path))
    monkeypatch.setattr(image_sets, 'PIECE', 8)
    monkeypatch.setattr(features, 'PIECE', 8)
    monkeypatch.setattr(features, 'PIECES_PER_PART', 2)
    images = open_set('digits:test', 'field', 53)
    extraction = Extraction([TINY], make_mesh(), 8)
    (expected,) = extraction(images.pieces())

    class Stopped(Extraction):
        """Stops at the third call, as a process that is killed there."""

        calls = 0

        def __call__(self, pieces, stage):
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().__call__(pieces, stage)

    with pytest.raises(KeyboardInterrupt):
        stored_features(Stopped([TINY], make_mesh(), 8), TINY.description, images)
    first, second = sorted(tmp_path.iterdir())
    assert (first.name[-6:], second.name[-7:]) == ('-0.npz', '-16.npz')
    second.write_bytes(second.read_bytes()[:-100])  # damaged, so computed again

    stage, resumed = Stage('features', 53), Stopped([TINY], make_mesh(), 8)
    resumed.calls = -10
    found = stored_features(resumed, TINY.description, images, stage)
    assert resumed.calls == -7 and stage.done == 53
    np.testing.assert_array_equal(found.features, expected.features)
    np.testing.assert_array_equal(found.logits, expected.logits)
    (file,) = tmp_path.iterdir()
    assert file.name == first.name.replace('-0.npz', '.npz')


def test_the_cache_depends_on_images_network_and_environment(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path))
    calls = []

    class Counted(Extraction):
        def __call__(self, pieces, stage):
            calls.append(1)
            return super().__call__(pieces, stage)

    extraction = Counted([TINY], make_mesh(), 8)

    def ask(about='tiny', num=20):
        return stored_features(extraction, {'name': about}, open_set('digits:test', 'field', num))

    first = ask()
    np.testing.assert_array_equal(ask().features, first.features)
    np.testing.assert_array_equal(ask().logits, first.logits)
    assert len(calls) == 1
    ask('another network')
    ask(num=21)
    monkeypatch.setattr(features, 'environment', lambda: {'device': 'another'})
    ask()
    assert len(calls) == 4 and len(list(tmp_path.iterdir())) == 4
    for file in tmp_path.iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    np.testing.assert_array_equal(ask().features, first.features)
    assert len(calls) == 5
