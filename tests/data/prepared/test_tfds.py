"""Any TFDS data set: TFDS's own builders on small archives in its cache; Stanford Dogs as a folder of JPEGs."""

import gzip
import json
import os
import pathlib

import numpy as np
import pytest

from jaxgen.data import dataset, load, pipeline, tfds_source
from jaxgen.data.options import SourceOptions
from jaxgen.data.prepared.listing import natural_order
from jaxgen.data.prepared.tfds import chosen_keys
from jaxgen.errors import UserError
from tests.helpers.image_folders import image, left_over, tarred
from tests.helpers.picture_files import encoded
from tests.helpers.tfds_cache import lay_in_tfds_cache

REAL = pathlib.Path(os.environ.get('TFDS_DATA_DIR', '/nowhere')) / 'stanford_dogs' / '0.2.0'
FASHION = 'http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/'


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def fashion(monkeypatch, tmp_path):
    """A Fashion-MNIST with 30 and 7 images, in the format of its four files."""
    pytest.importorskip('tensorflow')
    from tensorflow_datasets.image_classification import mnist

    rng, sets, archives = np.random.default_rng(0), {}, {}
    for split, stem, count in (('train', 'train', 30), ('test', 't10k', 7)):
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.permutation(np.arange(count) % 10)
        sets[split] = images, labels.astype(np.uint8)
        archives[f'{FASHION}{stem}-images-idx3-ubyte.gz'] = gzip.compress(bytes(16) + images.tobytes())
        archives[f'{FASHION}{stem}-labels-idx1-ubyte.gz'] = gzip.compress(bytes(8) + sets[split][1].tobytes())
    monkeypatch.setattr(mnist, '_TRAIN_EXAMPLES', 30)
    monkeypatch.setattr(mnist, '_TEST_EXAMPLES', 7)
    lay_in_tfds_cache(monkeypatch, tmp_path, 'fashion_mnist', archives)
    return sets


def by_pixels(images, labels):
    return sorted((x.tobytes(), int(label)) for x, label in zip(images, labels, strict=True))


def test_fashion_mnist_from_its_own_builder(fashion):
    for split, (images, labels) in fashion.items():
        found = load('tfds:fashion_mnist', split)
        assert found.images.shape == (len(images), 28, 28, 1)  # its own side and channels
        assert by_pixels(found.images[:], found.labels) == by_pixels(images, labels)
    assert (
        found.class_names[0] == 'T-shirt/top' and found.class_names[9] == 'Ankle boot' and len(found.class_names) == 10
    )
    bags = load('tfds:fashion_mnist:3.0.1', classes=['Bag', 'Coat'])
    assert sorted(bags.labels) == [0] * 3 + [1] * 3
    images, labels = fashion['train']
    assert by_pixels(bags.images[:], bags.labels) == by_pixels(
        np.concatenate([images[labels == 8], images[labels == 4]]), [0] * 3 + [1] * 3
    )
    whole = load('tfds:fashion_mnist', labels='none', image_size=32, channels=3)
    assert whole.images.shape == (30, 32, 32, 3) and whole.class_names == dataset.UNLABELLED


def test_a_prepared_set_of_another_format_is_named(fashion, tmp_path):
    load('tfds:fashion_mnist')
    next((tmp_path / 'fashion_mnist' / '3.0.1').glob('*train.array_record*')).unlink()
    with pytest.raises(UserError, match='holds no ArrayRecord files of train'):
        load('tfds:fashion_mnist')


@pytest.fixture
def imagenet(monkeypatch, tmp_path):
    """An ImageNet at 64x64 with 5 and 3 images and without labels, in two tar archives."""
    members = {
        split: [
            (f'{split}_64x64/{i}.png', encoded(image(100 * seed + i, 64, 64), 'JPEG', quality=95)) for i in range(count)
        ]
        for seed, (split, count) in enumerate((('train', 5), ('valid', 3)))
    }
    archives = {}
    for split, files in members.items():
        tarred(tmp_path / f'{split}.tar', files)
        archives[f'http://image-net.org/small/{split}_64x64.tar'] = (tmp_path / f'{split}.tar').read_bytes()
    lay_in_tfds_cache(monkeypatch, tmp_path, 'downsampled_imagenet/64x64', archives)
    return members


