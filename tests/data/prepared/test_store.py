"""Prepared images in the cache: made once, stored completely or not at all, and made again when a file changes."""

import errno
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from jaxgen.data import dataset, load, pipeline
from jaxgen.data.options import SourceOptions
from jaxgen.data.prepared import store
from jaxgen.errors import UserError
from jaxgen.runtime import progress
from tests.helpers.image_folders import image, left_over, write
from tests.helpers.picture_files import encoded

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture
def folder(tmp_path):
    """Seventy images of two classes, in more chunks than one."""
    write(tmp_path / 'set', [f'{"ab"[i % 2]}/{i}.png' for i in range(70)])
    return tmp_path / 'set'


def both(path, **options):
    return [load('folder', split, path=str(path), image_size=12, **options) for split in ('train', 'test')]


def by_pixels(data):
    return {image.tobytes(): data.class_names[label] for image, label in zip(data.images[:], data.labels, strict=True)}


def test_every_image_is_prepared_in_its_place(folder):
    """With several processes too, the rows are in the natural order of the files."""
    (train,) = [load('folder', path=str(folder), image_size=12, test_fraction=0)]
    numbers = [*range(0, 70, 2), *range(1, 70, 2)]
    np.testing.assert_array_equal(train.images[:], np.stack([np.asarray(image(i)) for i in numbers]))
    assert train.labels.tolist() == [0] * 35 + [1] * 35 and train.labels.dtype == np.int32
    assert train.images.shape == (70, 12, 12, 3) and train.origin.sizes.tolist() == [[12, 12]] * 70
    part = load('folder', path=str(folder), image_size=12, test_fraction=0, classes=['b'], max_examples=3)
    np.testing.assert_array_equal(part.images[:], train.images[35:38])
    assert part.labels.tolist() == [0] * 3 and part.class_names == ('b',)


def test_images_are_read_as_arrays_are_indexed(folder):
    (train,) = [load('folder', path=str(folder), image_size=12, test_fraction=0)]
    array = np.asarray(train.images)
    rng = np.random.default_rng(0)
    for index in (5, -1, slice(3, 40, 7), rng.integers(0, 70, 12), rng.random(70) < 0.3, [2, 2, 1], np.int64(4)):
        np.testing.assert_array_equal(train.images[index], array[index])
        if np.ndim(np.arange(70)[index]):
            np.testing.assert_array_equal(train.subset(index).images[:], array[index])
    with pytest.raises(IndexError):
        train.images[70]


def test_adding_images_keeps_the_splits_of_the_others(folder):
    before = [by_pixels(split) for split in both(folder)]
    write(folder, [f'a/new{i}.png' for i in range(40)], seed=1000)
    (folder / 'a' / '0.png').rename(folder / 'a' / 'renamed.png')
    after = [by_pixels(split) for split in both(folder)]
    assert all(set(x) < set(y) for x, y in zip(before, after, strict=True)) and len(after[0]) + len(after[1]) == 110
    assert sum(map(len, before)) == 70


def test_the_share_of_the_test_split(tmp_path):
    write(tmp_path / 'set', [f'{i}.png' for i in range(400)])
    for fraction in (None, 0.0, 0.4):
        options = {} if fraction is None else {'test_fraction': fraction}
        held_out = len(both(tmp_path / 'set', **options)[1].images)
        share = 0.1 if fraction is None else fraction
        assert abs(held_out - 400 * share) <= 4 * np.sqrt(400 * share * (1 - share))  # four standard deviations


def test_the_same_content_is_in_one_split(folder):
    for i in range(70):
        (folder / 'a' / f'copy{i}.png').write_bytes(encoded(image(i)))
    train, test = both(folder)
    assert len(train.images) + len(test.images) == 140 and not set(by_pixels(train)) & set(by_pixels(test))


def test_a_fingerprint_depends_on_content_and_classes(folder):
    def fingerprint(**options):
        return both(folder, **options)[0].origin.fingerprint

    first = fingerprint()
    for path in sorted(folder.rglob('*.png')):
        os.utime(path, (1, 1))
    folder.rename(folder.parent / 'moved')
    moved = both(folder.parent / 'moved')[0].origin.fingerprint
    (folder.parent / 'moved').rename(folder)
    assert moved == first
    assert fingerprint(labels='none') != first != fingerprint(test_fraction=0.5)
    (folder / 'a' / '0.png').write_bytes(encoded(image(999)))
    changed = fingerprint()
    (folder / 'a' / '0.png').write_bytes(encoded(image(0)))
    assert changed != first == fingerprint()


