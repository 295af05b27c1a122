"""Sources: the digits of scikit-learn, real CIFAR-10 if it is prepared, TFDS's own builder on a tiny archive, no network."""

import io
import os
import pathlib
import socket
import tarfile

import numpy as np
import pytest

from jaxgen.data import SOURCES, from_arrays, load, tfds_source
from jaxgen.errors import UserError
from tests.helpers.tfds_cache import lay_in_tfds_cache

needs_cifar = pytest.mark.skipif(
    not (pathlib.Path(os.environ.get('TFDS_DATA_DIR', '/nowhere')) / 'cifar10').is_dir(),
    reason='TFDS_DATA_DIR holds no prepared cifar10',
)


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    train, test = load('digits', 'train'), load('digits', 'test')
    assert train.images.shape == (1437, 8, 8, 1) and test.images.shape == (360, 8, 8, 1)
    both = np.concatenate([train.images, test.images])[..., 0]
    ours = {tuple(x.ravel()) for x in both}
    assert ours == {tuple(x.ravel()) for x in np.round(load_digits().images * 255 / 16).astype(np.uint8)}
    assert not {x.tobytes() for x in train.images} & {x.tobytes() for x in test.images}
    assert min(np.bincount(train.labels)) > 100 and min(np.bincount(test.labels)) > 25


def test_a_name_with_a_split():
    named, test = load('digits:test'), load('digits', 'test')
    np.testing.assert_array_equal(named.images, test.images)
    np.testing.assert_array_equal(load('digits').images, load('digits', 'train').images)


def test_classes_are_kept_in_the_order_asked_for():
    whole, part = load('digits', 'train'), load('digits', 'train', classes=['7', '2'])
    assert part.class_names == ('7', '2')
    for label, digit in enumerate((7, 2)):
        np.testing.assert_array_equal(part.images[part.labels == label], whole.images[whole.labels == digit])
    assert len(part.images) == np.isin(whole.labels, [7, 2]).sum()


def test_max_examples_and_image_size():
    part = load('digits', 'train', classes=['3'], max_examples=20, image_size=16)
    assert part.images.shape == (20, 16, 16, 1) and part.images.dtype == np.uint8
    whole = load('digits', 'train', classes=['3']).images[:20]
    assert abs(part.images.mean() - whole.mean()) < 3
    small = load('digits', 'train', image_size=4).images  # antialiased: about the mean of each 2x2 block
    blocks = load('digits', 'train').images.reshape(-1, 4, 2, 4, 2, 1).mean((2, 4))
    assert np.corrcoef(small.ravel(), blocks.ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    ('kwargs', 'words'),
    [
        ({'name': 'cifar100'}, "the data set 'cifar100' does not exist; did you mean cifar10"),
        ({'name': 'digits', 'split': 'validation'}, "split 'validation' does not exist"),
        ({'name': 'cifar10', 'classes': ['hose']}, "cifar10 class 'hose' does not exist; did you mean horse"),
        ({'name': 'digits:tset', 'split': None}, "split 'tset' does not exist; did you mean test"),
        ({'name': 'digits:test'}, "named with the split 'test', but split='train' is another"),
        ({'name': 'digits', 'classes': []}, 'classes is empty: name at least one class, or pass None'),
        ({'name': 'digits', 'max_examples': 0}, 'max_examples=0 must be at least 1, or None'),
        (
            {'name': 'digits', 'image_size': 8192},
            'image_size=8192 makes the images of digits:train take 90 GiB of memory, and at most 64 GiB are allowed',
        ),
        ({'name': 'digits', 'image_size': 0}, 'image_size=0 must be at least 1; for none, leave it out'),
    ],
)
def test_wrong_arguments_are_named(kwargs, words):
    with pytest.raises(UserError, match=words):
        load(**{'split': 'train', **kwargs})


@needs_cifar
def test_real_cifar10():
    train, test = load('cifar10', 'train'), load('cifar10', 'test')
    assert train.images.shape == (50000, 32, 32, 3) and test.images.shape == (10000, 32, 32, 3)
    values = np.arange(256) / 255
    shares = np.stack([np.bincount(train.images[..., c].ravel(), minlength=256) for c in range(3)]) / (50000 * 32 * 32)
    mean = shares @ values
    np.testing.assert_allclose(mean, [0.49140, 0.48216, 0.44653], atol=1e-5)
    np.testing.assert_allclose(np.sqrt(shares @ values**2 - mean**2), [0.24703, 0.24349, 0.26159], atol=1e-5)
    assert set(np.bincount(train.labels)) == {5000} and set(np.bincount(test.labels)) == {1000}
    # The order of the original files, in which published subsets count: frog, truck, truck ...; cat, ship, ship ...
    assert train.labels[:8].tolist() == [6, 9, 9, 4, 1, 1, 2, 7] and test.labels[:8].tolist() == [
        3,
        8,
        8,
        0,
        6,
        6,
        1,
        6,
    ]


def test_no_network_is_one_sentence_before_tfds_downloads(monkeypatch, tmp_path):
    import tensorflow_datasets as tfds

    def entered(*args, **kwargs):
        raise AssertionError("TFDS's downloader was entered")

    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
    monkeypatch.setattr(tfds_source, 'reachable', lambda url: False)
    monkeypatch.setattr(tfds.core.DatasetBuilder, 'download_and_prepare', entered)
    monkeypatch.setattr(tfds.download, 'DownloadManager', entered)
    with pytest.raises(UserError) as e:
        load('cifar10', 'train')
    for part in (str(tmp_path / 'cifar10'), 'TFDS_DATA_DIR', 'download_and_prepare', 'configs/ddpm_digits.py'):
        assert part in str(e.value)
    assert '\n' not in str(e.value)
    assert not list(tmp_path.iterdir())


