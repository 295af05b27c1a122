"""The lock of a run directory, also where the directory is removed while it is held."""

import shutil

import pytest
from etils import epath

from jaxgen.errors import UserError
from jaxgen.io.lock import Lock, exclusive


def test_a_removed_run_directory_is_made_and_locked_again(tmp_path):
    workdir = epath.Path(tmp_path) / 'runs' / 'one'
    with exclusive(workdir) as lock:
        assert not lock.renew()
        shutil.rmtree(workdir)
        assert lock.renew() and not lock.renew()
        with pytest.raises(UserError, match='another run is training'):
            Lock(workdir)
    Lock(workdir).close()


def test_a_run_ends_if_another_has_replaced_it(tmp_path):
    workdir = epath.Path(tmp_path) / 'run'
    with exclusive(workdir) as first:
        shutil.rmtree(workdir)
        with exclusive(workdir), pytest.raises(UserError, match='was removed, and another run has begun there'):
            first.renew()


def test_a_file_in_the_place_of_a_run_directory(tmp_path):
    (tmp_path / 'file').write_text('mine')
    for workdir in (tmp_path / 'file', tmp_path / 'file' / 'run'):
        with pytest.raises(UserError, match='cannot be made'), exclusive(epath.Path(workdir)):
            pass
    assert (tmp_path / 'file').read_text() == 'mine'
