"""--mode=data: the picture and the statistics are those of the batches that the steps of training get."""

import json

import numpy as np
from etils import epath
from PIL import Image

from jaxgen.apps.data_report import _show_bars
from jaxgen.apps.untrained import build_method
from jaxgen.cli import modes
from jaxgen.data import load, pipeline
from jaxgen.runtime.random import root_key
from jaxgen.training.step import prepare_batch, step_keys
from tests.tiny import tiny_config


def report_of(tmp_path, **fields):
    config = tiny_config('dcgan', **{'data.batch_size': 64, **fields})
    modes.run('data', config, epath.Path(tmp_path))
    with Image.open(tmp_path / 'data' / 'images.png') as picture:
        return config, json.loads((tmp_path / 'data' / 'statistics.json').read_text()), np.asarray(picture)


def tile(picture, i):
    """Return image i of a grid with 6 in a row, without its caption and reduced from 13x13 to one pixel each, 8x8."""
    y, x = 4 + i // 6 * (104 + 15 + 4), 4 + i % 6 * (104 + 4)
    return picture[y + 6 : y + 104 : 13, x + 6 : x + 104 : 13]


def test_without_augmentation_stored_and_seen_are_the_same(tmp_path, capsys):
    config, statistics, picture = report_of(tmp_path)
    assert statistics['stored'] == statistics['seen'] and statistics['images_measured'] == 2048
    dataset = load('digits', 'train')
    assert list(statistics['images_by_class'].values()) == np.bincount(dataset.labels).tolist()
    first = pipeline.batch(dataset, config.seed, 0, 64)
    for i in range(32):
        for shown in (tile(picture, 2 * i), tile(picture, 2 * i + 1)):
            np.testing.assert_array_equal(shown, first['image'][i, ..., 0])
    out = capsys.readouterr().out
    assert 'digits: 1,437 images 8x8x1, 10 classes' in out and 'seen   grey' in out


def test_the_commonest_sizes_have_a_line_each_and_the_others_one(capsys):
    _show_bars('images of each original size', 'sizes', {f'{side}x9': 1 for side in range(44)})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and lines[-1] == '  36 other sizes: 36 images'
    _show_bars('images of each class', 'classes', {f'class {number}': 1 for number in range(9)})
    assert len(capsys.readouterr().out.splitlines()) == 10  # a single other class is shown itself


def test_what_is_seen_is_what_the_step_sees(tmp_path):
    config, statistics, picture = report_of(tmp_path, **{'gan.augment': ('color',), 'data.random_flip': True})
    dataset, method = load('digits', 'train'), build_method(config, (8, 8, 1), 10)
    seen = []
    for step in range(2048 // 64):
        flip_key, step_key = step_keys(root_key(config.seed, config.train.prng), step)
        prepared = prepare_batch(pipeline.batch(dataset, config.seed, step, 64), flip_key, True)
        seen.append(np.asarray(method.augment(prepared['image'], step_key)))
    for i in (0, 5, 31):
        expected = np.clip((seen[0][i, ..., 0] + 1) * 127.5, 0, 255)
        assert abs(tile(picture, 2 * i + 1).astype(float) - expected).max() <= 1
    seen = np.concatenate(seen)
    np.testing.assert_allclose(statistics['seen']['mean'], seen.mean((0, 1, 2)), atol=1e-3)
    np.testing.assert_allclose(statistics['seen']['max'], seen.max((0, 1, 2)), atol=1e-3)
    assert statistics['seen']['max'][0] > 1.2 and statistics['stored']['max'] == [1]
