"""The files of a folder: sorted by path, without hidden files, with linked folders, and each folder only once."""

import os

import pytest

from jaxgen.errors import UserError
from jaxgen.io.folders import files_below, unread


def found(folder):
    return [file.relative_to(folder).as_posix() for file in files_below(folder)]


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_hidden_files_and_folders_are_left_out(tmp_path):
    folder = tmp_path / '.cache'  # the folder itself may be hidden
    fill(folder, 'b/2.png', 'b/1.png', 'a.png', 'b.png', '._a.png', '.ipynb_checkpoints/a.png', 'b/.git/x/y.png')
    assert found(folder) == ['a.png', 'b/1.png', 'b/2.png', 'b.png']


def test_linked_folders_are_followed_and_read_once(tmp_path):
    fill(tmp_path, 'set/z/1.png', 'set/2.png', 'elsewhere/3.png', 'elsewhere/deep/4.png')
    (tmp_path / 'set' / 'linked').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'set' / 'again').symlink_to(tmp_path / 'elsewhere' / 'deep')
    (tmp_path / 'set' / 'a').symlink_to(tmp_path / 'set' / 'z')
    (tmp_path / 'elsewhere' / 'deep' / 'up').symlink_to(tmp_path / 'set')
    assert found(tmp_path / 'set') == ['2.png', 'again/4.png', 'linked/3.png', 'z/1.png']


def test_files_that_are_not_read_are_counted(tmp_path):
    fill(tmp_path, 'x/a.txt', 'b.csv')
    files = files_below(tmp_path)
    assert unread([], tmp_path, 'images') == ()
    assert unread(files[:1], tmp_path, 'images') == (
        f'1 file of {tmp_path} is not read, such as b.csv: only images are',
    )
    assert unread(files[::-1], tmp_path, 'images') == (
        f'2 files of {tmp_path} are not read, such as x/a.txt: only images are',
    )


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def walk(folder, onerror):
        onerror(PermissionError(13, 'Permission denied', str(folder / 'closed')))
        return iter(())

    monkeypatch.setattr(os, 'walk', walk)
    with pytest.raises(UserError, match='closed cannot be read .Permission denied'):
        files_below(tmp_path)