def test_downsampled_imagenet_has_no_classes(imagenet):
    from jaxgen.io import pictures

    train, test = (load('tfds:downsampled_imagenet/64x64', split) for split in ('train', 'test'))
    assert train.class_names == dataset.UNLABELLED and train.images.shape == (5, 64, 64, 3)
    assert test.images.shape == (3, 64, 64, 3)  # its split is called validation
    for found, split in ((train, 'train'), (test, 'valid')):
        expected = [np.asarray(pictures.decode(data, name, 3)) for name, data in imagenet[split]]
        assert by_pixels(found.images[:], found.labels) == by_pixels(expected, [0] * len(expected))


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('tfds:no_such_set', 'name=tfds:no_such_set is not a data set that TFDS knows .*: see its catalog'),
        ('tfds:mnist:9.9.9', 'name=tfds:mnist:9.9.9 is not a data set that TFDS knows'),
        ('tfds:mnist', 'tfds:mnist is not at .* cannot be reached: prepare it where there is a network'),
        ('tfds:wikipedia/20230601.en', 'name=tfds:wikipedia/20230601.en has no images'),
        ('tfds:', 'name=tfds: is not a data set that TFDS knows'),
    ],
)
def test_unavailable_data_sets_are_refused_with_one_sentence(name, words, monkeypatch, tmp_path, cache):
    monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'tfds'))
    monkeypatch.setattr(tfds_source, 'reachable', lambda url: False)
    with pytest.raises(UserError, match=words) as e:
        load(name)
    assert str(e.value).isprintable() and not left_over(cache) and not (tmp_path / 'tfds').exists()


@pytest.mark.parametrize(
    ('options', 'images', 'classes', 'expected'),
    [
        ({}, ['image'], ['label'], ('image', 'label')),
        ({}, ['x'], [], ('x', None)),
        ({'labels': 'none'}, ['x'], ['a', 'b'], ('x', None)),
        ({'label_key': 'b'}, ['x'], ['a', 'b'], ('x', 'b')),
        ({'image_key': 'y'}, ['x', 'y'], ['a'], ('y', 'a')),
        ({}, ['x', 'y'], ['a'], 'several columns of images: choose image_key=x or y'),
        ({}, ['x'], ['a', 'b'], 'several columns of classes: choose label_key=a or b, or labels=none'),
        ({'label_key': 'c'}, ['x'], ['a'], "label_key 'c' does not exist; did you mean a"),
        ({'image_key': 'z'}, ['x'], ['a'], "image_key 'z' does not exist; did you mean x"),
        ({}, [], ['a'], 'has no images'),
    ],
)
def test_the_columns_of_images_and_classes(options, images, classes, expected):
    source = SourceOptions(name='tfds:any', **options)
    if isinstance(expected, tuple):
        assert chosen_keys(source, images, classes) == expected
        return
    with pytest.raises(UserError, match=expected):
        chosen_keys(source, images, classes)


@pytest.mark.skipif(not REAL.is_dir(), reason='TFDS_DATA_DIR holds no prepared stanford_dogs')
def test_the_dogs_as_a_folder_give_the_same_batches(tmp_path, monkeypatch):
    """The photographs by breed, as JPEG files: pixel for pixel what the TFDS source makes of them."""
    from jaxgen.data import dogs

    count = 300
    records = tfds_source.records(REAL, 'train', lambda record: record)[:count]
    names = []
    for i, record in enumerate(records):
        names.append(f'{dogs.BREEDS[record["label"]]}/{i}.jpg')
        path = tmp_path / 'dogs' / names[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(record['image'])
    monkeypatch.setattr(tfds_source, 'records', lambda folder, split, convert: [convert(record) for record in records])
    reference = load('stanford_dogs', 'train', image_size=48)
    order = np.array([names.index(name) for name in natural_order(names)])
    folder = load('folder', path=str(tmp_path / 'dogs'), image_size=48, test_fraction=0)
    folder = folder.relabelled(tuple(sorted(folder.class_names, key=dogs.BREEDS.index)))
    present = [dogs.BREEDS.index(name) for name in folder.class_names]
    for step in range(4):
        expected = pipeline.batch(reference.subset(order), 3, step, 64)
        batch = pipeline.batch(folder, 3, step, 64)
        np.testing.assert_array_equal(batch['image'], expected['image'])
        np.testing.assert_array_equal(np.array(present)[batch['label']], expected['label'])
    assert json.loads((folder.origin.folder / 'about.json').read_text())['refused'] == []
