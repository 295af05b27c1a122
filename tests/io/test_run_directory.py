"""Reading a run directory."""

import json
from contextlib import nullcontext

import pytest
from etils import epath

from jaxgen.errors import UserError
from jaxgen.io import run_directory
from jaxgen.io.files import replacing_set, require_writable


def test_the_config_of_a_run_or_none(tmp_path):
    workdir = epath.Path(tmp_path)
    assert run_directory.read_config(workdir) is None
    (workdir / 'config.json').write_text(json.dumps({'seed': 3}))
    assert run_directory.read_config(workdir) == {'seed': 3}


def test_a_row_that_was_cut_short_is_left_out(tmp_path):
    path = epath.Path(tmp_path) / run_directory.METRICS
    assert run_directory.read_metrics(path) == []
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert run_directory.read_metrics(path) == [{'step': 1, 'loss': 2.0}]


@pytest.mark.parametrize('place', ['file', 'file/run', 'file/deep/run', 'x' * 300])
def test_a_place_that_cannot_be_written_to(tmp_path, place):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(UserError, match='^--workdir=.* (cannot be made|cannot be used)'):
        require_writable(tmp_path / place, '--workdir')
    require_writable(tmp_path / 'new' / 'run', '--workdir')
    assert [p.name for p in tmp_path.iterdir()] == ['file']


def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('os.access', lambda path, mode: False)
    with pytest.raises(UserError, match='cannot be written to: name another folder'):
        require_writable(tmp_path / 'run', '--workdir')


@pytest.mark.parametrize(('last', 'is_refused'), [(30, False), (31, True)])
def test_a_log_without_its_checkpoints_is_kept(tmp_path, last, is_refused):
    workdir = epath.Path(tmp_path)
    run_directory.require_no_lost_checkpoints(workdir)
    (workdir / 'config.json').write_text(json.dumps({'checkpoint': {'every': 10}, 'train': None}))
    (workdir / 'metrics.jsonl').write_text(json.dumps({'step': last}) + '\n')
    with pytest.raises(UserError, match='a log up to step 31.*copy checkpoints/') if is_refused else nullcontext():
        run_directory.require_no_lost_checkpoints(workdir)
    (workdir / 'checkpoints' / '30').mkdir(parents=True)
    run_directory.require_no_lost_checkpoints(workdir)


def test_sets_of_files_replace_each_other(tmp_path):
    folder = tmp_path / 'set'
    for names in (('00.npz', '01.npz'), ('00.npz',)):
        with replacing_set(folder, r'[0-9]{2,}\.npz') as write:
            for name in names:
                write(name, str(names).encode())
        (folder / 'x.npz').write_text('mine')
        assert sorted(p.name for p in folder.iterdir()) == [*names, 'x.npz']
    assert (folder / '00.npz').read_text() == "('00.npz',)"
