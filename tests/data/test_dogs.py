"""Stanford Dogs: TFDS's own builder on tiny archives with odd files, cropping, and the cache of decoded images."""

import errno
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import SOURCES, decoded, dogs, load
from jaxgen.errors import UserError
from tests.helpers.tfds_cache import lay_in_tfds_cache

REAL = pathlib.Path(os.environ.get('TFDS_DATA_DIR', '/nowhere')) / 'stanford_dogs' / '0.2.0'
RED, BLUE = (200, 30, 40), (20, 60, 210)


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def encoded(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def two_halves(width, height):
    """Return an image that is red on the left and blue on the right."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = RED, BLUE
    return Image.fromarray(pixels)


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def annotation(width, height, *boxes):
    """Return an annotation as in the real archive; boxes are (xmin, ymin, xmax, ymax)."""
    size = f'<size><width>{width}</width><height>{height}</height><depth>3</depth></size>'
    objects = ''.join(
        f'<object><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>'
        for a, b, c, d in boxes
    )
    return f'<annotation>{size}{objects}</annotation>'.encode()


FOLDERS = [f'n{i:08}-{breed.title()}' for i, breed in enumerate(dogs.BREEDS)]
WIDE = two_halves(80, 40)
ALPHA = Image.merge('RGBA', [*two_halves(32, 32).split(), Image.new('L', (32, 32), 9)])
# (breed, picture, annotation): plain, with alpha but a .jpg name, grey, palette, CMYK, and one pixel high.
TRAIN = [
    (0, encoded(WIDE, 'JPEG', quality=95, subsampling=0), annotation(80, 40, (2, 5, 6, 9), (50, 4, 76, 30))),
    (3, encoded(ALPHA, 'PNG'), annotation(32, 32, (0, 0, 32, 32))),
    (3, encoded(Image.new('L', (24, 36), 77), 'JPEG'), annotation(24, 36, (0, 0, 24, 36))),
    (5, encoded(two_halves(20, 20).quantize(4), 'PNG'), annotation(20, 20, (0, 0, 20, 20))),
    (119, encoded(WIDE.convert('CMYK'), 'JPEG', quality=95, subsampling=0), annotation(80, 40, (0, 0, 80, 40))),
    (119, encoded(Image.new('RGB', (9, 1), RED), 'JPEG'), annotation(9, 1, (0, 0, 9, 1))),
]
TEST = [(breed, encoded(WIDE, 'PNG'), annotation(80, 40, (0, 0, 80, 40))) for breed in (7, 8)]


def lay_archives(monkeypatch, tmp_path, train):
    from scipy.io import savemat

    base = 'http://vision.stanford.edu/aditya86/ImageNetDogs/'
    images, notes, lists = {}, {}, {'train': [], 'test': []}
    for split, entries in (('train', train), ('test', TEST)):
        for i, (breed, content, note) in enumerate(entries):
            stem = f'{FOLDERS[breed].partition("-")[0]}_{split}{i}'
            images[f'Images/{FOLDERS[breed]}/{stem}.jpg'] = content
            notes[f'Annotation/{FOLDERS[breed]}/{stem}'] = note
            lists[split].append(f'{FOLDERS[breed]}/{stem}.jpg')
    lists['train'] += [f'{folder}/absent.jpg' for folder in FOLDERS]  # the list names all breeds
    matrices = {}
    for split, files in lists.items():
        out = io.BytesIO()
        savemat(out, {'file_list': np.array(files, object)[:, None]})
        matrices[f'{split}_list.mat'] = out.getvalue()
    archives = {'images.tar': tar(images), 'lists.tar': tar(matrices), 'annotation.tar': tar(notes)}
    lay_in_tfds_cache(
        monkeypatch, tmp_path, 'stanford_dogs', {base + name: content for name, content in archives.items()}
    )


@pytest.fixture
def fake_dogs(monkeypatch, tmp_path):
    lay_archives(monkeypatch, tmp_path, TRAIN)


def by_label(dataset):
    return {label: dataset.images[dataset.labels == label] for label in np.unique(dataset.labels)}


def near(pixels, colour, tolerance=8):
    return abs(pixels.astype(int) - np.array(colour)).max() <= tolerance


def test_tfds_prepares_and_odd_files_become_rgb(fake_dogs, cache):
    train = load('stanford_dogs', 'train', image_size=20)
    assert train.images.shape == (6, 20, 20, 3) and train.images.dtype == np.uint8
    assert sorted(train.labels) == [0, 3, 3, 5, 119, 119] and train.class_names == dogs.BREEDS
    images = by_label(train)
    for image in (images[0][0], *(x for x in images[3] if x.std() > 5), images[5][0]):  # wide, alpha, palette
        assert near(image[:, :8], RED) and near(image[:, 12:], BLUE)
    grey = next(x for x in images[3] if x.std() < 5)
    assert near(grey, (77, 77, 77), 2)
    assert any(near(x, RED) for x in images[119])  # one pixel high
    cmyk = next(x for x in images[119] if not near(x, RED))
    assert cmyk[:, :8, 0].mean() > 150 > 100 > cmyk[:, 12:, 0].mean()

    test = load('stanford_dogs', 'test')
    assert test.images.shape == (2, 64, 64, 3) and sorted(test.labels) == [7, 8]
    assert len(list(cache.iterdir())) == 2
    some = load('stanford_dogs', 'train', classes=['pekinese', 'chihuahua'], image_size=20)
    assert sorted(some.labels) == [0, 0, 1] and some.class_names == ('pekinese', 'chihuahua')


def test_the_bounding_box_crop_shows_the_largest_dog(fake_dogs):
    """The larger of the picture's two boxes lies in its blue half."""
    boxed = by_label(load('stanford_dogs', 'train', image_size=16, crop='box'))[0][0]
    assert near(boxed, BLUE)


@pytest.mark.parametrize(
    ('box', 'square'),
    [
        ((0, 0, 1, 1), (30, 0, 70, 40)),  # the middle of the picture: this is the centre crop
        ((0.25, 0.5, 0.75, 0.7), (50, 10, 70, 30)),  # 20 x 20 pixels as it is
        ((0.25, 0.5, 0.75, 0.6), (45, 10, 65, 30)),  # 10 wide and 20 high: widened on both sides
        ((0.5, 0.0, 1.0, 0.05), (0, 20, 20, 40)),  # moved in from the left border
        ((0.0, 0.9, 0.2, 1.0), (90, 0, 100, 10)),  # in the corner
        ((0.4, 0.1, 0.6, 0.9), (30, 0, 70, 40)),  # 80 wide: the picture is 40 high
        ((0.5, 0.5, 0.5, 0.5), (49, 19, 50, 20)),  # no extent
    ],
)
def test_square_around(box, square):
    assert dogs.square_around(box, width=100, height=40) == square


def test_the_cache_is_read_again_and_damage_is_repaired(fake_dogs, cache, monkeypatch):
    first = load('stanford_dogs', 'train', image_size=20)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    decode = dogs._decode_all

    def not_again(*args):
        raise AssertionError('decoded again')

    monkeypatch.setattr(dogs, '_decode_all', not_again)
    np.testing.assert_array_equal(load('stanford_dogs', 'train', image_size=20).images, first.images)
    monkeypatch.setattr(dogs, '_decode_all', decode)

    def flipped(at, bit=2):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << bit
        return bytes(damaged)

    in_data, in_header, in_shape = len(whole) // 3, whole.index(b'descr'), whole.index(b'(6, 20') + 1
    for damaged in (
        *(whole[: len(whole) // 2], b'', b'PK'),
        *(flipped(at, bit) for at in (in_data, in_header, in_shape) for bit in range(8)),
        *(flipped(at) for at in range(40)),  # the first member's own header
        *(flipped(-at) for at in range(1, 60)),  # the directory at the end
    ):
        file.write_bytes(damaged)
        again = load('stanford_dogs', 'train', image_size=20)
        np.testing.assert_array_equal(again.images, first.images)
        np.testing.assert_array_equal(again.labels, first.labels)


def test_a_killed_preparation_leaves_nothing_that_is_trusted(fake_dogs, cache):
    """A process ends while it is writing, and no clean-up runs, as after SIGKILL."""
    load('stanford_dogs', 'test')
    before = set(cache.iterdir())
    code = """
import os, pathlib
import numpy as np
from jaxgen.data import load
np.savez = lambda path, **arrays: (pathlib.Path(path).write_bytes(b'PK half'), os._exit(9))
load('stanford_dogs', 'train', image_size=20)
"""
    assert subprocess.run([sys.executable, '-c', code], cwd=pathlib.Path(__file__).parents[2]).returncode == 9
    (left,) = set(cache.iterdir()) - before
    assert left.read_bytes() == b'PK half' and left.name.startswith('.')
    assert load('stanford_dogs', 'train', image_size=20).images.shape == (6, 20, 20, 3)


def test_images_load_if_the_cache_cannot_be_written(fake_dogs, cache, monkeypatch):
    expected = load('stanford_dogs', 'train', image_size=24)
    for file in cache.iterdir():
        file.unlink()

    def fails(path, **arrays):
        pathlib.Path(path).write_bytes(b'PK')
        raise OSError(errno.ENOSPC, 'No space left on device')

    said = []
    monkeypatch.setattr(np, 'savez', fails)
    monkeypatch.setattr(decoded.logging, 'warning', lambda text, *values: said.append(text % values))
    np.testing.assert_array_equal(load('stanford_dogs', 'train', image_size=24).images, expected.images)
    (warning,) = said
    assert 'cannot be written (No space left on device): the images are decoded again' in warning
    assert not list(cache.iterdir())


def test_a_damaged_picture_is_named(monkeypatch, tmp_path):
    half = TRAIN[0][1][: len(TRAIN[0][1]) // 2]
    lay_archives(monkeypatch, tmp_path, [*TRAIN, (11, half, annotation(80, 40, (0, 0, 80, 40)))])
    with pytest.raises(UserError, match=r'damaged record in stanford_dogs-train.array_record.*_train6.jpg') as e:
        load('stanford_dogs', 'train')
    assert '\n' not in str(e.value)


def test_the_damaged_file_of_several_is_named(fake_dogs, tmp_path):
    load('stanford_dogs', 'test')
    folder = tmp_path / 'stanford_dogs' / '0.2.0'
    (only,) = folder.glob('*train.array_record*')
    whole = only.read_bytes()
    info = json.loads((folder / 'dataset_info.json').read_text())
    train = next(s for s in info['splits'] if s['name'] == 'train')
    train['shardLengths'] = ['6', '6']
    (folder / 'dataset_info.json').write_text(json.dumps(info))
    first, second = (folder / f'stanford_dogs-train.array_record-0000{i}-of-00002' for i in range(2))
    only.rename(first)
    second.write_bytes(whole)
    assert load('stanford_dogs', 'train', image_size=8).images.shape == (12, 8, 8, 3)
    second.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r'damaged record in stanford_dogs-train.array_record-00001-of-00002 \('):
        load('stanford_dogs', 'train', image_size=9)
    (folder / 'features.json').write_text('{')
    with pytest.raises(UserError, match='remove the folder'):
        load('stanford_dogs', 'train', image_size=9)


def test_breeds_and_crops_that_do_not_exist():
    with pytest.raises(UserError, match="stanford_dogs class 'husky' does not exist; did you mean siberian_husky"):
        load('stanford_dogs', 'train', classes=['husky'])
    with pytest.raises(UserError, match='did you mean .* or another of 120') as e:
        load('stanford_dogs', 'train', classes=['xyzzy'])
    assert len(str(e.value)) < 400
    with pytest.raises(UserError, match="stanford_dogs class 'beagel' does not exist; did you mean beagle"):
        load('stanford_dogs', 'train', classes=['beagel'])
    with pytest.raises(UserError, match="crop 'centre' does not exist; did you mean center"):
        load('stanford_dogs', 'train', crop='centre')
    with pytest.raises(UserError, match="crop 'box' does not exist; did you mean center"):
        load('digits', 'train', crop='box')


@pytest.mark.skipif(not REAL.is_dir(), reason='TFDS_DATA_DIR holds no prepared stanford_dogs')
def test_real_stanford_dogs():
    names = [line.partition('-')[2] for line in (REAL / 'label.labels.txt').read_text().split()]
    assert tuple(names) == dogs.BREEDS and len(set(names)) == 120
    test = load('stanford_dogs', 'test')
    assert test.images.shape == (8580, 64, 64, 3) and SOURCES['stanford_dogs'].sizes == (12000, 8580)
    assert len(np.unique(test.labels)) == 120 and 100 < test.images.mean() < 130