def test_reachable():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        port = server.getsockname()[1]
        assert not tfds_source.reachable(f'http://127.0.0.1:{port}/', timeout=2)  # bound, but nobody listens
        server.listen()
        assert not tfds_source.reachable(f'http://127.0.0.1:{port}/', timeout=0.2)  # accepts, but never answers


@pytest.fixture
def fake_cifar10(monkeypatch, tmp_path):
    """A cifar-10-binary.tar.gz with 4 images per file, in TFDS's download cache."""
    rng = np.random.default_rng(0)
    archive = io.BytesIO()
    files = {
        f'{name}.bin': rng.integers(0, 256, (4, 3073), np.uint8)
        for name in [*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch']
    }
    with tarfile.open(fileobj=archive, mode='w:gz') as tar:
        for name, records in files.items():
            records[:, 0] %= 10
            info = tarfile.TarInfo(f'cifar-10-batches-bin/{name}')
            info.size = records.size
            tar.addfile(info, io.BytesIO(records.tobytes()))
        names = '\n'.join(SOURCES['cifar10'].class_names).encode()
        info = tarfile.TarInfo('cifar-10-batches-bin/batches.meta.txt')
        info.size = len(names)
        tar.addfile(info, io.BytesIO(names))

    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    lay_in_tfds_cache(monkeypatch, tmp_path, 'cifar10', {tfds_source.ARCHIVES['cifar10']: archive.getvalue()})
    return files


def test_a_data_set_that_tfds_prepared_is_read(fake_cifar10, tmp_path):
    train = load('cifar10', 'train')
    written = np.concatenate([fake_cifar10[f'data_batch_{i}.bin'] for i in range(1, 6)])
    np.testing.assert_array_equal(train.labels, written[:, 0])  # in the order of the original files, not of TFDS
    np.testing.assert_array_equal(train.images, written[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert len(load('cifar10', 'test').images) == 4
    again = load('cifar10', 'train')  # from the cache
    np.testing.assert_array_equal(again.images, train.images)
    np.testing.assert_array_equal(again.labels, train.labels)

    records = next((tmp_path / 'cifar10' / '3.0.2').glob('*train.array_record*'))
    records.write_bytes(records.read_bytes()[: records.stat().st_size // 2])
    with pytest.raises(UserError, match='damaged record in .*train.array_record'):
        load('cifar10', 'train')
    records.unlink()
    with pytest.raises(UserError, match='no ArrayRecord files'):
        load('cifar10', 'train')


@pytest.mark.parametrize('name', [name for name in SOURCES if name not in ('cifar10', 'stanford_dogs')])
def test_a_source_matches_its_description(name):
    """These are the sources that need no download; the others have their own tests."""
    source = SOURCES[name]
    for split, size in zip(source.splits, source.sizes, strict=True):
        found = load(name, split)
        assert found.images.dtype == np.uint8 and found.class_names == source.class_names
        assert found.images.shape == (size, source.image_size, source.image_size, source.channels)
        assert set(found.labels) == set(range(len(source.class_names)))
        np.testing.assert_array_equal(load(name, split).images, found.images)
    assert load(name, source.splits[0], image_size=2 * source.image_size).images.shape[1] == 2 * source.image_size


def test_arrays_become_a_data_set():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 8, 8, 3), np.uint8), np.array([1, 0, 1, 1, 0, 1])
    found = from_arrays(images, labels, ['cat', 'dog'])
    assert found.images is images and found.labels.dtype == np.int32 and found.class_names == ('cat', 'dog')
    np.testing.assert_array_equal(found.labels, labels)
    assert from_arrays(images, labels).class_names == ('0', '1')
    grey = from_arrays(images[..., 0])
    assert grey.images.shape == (6, 8, 8, 1) and grey.class_names == ('image',) and not grey.labels.any()
    np.testing.assert_array_equal(found.subset(labels == 1).images, images[labels == 1])


ZEROS = np.zeros((2, 8, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ((ZEROS[:, :4],), r'images has the shape \(2, 4, 8, 3\), but must be \[N, S, S, C\]'),
        ((ZEROS[..., :2],), r'must be \[N, S, S, C\]'),
        ((ZEROS[:0],), r'images has the shape \(0, 8, 8, 3\)'),
        ((ZEROS / 255,), 'images is of float64, but must be uint8'),
        ((ZEROS, [0]), r'labels must be 2 whole numbers, one for each image, but is int64 \[1\]'),
        ((ZEROS, [0.0, 1.0]), 'labels must be 2 whole numbers'),
        ((ZEROS, [-1, 0]), 'labels has the value -1: classes are numbered from 0'),
        ((ZEROS, [0, 2], ['a', 'b']), 'labels has the value 2, but class_names names 2 classes, from 0'),
        ((ZEROS, [0, 1], ['a', 'a']), 'class_names names a class twice'),
        ((ZEROS, None, ['a']), 'class_names is given without labels'),
    ],
)
def test_wrong_arrays_are_named(arguments, words):
    with pytest.raises(UserError, match=words):
        from_arrays(*arguments)
