"""Data sets of the Hub, as the library ``datasets`` reads them from a folder of that name."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import load
from jaxgen.data.prepared import hub
from jaxgen.errors import UserError
from tests.helpers.image_folders import image, left_over
from tests.helpers.picture_files import encoded

datasets = pytest.importorskip('datasets')
BREEDS = ('pug', 'boxer', 'dingo')


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', str(tmp_path / 'hf'))
    monkeypatch.chdir(tmp_path)
    datasets.disable_progress_bars()
    return tmp_path / 'cache'


def publish(tmp_path, name='me/dogs', test=None, **columns):
    """Write a data set of ten images to the folder of its name; ``columns`` are (values, feature)."""
    files = [encoded(image(i, 14, 10)) for i in range(10)]
    features = {'image': datasets.Image(), **{key: feature for key, (_, feature) in columns.items()}}
    for split, rows in {'train': slice(None), **({test: slice(0, 4)} if test else {})}.items():
        values = {'image': [{'bytes': data, 'path': None} for data in files[rows]]}
        values |= {key: value[rows] for key, (value, _) in columns.items()}
        path = tmp_path / name / 'data' / f'{split}-00000-of-00001.parquet'
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(values, features=datasets.Features(features)).to_parquet(str(path))
    return np.stack([np.asarray(Image.open(io.BytesIO(data)).crop((2, 0, 12, 10))) for data in files])


LABELS = [0, 1, 2, 2, 1, 0, 0, 1, 2, 0]


def test_images_and_classes_are_found(tmp_path):
    expected = publish(tmp_path, label=(LABELS, datasets.ClassLabel(names=list(BREEDS))), test='validation')
    train, test = (load('hf:me/dogs', split, image_size=10) for split in ('train', 'test'))
    np.testing.assert_array_equal(train.images[:], expected)
    np.testing.assert_array_equal(test.images[:], expected[:4])
    assert train.labels.tolist() == LABELS and test.labels.tolist() == LABELS[:4] and train.class_names == BREEDS
    assert load('hf:me/dogs', labels='none', image_size=10).class_names == ('image',)


def test_columns_can_be_named(tmp_path):
    words = [BREEDS[label] for label in LABELS]
    publish(
        tmp_path,
        breed=(words, datasets.Value('string')),
        coat=(LABELS, datasets.ClassLabel(names=['short', 'long', 'none'])),
        other=([0] * 10, datasets.ClassLabel(names=['x'])),
    )
    with pytest.raises(
        UserError, match='name=hf:me/dogs has several columns of classes: choose label_key=coat or other'
    ):
        load('hf:me/dogs')
    found = load('hf:me/dogs', label_key='breed', test_fraction=0)
    assert [found.class_names[label] for label in found.labels] == words and found.class_names == tuple(sorted(BREEDS))
    assert load('hf:me/dogs', label_key='coat', test_fraction=0).labels.tolist() == LABELS


def test_without_a_test_split_a_hash_decides(tmp_path):
    publish(tmp_path)
    splits = [load('hf:me/dogs', split, test_fraction=0.5) for split in ('train', 'test')]
    assert sum(len(split.images) for split in splits) == 10 and splits[0].class_names == ('image',)


def test_a_name_without_a_network_is_one_sentence(monkeypatch, cache):
    monkeypatch.setattr(hub, 'reachable', lambda url: False)
    with pytest.raises(
        UserError, match='name=hf:nobody/nothing is not on this machine, and https.* cannot be reached'
    ) as e:
        load('hf:nobody/nothing')
    assert str(e.value).isprintable() and not left_over(cache)
    assert not datasets.config.HF_HUB_OFFLINE


def test_a_set_without_images_is_one_sentence(tmp_path):
    path = tmp_path / 'me' / 'texts' / 'data' / 'train-00000-of-00001.parquet'
    path.parent.mkdir(parents=True)
    datasets.Dataset.from_dict({'text': ['a', 'b']}).to_parquet(str(path))
    with pytest.raises(UserError, match='name=hf:me/texts has no images'):
        load('hf:me/texts')
