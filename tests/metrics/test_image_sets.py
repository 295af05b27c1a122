"""Sets of images: what is read, how it is described, and one sentence for each mistake."""

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import load
from jaxgen.errors import UserError
from jaxgen.metrics.sets.image_sets import from_array, open_set, subset

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (5, 6, 4, 3), np.uint8)


def read(images):
    return np.concatenate(list(images.pieces()))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'b').mkdir()
    for i, place in enumerate(('b/0.png', 'a.png', 'z.PNG', 'b/1.webp', '.hidden.png')):
        Image.fromarray(PICTURES[i]).save(tmp_path / place, lossless=True)
    (tmp_path / 'notes.txt').write_text('not an image')
    return tmp_path


def test_a_split_of_a_data_set():
    digits = load('digits', 'test')
    images = open_set('digits:test', 'field')
    np.testing.assert_array_equal(read(images), digits.images)
    np.testing.assert_array_equal(images.labels, digits.labels)
    assert images.class_names == digits.class_names and images.image_shape == (8, 8, 1) and images.count == 360

    some = open_set('digits:test', 'field', num=50, classes=('3', '7'), image_size=16)
    threes = load('digits', 'test', classes=('3', '7'), image_size=16)
    chosen = np.random.RandomState(2020).choice(len(threes.images), 50, replace=False)
    np.testing.assert_array_equal(read(some), threes.images[chosen])
    np.testing.assert_array_equal(some.labels, threes.labels[chosen])
    assert some.description['count'] == 50 and some.description['of'] == len(threes.images)
    assert some.description['sha256'] != images.description['sha256']


def test_subsets_are_those_of_the_published_check():
    expected = np.random.RandomState(2020).choice(50000, 5000, replace=False)
    np.testing.assert_array_equal(subset(50000, 5000), expected)
    np.testing.assert_array_equal(subset(10, None), np.arange(10))
    np.testing.assert_array_equal(subset(10, 11), np.arange(10))
    with pytest.raises(UserError, match='num=0 must be at least 1'):
        subset(10, 0)


def test_an_array():
    images = from_array(PICTURES[:, ::-1])
    np.testing.assert_array_equal(read(images), PICTURES[:, ::-1])
    assert images.count == 5 and images.image_shape == (6, 4, 3) and images.labels is None
    assert from_array(PICTURES[..., 0]).image_shape == (6, 4, 1)
    chosen = np.random.RandomState(2020).choice(5, 2, replace=False)
    np.testing.assert_array_equal(read(from_array(PICTURES, num=2)), PICTURES[chosen])
    with pytest.raises(UserError, match='the_argument holds float64 from'):
        from_array(PICTURES / 255.0, 'the_argument')


def test_a_folder(folder):
    images = open_set(str(folder), 'field')
    np.testing.assert_array_equal(read(images), PICTURES[[1, 0, 3, 2]])  # in the order of the paths
    np.testing.assert_array_equal(read(images), read(images))
    assert images.count == 4 and images.image_shape == (6, 4, 3) and images.labels is None
    before = images.description
    assert before == open_set(str(folder), 'field').description
    assert read(open_set(str(folder), 'field', num=2)).shape == (2, 6, 4, 3)
    Image.fromarray(PICTURES[4]).save(folder / 'a.png')
    assert open_set(str(folder), 'field').description['sha256'] != before['sha256']


def test_one_picture_with_colours_makes_a_folder_colour(tmp_path):
    Image.fromarray(PICTURES[0, ..., 0]).save(tmp_path / '0.png')
    Image.fromarray((PICTURES[3, ..., 0] * np.uint16(257)).astype(np.uint16)).save(tmp_path / '1.png')
    assert open_set(str(tmp_path), 'field').image_shape == (6, 4, 1)
    np.testing.assert_array_equal(read(open_set(str(tmp_path), 'field'))[..., 0], PICTURES[[0, 3], ..., 0])
    Image.fromarray(np.dstack([PICTURES[1], np.full((6, 4), 255, np.uint8)])).save(tmp_path / '2.png')
    Image.fromarray(PICTURES[2]).quantize(8).save(tmp_path / '3.png')
    images = open_set(str(tmp_path), 'field')
    assert images.image_shape == (6, 4, 3)
    found = read(images)
    np.testing.assert_array_equal(found[0], np.repeat(PICTURES[0, ..., :1], 3, axis=-1))
    np.testing.assert_array_equal(found[2], PICTURES[1])


