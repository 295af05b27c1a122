"""Listing a folder, a zip or a tar: which files, in which order, in which split, and of which class."""

import json
import os
import tarfile
import zipfile

import numpy as np
import pytest

from jaxgen.data import load
from jaxgen.data.options import SourceOptions
from jaxgen.data.prepared.folder import list_folder
from jaxgen.data.prepared.listing import BY_HASH, TEST, TRAIN, natural_order
from jaxgen.errors import UserError
from tests.helpers.image_folders import image, left_over, tarred, write, zipped
from tests.helpers.picture_files import encoded


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('JAXGEN_CACHE_DIR', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def listed(path, **options):
    return list_folder(SourceOptions(name='folder', path=str(path), **options))


def classes(listing):
    return [listing.class_names[label] for label in listing.labels]


@pytest.mark.parametrize(
    ('names', 'ordered'),
    [
        (['img10.png', 'img2.png', 'img1.png'], ['img1.png', 'img2.png', 'img10.png']),
        (['b/1.png', 'a/10.png', 'a/9.png'], ['a/9.png', 'a/10.png', 'b/1.png']),
        (['a.png', '10.png', '9a.png', '9.png'], ['9.png', '9a.png', '10.png', 'a.png']),
        (
            ['٣.png', '²x.png', '1.png'],
            ['1.png', '²x.png', '٣.png'],
        ),  # digits other than 0 to 9 of ASCII are sorted as letters
        (['x01.png', 'x1.png', 'x001.png'], ['x001.png', 'x01.png', 'x1.png']),
    ],
)
def test_numbers_are_sorted_by_value(names, ordered):
    assert natural_order(names) == natural_order(reversed(names)) == ordered


def test_which_files_are_listed(tmp_path):
    """Suffixes count in any case and at any depth, hidden files do not, and links are followed even if they form loops."""
    root = tmp_path / 'my photos'
    write(
        root,
        [
            'new\nline/5.png',
            'a b/Ünï cødé.PNG',
            'a b/deep/er/2.jpg',
            'a b/.hidden.png',
            '.git/3.png',
            'a b/notes.txt',
            'c/4.png',
        ],
    )
    os.symlink(root / 'c', root / 'a b' / 'linked')
    os.symlink(root, root / 'c' / 'loop')
    os.symlink(root / 'nowhere.png', root / 'c' / 'dead.png')
    found = listed(root)
    assert sorted(found.names) == ['a b/deep/er/2.jpg', 'a b/Ünï cødé.PNG', 'c/4.png', 'c/dead.png', 'new\\nline/5.png']
    assert found.class_names == ('a b', 'c', 'new\\nline') and classes(found) == [
        name.split('/')[0] for name in found.names
    ]
    (dead,) = found.reader.read(['c/dead.png'])
    assert 'c/dead.png cannot be read (No such file or directory)' in str(dead)


@pytest.mark.parametrize(
    ('names', 'inner', 'splits', 'class_names'),
    [
        (['a/1.png', 'b/2.png'], ['a', 'b'], [BY_HASH] * 2, ('a', 'b')),
        (['train/a/1.png', 'train/b/2.png', 'test/b/3.png'], ['b', 'a', 'b'], [TEST, TRAIN, TRAIN], ('a', 'b')),
        (['Train/1.png', 'VAL/2.png'], ['image'] * 2, [TRAIN, TEST], ('image',)),
        (['train/a/1.png', 'train/b/2.png'], ['a', 'b'], [BY_HASH] * 2, ('a', 'b')),
        (['train/1.png', 'train/2.png'], ['image'] * 2, [BY_HASH] * 2, ('image',)),
        (['train/1.png', 'test/2.png', 'val/3.png'], ['image'] * 2, [TEST, TRAIN], ('image',)),
        (['train/1.png', 'other/2.png'], ['other', 'train'], [BY_HASH] * 2, ('other', 'train')),
        (['test/1.png', 'val/2.png'], ['test', 'val'], [BY_HASH] * 2, ('test', 'val')),
        (['1.png', 'a/2.png'], ['image'] * 2, [BY_HASH] * 2, ('image',)),
    ],
)
def test_splits_and_classes_of_folders(tmp_path, names, inner, splits, class_names):
    write(tmp_path / 'set', names)
    found = listed(tmp_path / 'set')
    assert (classes(found), found.splits.tolist(), found.class_names) == (inner, splits, class_names)
    assert bool(found.notes) == (len(found.names) < len(names) or '1.png' in names)


@pytest.mark.parametrize('make', [zipped, tarred])
def test_an_archive_is_the_folder_it_holds(tmp_path, make):
    members = [(f'{kind}/{i}.png', encoded(image(i))) for i, kind in enumerate(['cat', 'dog', 'dog'])]
    suffix = {zipped: 'zip', tarred: 'tar'}[make]
    make(tmp_path / f'plain.{suffix}', members)
    make(
        tmp_path / f'in_one.{suffix}', [(f'top/{name}', data) for name, data in members] + [('__MACOSX/._x.png', b'x')]
    )
    for name, data in members:
        path = tmp_path / 'folder' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    sets = [
        load('folder', path=str(tmp_path / name), image_size=8, test_fraction=0)
        for name in ('folder', f'plain.{suffix}', f'in_one.{suffix}')
    ]
    assert len({dataset.origin.fingerprint for dataset in sets}) == 1
    for dataset in sets:
        assert dataset.class_names == ('cat', 'dog') and dataset.labels.tolist() == [0, 1, 1]
        np.testing.assert_array_equal(dataset.images[:], sets[0].images[:])
    assert sets[0].images[:].std() > 20


def an_empty_folder(root):
    root.mkdir()


def nothing_but_texts(root):
    write(root, ['a.txt'])


def outside_member(root):
    zipped(root, [('../x.png', b'')])


def cut_off(root):
    tarred(root, [(f'{i}.png', encoded(image(i))) for i in range(3)])
    with tarfile.open(root) as archive:
        end = archive.getmembers()[2].offset
    root.write_bytes(root.read_bytes()[:end])


def hard_linked(root):
    write(root.parent / 'from', ['a.png'])
    os.link(root.parent / 'from' / 'a.png', root.parent / 'from' / 'b.png')
    with tarfile.open(root, 'w') as archive:
        archive.add(root.parent / 'from' / 'a.png', 'a.png')
        archive.add(root.parent / 'from' / 'b.png', 'b.png')


def backslashes(root):
    zipped(root, [('a\\1.png', b'')])


def blank_class(root):
    write(root, [' /1.png', 'a/2.png'])


def same_printed_classes(root):
    write(root, ['a\nb/1.png', 'a\\nb/2.png'])


def unrelated_json(root):
    write(root, ['1.png'])
    (root / 'dataset.json').write_text('{"name": "mine", "version": 2}')


def absolute_member(root):
    zipped(root, [('/etc/x.png', b'')])


def duplicate_member(root):
    with pytest.warns(UserWarning, match='Duplicate'):
        zipped(root, [('x.png', b'1'), ('x.png', b'2')])


def encrypted(root):
    zipped(root, [('x.png', b'1')])
    data = bytearray(root.read_bytes())
    data[data.index(b'PK\x01\x02') + 8] |= 1
    root.write_bytes(data)


def empty_class(root):
    write(root, ['a/1.png'])
    (root / 'b').mkdir()


def image_without_class(root):
    write(root, ['a/1.png', '2.png'])


def not_an_archive(root):
    root.write_bytes(b'nothing')


@pytest.mark.parametrize(
    ('make', 'name', 'options', 'words'),
    [
        (None, 'missing', {}, 'path=.*missing does not exist: name a folder of images'),
        (an_empty_folder, 'x', {}, r'path=.*x holds no image \(\.png'),
        (nothing_but_texts, 'x', {}, 'holds no image .*, only 1 other files'),
        (cut_off, 'x.tar', {}, 'ends too early, or is damaged, after 2 files: copy or download it again'),
        (hard_linked, 'x.tar', {}, 'has links or sparse files, such as b.png, which are not read from an archive'),
        (backslashes, 'x.zip', {}, 'has backslashes in its names: unpack it'),
        (blank_class, 'x', {}, 'the subfolders: a class has a blank name'),
        (same_printed_classes, 'x', {}, 'the subfolders: two classes differ by characters that cannot be printed'),
        (unrelated_json, 'x', {}, 'found 2; dataset.json was found in the folder, and labels=none ignores it'),
        (outside_member, 'x.zip', {}, r"x.zip has the member '../x.png', whose name points outside the archive"),
        (absolute_member, 'x.zip', {}, 'whose name points outside the archive'),
        (duplicate_member, 'x.zip', {}, "has two files with the name 'x.png'"),
        (encrypted, 'x.zip', {}, 'is encrypted: unpack it'),
        (not_an_archive, 'x.zip', {}, 'is not a zip archive that can be read'),
        (not_an_archive, 'x.tar', {}, 'is not an uncompressed tar archive'),
        (not_an_archive, 'x.tar.gz', {}, 'is neither a folder, nor a .zip, nor a .tar: unpack it'),
        (empty_class, 'x', {'labels': 'subfolders'}, '1 subfolders of .*x hold no image, such as b: remove them'),
        (image_without_class, 'x', {'labels': 'subfolders'}, 'labels=subfolders, but 2.png lies in no subfolder'),
    ],
)
def test_sources_are_refused_with_one_sentence(tmp_path, make, name, options, words, cache):
    if make:
        make(tmp_path / name)
    with pytest.raises(UserError, match=words) as e:
        load('folder', path=str(tmp_path / name), **options)
    assert str(e.value).isprintable() and not left_over(cache)


def test_an_empty_subfolder_is_not_a_class_and_is_noted(tmp_path):
    empty_class(tmp_path / 'x')
    found = listed(tmp_path / 'x')
    assert found.class_names == ('a',) and found.notes == (
        f'1 subfolders of {tmp_path / "x"} hold no image, such as b: they are not classes',
    )


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    write(tmp_path / 'x', ['a/1.png'])
    (tmp_path / 'x' / 'a').chmod(0)
    with pytest.raises(UserError, match='cannot be read .Permission denied.'):
        listed(tmp_path / 'x')


def edm(pairs):
    return json.dumps({'labels': pairs})


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        (json.dumps({'a/1.png': 'dog', 'a/2.png': 'cat', 'b/3.png': 'dog'}), ['dog', 'cat', 'dog']),
        (json.dumps({'a/1.png': 1, 'a/2.png': 0, 'b/3.png': 1}), ['1', '0', '1']),
        (edm([['a/1.png', 0], ['b/3.png', 1], ['a/2.png', 1]]), ['0', '1', '1']),
        (edm(None), ['image'] * 3),
    ],
)
def test_labels_in_a_file(tmp_path, content, expected):
    write(tmp_path / 'set', ['a/1.png', 'a/2.png', 'b/3.png'])
    (tmp_path / 'mine.json').write_text(content)
    assert classes(listed(tmp_path / 'set', labels=str(tmp_path / 'mine.json'))) == expected
    assert classes(listed(tmp_path / 'set')) == ['a', 'a', 'b']
    (tmp_path / 'set' / 'dataset.json').write_text(content)  # read by default
    assert classes(listed(tmp_path / 'set')) == expected
    assert classes(listed(tmp_path / 'set', labels='none')) == ['image'] * 3
    assert classes(listed(tmp_path / 'set', labels='subfolders')) == ['a', 'a', 'b']