def test_prepared_once_and_again_after_a_change(folder, monkeypatch, capsys):
    def prepares():
        with progress.shown():
            both(folder)
        return capsys.readouterr().out.count(' (once)')

    assert [prepares(), prepares()] == [1, 0]
    (folder / 'a' / '0.png').write_bytes(encoded(image(500)))
    assert [prepares(), prepares()] == [1, 0]
    os.utime(folder / 'b' / '1.png', (5, 5))
    assert [prepares(), prepares()] == [1, 0]
    (folder / 'b' / '3.png').unlink()
    assert [prepares(), prepares()] == [1, 0]


@pytest.mark.parametrize('options', [{'image_size': 10}, {'crop': 'random'}, {'resize': 'area'}, {'channels': 1}])
def test_other_options_prepare_other_images(folder, options, cache):
    both(folder)
    load('folder', path=str(folder), **{'image_size': 12, **options})
    assert len(list(cache.glob('images/*/images.npy'))) == 2


def test_a_change_that_keeps_size_and_time_is_noticed(tmp_path):
    path = tmp_path / 'set' / '1.bmp'
    path.parent.mkdir()
    for seed in (1, 2):
        path.write_bytes(encoded(image(seed), 'BMP'))  # a BMP file has the same size for any pixels
        os.utime(path, (7, 7))
        np.testing.assert_array_equal(
            load('folder', path=str(path.parent), image_size=12, test_fraction=0).images[0], image(seed)
        )


def test_files_that_change_while_they_are_prepared_are_refused(folder, cache, monkeypatch):
    convert = store._convert_all

    def changing(*arguments):
        results = convert(*arguments)
        (folder / 'a' / '0.png').unlink()
        return results

    monkeypatch.setattr(store, '_convert_all', changing)
    with pytest.raises(UserError, match='files of .*set changed while they were prepared: run this again'):
        both(folder)
    assert not left_over(cache)


def test_a_read_only_cache_is_read(folder, cache, monkeypatch):
    expected = both(folder)[0].images[:]

    def refused(*arguments):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(store, 'open', refused, raising=False)
    np.testing.assert_array_equal(both(folder)[0].images[:], expected)
    with pytest.raises(
        UserError, match='lock cannot be written .Permission denied.: allow it, or set JAXGEN_CACHE_DIR'
    ):
        both(folder, labels='none')