def test_which_files_of_a_folder_count(tmp_path):
    """Hidden files and folders are not counted, linked folders and suffixes in any case are, and others are named."""
    (tmp_path / 'set' / '.ipynb_checkpoints').mkdir(parents=True)
    (tmp_path / 'elsewhere').mkdir()
    for i, name in enumerate(
        ('set/.ipynb_checkpoints/a.png', 'set/A.PNG', 'set/b.JPEG', 'elsewhere/c.jfif', 'set/._x.png')
    ):
        Image.fromarray(PICTURES[i]).save(tmp_path / name, 'PNG')
    (tmp_path / 'set' / 'link').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'elsewhere' / 'loop').symlink_to(tmp_path / 'set')
    images = open_set(str(tmp_path / 'set'), 'field')
    np.testing.assert_array_equal(read(images), PICTURES[1:4])
    assert images.notes == ()
    for name in ('photo.avif', 'labels.csv'):
        (tmp_path / 'set' / name).touch()
    images = open_set(str(tmp_path / 'set'), 'field')
    (note,) = images.notes
    assert images.count == 3 and note.startswith(
        f'2 files of {tmp_path / "set"} are not read, such as labels.csv: only images ('
    )


def test_a_subset_of_a_sorted_folder_has_all_classes(tmp_path):
    for i in range(40):
        (tmp_path / str(i // 10)).mkdir(exist_ok=True)
        Image.new('L', (2, 2), i // 10).save(tmp_path / str(i // 10) / f'{i:02}.png')
    assert set(np.unique(read(open_set(str(tmp_path), 'field', num=12)))) == {0, 1, 2, 3}


def test_more_images_than_are_decoded_at_once(tmp_path):
    values = np.arange(300) % 256
    for i, value in enumerate(values):
        Image.new('L', (2, 2), int(value)).save(tmp_path / f'{i:03}.png')
    np.testing.assert_array_equal(read(open_set(str(tmp_path), 'field'))[:, 0, 0, 0], values)


def test_an_npz(tmp_path):
    np.savez(tmp_path / 'a.npz', images=PICTURES, labels=np.arange(5))
    images = open_set(str(tmp_path / 'a.npz'), 'field', class_names=tuple('abcde'))
    assert images.class_names == tuple('abcde')
    np.testing.assert_array_equal(read(images), PICTURES)
    np.testing.assert_array_equal(images.labels, np.arange(5))
    np.savez(tmp_path / 'b.npz', PICTURES[..., 0])
    assert open_set(str(tmp_path / 'b.npz'), 'field').image_shape == (6, 4, 1)
    np.savez(tmp_path / 'c.npz', images=PICTURES, labels=np.full(5, -1))  # labels of a model without classes
    assert open_set(str(tmp_path / 'c.npz'), 'field', class_names=('cat',)).labels is None
    named = {
        'images': PICTURES,
        'labels': np.array([2, 0, 0, 3, 2]),
        'class_names': np.array(['dog', 'unused', 'a', 'cat']),
    }
    np.savez(tmp_path / 'd.npz', **named)
    images = open_set(str(tmp_path / 'd.npz'), 'field', class_names=('cat', 'a', 'dog'))
    assert images.labels.tolist() == [1, 2, 2, 0, 1] and images.class_names == ('cat', 'a', 'dog')
    assert open_set(str(tmp_path / 'd.npz'), 'field').labels is None  # without class_names labels are not read
    np.savez(tmp_path / 'e.npz', **{**named, 'labels': np.full(5, -1)})
    assert open_set(str(tmp_path / 'e.npz'), 'field', class_names=('cat',)).labels is None


def test_an_npz_of_guided_diffusion_has_labels(tmp_path):
    np.savez(tmp_path / 'samples.NPZ', PICTURES, np.arange(5))
    (tmp_path / 'samples.NPZ.npz').rename(tmp_path / 'samples.NPZ')
    (tmp_path / '._samples.npz').write_bytes(b'of a file manager')
    (tmp_path / 'grid.png').touch()
    for name in (tmp_path / 'samples.NPZ', tmp_path):
        images = open_set(str(name), 'field', class_names=tuple('abcde'))
        np.testing.assert_array_equal(read(images), PICTURES)
        assert images.labels.tolist() == [0, 1, 2, 3, 4]
    (note,) = images.notes
    assert note == f'1 file of {tmp_path} is not read, such as grid.png: only the .npz files directly in it are'


@pytest.mark.parametrize(
    ('arrays', 'words'),
    [
        ({'images': PICTURES[0]}, r'has the shape \(6, 4, 3\) of one image: sets are \[N, H, W, 3\], so add an axis'),
        ({'arr_0': PICTURES[0, ..., :1]}, r'has the shape \(6, 4, 1\) of one image'),
        ({'images': PICTURES[0, ..., 0]}, r'has the shape \(6, 4\); images are'),
        (
            {'images': PICTURES.transpose(0, 3, 1, 2)},
            r'has the shape \(5, 3, 6, 4\), with its channels first: move them',
        ),
        ({'images': np.zeros((0, 4, 4, 3))}, 'at least one'),
        ({'images': np.zeros((2, 4, 4, 3), bool)}, 'holds bool values, which are not images'),
        (
            {'arr_0': PICTURES, 'arr_1': np.ones((5, 10))},
            r'5 images, but labels float64 of shape \(5, 10\): labels are',
        ),
        ({'images': PICTURES / 255.0}, 'holds float64 from 0.* to .*, and images are evaluated as uint8'),
        ({'images': PICTURES / np.float32(127.5) - 1}, 'holds float32 from -1 to 1'),
        ({'images': np.full((2, 4, 4, 3), np.nan)}, 'values that are not finite'),
        ({'images': np.array(['a', 'b'])}, 'which are not images'),
        ({'images': PICTURES[..., :2]}, r'has the shape \(5, 6, 4, 2\)'),
        ({'images': PICTURES[:0]}, 'at least one'),
        ({'pictures': PICTURES}, 'holds neither images nor arr_0, but pictures'),
        ({'images': PICTURES, 'labels': np.arange(4)}, r'5 images, but labels int64 of shape \(4,\)'),
        ({'images': PICTURES, 'labels': np.ones(5)}, r'5 images, but labels float64 of shape \(5,\)'),
        ({'images': PICTURES, 'labels': np.arange(5)}, 'labels up to 4, and the data set has 0 classes'),
        (
            {'images': PICTURES, 'labels': np.zeros(5, int), 'class_names': np.array(['cat', 'dog'])},
            "has images of 'cat', which is not a class of the data set: choose the data set",
        ),
        (
            {'images': PICTURES, 'labels': np.arange(5), 'class_names': np.array(['cat', 'dog'])},
            r'labels up to 4, and class_names of shape \(2,\): write it again',
        ),
    ],
)
def test_a_wrong_npz_is_named(tmp_path, arrays, words):
    path = tmp_path / 'x.npz'
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=f'the.field={path} .*{words}') as e:
        open_set(str(path), 'the.field', class_names=())
    assert '\n' not in str(e.value)


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_a_damaged_npz(tmp_path, save):
    path = tmp_path / 'x.npz'
    save(path, images=PICTURES)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for damaged in (whole[:-200], bytes(flipped), b'', b'not a zip file'):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match='is not a complete .npz file'):
            open_set(str(path), 'field')
        assert path.read_bytes() == damaged  # the file of a user is never removed


def test_wrong_folders_are_named(tmp_path, folder):
    with pytest.raises(UserError, match='the.field=nowhere is neither a folder, nor an .npz file, nor a data set'):
        open_set('nowhere', 'the.field')
    with pytest.raises(UserError, match='is not a file'):
        open_set(str(tmp_path / 'absent.npz'), 'the.field')
    empty = tmp_path / 'empty'
    empty.mkdir()
    with pytest.raises(UserError, match='the.field=.*empty holds no image'):
        open_set(str(empty), 'the.field')
    (empty / 'x.heic').touch()
    with pytest.raises(UserError, match=r'holds no image \(.png .*\); 1 file of .* is not read, such as x.heic'):
        open_set(str(empty), 'the.field')

    Image.fromarray(PICTURES[0]).resize((5, 6)).save(folder / 'wide.png')
    with pytest.raises(UserError, match='mixes sizes: a.png is 4x6, wide.png is 5x6'):
        open_set(str(folder), 'field')
    (folder / 'wide.png').write_bytes(b'not a png')
    with pytest.raises(UserError, match='wide.png is not an image that can be read'):
        open_set(str(folder), 'field')
    Image.fromarray(np.dstack([PICTURES[0], PICTURES[1][..., 0]])).save(folder / 'wide.png')
    with pytest.raises(UserError, match='wide.png has transparent pixels'):
        open_set(str(folder), 'field')
    big = RNG.integers(0, 256, (6, 4, 3), np.uint8)
    Image.fromarray(big).save(folder / 'wide.png')
    whole = (folder / 'wide.png').read_bytes()
    (folder / 'wide.png').write_bytes(whole[: len(whole) - 40])
    with pytest.raises(UserError, match='wide.png is not an image that can be read'):
        read(open_set(str(folder), 'field'))