def test_labels_within_a_zip(tmp_path):
    members = [(f'00000/{i}.png', encoded(image(i))) for i in range(3)]
    zipped(
        tmp_path / 'x.zip', [*members, ('dataset.json', edm([[name, 2 - i] for i, (name, _) in enumerate(members)]))]
    )
    assert classes(listed(tmp_path / 'x.zip')) == ['2', '1', '0']
    assert classes(listed(tmp_path / 'x.zip', labels='dataset.json')) == ['2', '1', '0']


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ('{', r'is not a JSON object of names and classes'),
        ('[1]', 'is not a JSON object of names and classes'),
        ('{"labels": [1]}', 'is not a JSON object of names and classes'),
        ('{"labels": [["1.png", 0], ["1.png", 1]]}', 'names an image twice'),
        ('{"1.png": "a", "2.png": 1}', 'all classes must be texts, or all whole numbers from 0; found 1'),
        (
            '{"1.png": "a", "1.png": "b", "2.png": "a"}',
            'is not a JSON object of names and classes, .* .a name occurs twice.',
        ),
        ('{"1.png": "", "2.png": "a"}', 'a class has a blank name'),
        ('{"1.png": -1, "2.png": 1}', 'all whole numbers from 0; found -1'),
        ('{"1.png": 0.5, "2.png": 1}', 'found 0.5'),
        ('{"1.png": true, "2.png": true}', 'found True'),
        ('{"1.png": 0, "2.png": 2}', 'no image has the class 1: number the classes from 0 without gaps'),
        ('{"1.png": 0, "2.png": 1000000000000}', 'no image has the class 1: number the classes'),
        ('{"1.png": 0}', r'has no class for 1 images, such as 2.png: add them'),
        ('{"1.png": 0, "2.png": 0, "3.png": 0, "4.png": 0}', 'names 2 images that do not exist, such as 3.png'),
        ('{}', 'all classes must be texts'),
        ('[' * 100_000, 'is not a JSON object of names and classes'),
    ],
)
def test_a_wrong_file_of_labels_is_one_sentence(tmp_path, content, words, cache):
    write(tmp_path / 'set', ['1.png', '2.png'])
    (tmp_path / 'mine.json').write_text(content)
    with pytest.raises(UserError, match=words) as e:
        load('folder', path=str(tmp_path / 'set'), labels=str(tmp_path / 'mine.json'))
    assert str(e.value).isprintable() and 'mine.json' in str(e.value) and not left_over(cache)