@pytest.mark.parametrize('file', store.FILES)
@pytest.mark.parametrize('damage', ['cut', 'missing', 'empty'])
def test_a_damaged_cache_is_made_again(folder, cache, file, damage):
    expected = both(folder)[0].images[:]
    (path,) = cache.glob(f'images/*/{file}')
    data = path.read_bytes()
    path.unlink()
    if damage != 'missing':
        path.write_bytes(data[: len(data) // 2] if damage == 'cut' else b'')
    np.testing.assert_array_equal(both(folder)[0].images[:], expected)
    assert not left_over(cache)


def test_images_stay_readable_while_they_are_made_again(folder):
    first = both(folder)[0]
    expected = first.images[:]
    (folder / 'a' / '0.png').write_bytes(encoded(image(777)))
    second = both(folder)[0]
    np.testing.assert_array_equal(first.images[:], expected)
    assert by_pixels(second) != by_pixels(first)


PREPARE = """
import sys
from jaxgen.data import load
from jaxgen.data.prepared import store
from jaxgen.runtime import progress
if sys.argv[2] == 'die':
    import os
    store._collect = lambda *arguments: os._exit(9)
with progress.shown():
    images = load('folder', path=sys.argv[1], image_size=12, test_fraction=0).images
print('READY', len(images))
"""


def preparing(path, what=''):
    return subprocess.Popen(
        [sys.executable, '-c', PREPARE, str(path), what], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def test_a_killed_preparation_leaves_nothing_that_is_trusted(folder, cache):
    """A process ends before it is done: no clean-up runs, as under SIGKILL."""
    assert preparing(folder, 'die').wait() == 9
    assert left_over(cache) and not list(cache.glob('images/set*/images.npy'))
    assert len(load('folder', path=str(folder), image_size=12, test_fraction=0).images) == 70
    assert not left_over(cache)


def test_two_processes_prepare_the_images_once(folder):
    processes = [preparing(folder) for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    assert all('READY 70' in text for text in said)
    assert sum(text.count('images of') for text in said) == 1


def test_a_full_disk_is_one_sentence_and_leaves_nothing(folder, cache, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(store, '_convert_all', full)
    with pytest.raises(
        UserError, match='cannot be written .No space left on device.: make room, or set JAXGEN_CACHE_DIR'
    ):
        both(folder)
    assert not left_over(cache)
    monkeypatch.setattr(
        store.shutil, 'disk_usage', lambda path: os.terminal_size((0, 0)) and type('D', (), {'free': 10})
    )
    with pytest.raises(UserError, match='take 0.0 GiB, but .* has 0.0 GiB free: choose a smaller image_size'):
        both(folder)
    assert not left_over(cache)


def test_too_many_unusable_files_stop_the_preparation(folder, cache):
    for i in range(3):
        (folder / 'a' / f'broken{i}.png').write_bytes(b'nothing')
    with pytest.raises(
        UserError, match='3 of 73 files of .*set cannot be used, such as a/broken0.png is not .*=0.05'
    ) as e:
        both(folder)
    (report,) = cache.rglob('*.refused.txt')
    assert str(report) in str(e.value) and str(e.value).isprintable() and not left_over(cache)
    assert [line.split()[0] for line in report.read_text().splitlines()] == [f'a/broken{i}.png' for i in range(3)]
    train, test = both(folder, max_refused=0.05)
    assert len(train.images) + len(test.images) == 70
    assert [name for name, _ in train.origin.refused] == [f'a/broken{i}.png' for i in range(3)]
    assert train.origin.notes == (f'3 of 73 files cannot be used, such as {train.origin.refused[0][1]}',)


def test_nothing_but_unusable_files(tmp_path):
    (tmp_path / 'set').mkdir()
    (tmp_path / 'set' / '1.png').write_bytes(b'')
    with pytest.raises(UserError, match='1 of 1 files of .* cannot be used, .*: repair or remove them$'):
        both(tmp_path / 'set', max_refused=1.0)


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        (['train/a/1.png', 'train/b/2.jpg', 'test/c/3.png'], "the class 'c' has no image to train on"),
        (['1.png'], 'no image is left to train on: all are in the test split; set test_fraction=0'),
    ],
)
def test_a_class_needs_an_image_to_train_on(tmp_path, names, words, monkeypatch):
    write(tmp_path / 'set', names)
    monkeypatch.setattr(store, 'TEST_FRACTION', 1.0)
    with pytest.raises(UserError, match=words):
        both(tmp_path / 'set')


def test_three_images_are_enough(tmp_path):
    write(tmp_path / 'set', ['1.png', '2.png', '3.png'])
    train = load('folder', path=str(tmp_path / 'set'), test_fraction=0)
    assert train.images.shape == (3, 64, 64, 3) and train.class_names == ('image',)
    assert pipeline.batch(train, 0, 0, 3)['image'].shape == (3, 64, 64, 3)


def test_colours_that_do_not_exist_are_refused():
    with pytest.raises(UserError, match='background=grun is not a colour: name one, such as white'):
        SourceOptions(name='folder', background='grun')
    assert SourceOptions(name='folder', background='#80c0ff').fill == (128, 192, 255)


LARGE = """
import json, pathlib, sys
import numpy as np
from jaxgen.data import pipeline
from jaxgen.data.dataset import Dataset, ImagesOnDisk
from jaxgen.metrics.sets import image_sets
count = 1_300_000
file = pathlib.Path(sys.argv[1])
images = np.lib.format.open_memmap(file, 'w+', np.uint8, (count, 64, 64, 3))
images[-1] = 7
del images
data = Dataset(ImagesOnDisk(file), np.arange(count, dtype=np.int32), ('x',))
numbers = set()
for batch in pipeline.Prefetcher(iter(range(20)), lambda step: pipeline.batch(data, 0, step, 256)):
    assert batch['image'].shape == (256, 64, 64, 3)
    numbers.update(batch['label'].tolist())
whole = data.images[-1].mean()
pieces = image_sets.from_dataset(data.subset(slice(-5000, None)), 'x:train').pieces()
status = dict(line.split(':', 1) for line in open('/proc/self/status'))
peak = int(status['VmHWM'].split()[0]) / 2**20  # ru_maxrss would count the process that started this one
print(json.dumps({'numbers': len(numbers), 'last': whole, 'streamed': sum(map(len, pieces)), 'peak_gib': peak}))
"""


def test_a_set_of_16_gigabytes_needs_little_memory(tmp_path):
    """A sparse file with the size of ImageNet at 64x64: batches and references are read in pieces."""
    file = tmp_path / 'images.npy'
    said = subprocess.run(
        [sys.executable, '-c', LARGE, str(file)], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    found = json.loads(said)
    assert file.stat().st_size > 15.9e9 > 1e9 > file.stat().st_blocks * 512
    assert found['numbers'] == 5120 and found['last'] == 7 and found['streamed'] == 5000
    assert found['peak_gib'] < 1


def test_a_process_reads_only_its_own_indices(folder, monkeypatch):
    data = both(folder)[0]
    read, original = [], dataset.ImagesOnDisk._read

    def recorded(self, index, place):
        read.extend(np.atleast_1d(index).tolist())
        return original(self, index, place)

    monkeypatch.setattr(dataset.ImagesOnDisk, '_read', recorded)
    pipeline.batch(data, 3, 2, 16, slice(4, 8))
    assert read == pipeline.example_indices(3, 2, 16, len(data.images))[4:8].tolist()