def test_a_damaged_member_of_a_zip_is_one_refused_file(tmp_path):
    members = [(f'{i}.png', encoded(image(i))) for i in range(3)]
    zipped(tmp_path / 'x.zip', members)
    data = bytearray((tmp_path / 'x.zip').read_bytes())
    data[data.index(members[1][1][-30:])] ^= 255  # zipfile compares a checksum
    (tmp_path / 'x.zip').write_bytes(data)
    with zipfile.ZipFile(tmp_path / 'x.zip') as archive:
        assert archive.testzip() == '1.png'
    found = load('folder', path=str(tmp_path / 'x.zip'), image_size=12, test_fraction=0, max_refused=0.5)
    ((name, why),) = found.origin.refused
    assert name == '1.png' and '1.png cannot be read (Bad CRC-32' in why
    np.testing.assert_array_equal(found.images[:], np.stack([np.asarray(image(i)) for i in (0, 2)]))


def test_an_archive_that_was_replaced_is_opened_again(tmp_path):
    def pixels():
        return load('folder', path=str(tmp_path / 'x.zip'), image_size=12, test_fraction=0).images[:]

    for seeds in ((1, 2), (3, 4)):
        zipped(tmp_path / 'x.zip', [(f'{i}.png', encoded(image(seed))) for i, seed in enumerate(seeds)])
        os.utime(tmp_path / 'x.zip', (seeds[0], seeds[0]))
        np.testing.assert_array_equal(pixels(), np.stack([np.asarray(image(seed)) for seed in seeds]))


def test_a_member_that_claims_to_be_huge_is_not_unpacked(tmp_path, monkeypatch):
    from jaxgen.data.prepared import folder

    zipped(tmp_path / 'x.zip', [('big.png', b'0' * 5000), ('1.png', encoded(image(1)))])
    monkeypatch.setattr(folder, 'MAX_BYTES', 2000)
    found = listed(tmp_path / 'x.zip')
    data = dict(zip(found.names, found.reader.read(found.keys), strict=True))
    assert 'big.png has more than' in str(data['big.png'])
    assert data['1.png'] == encoded(image(1))
