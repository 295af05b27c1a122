"""Writing complete files under unpredictable names, and reading folders and JSON files that others have written."""

import json
import os
import signal
import subprocess
import sys

import pytest
from etils import epath

from jaxgen.errors import UserError
from jaxgen.io import files


def test_temporary_files_have_unpredictable_names(tmp_path):
    path = tmp_path / 'x.npz'
    names = {files.temporary_name(path).name for _ in range(100)}
    assert len(names) == 100
    assert all(name.startswith('.') and name.endswith('.x.npz') and len(name) == len('..x.npz') + 16 for name in names)


def test_a_temporary_file_is_new_and_has_the_usual_permissions(tmp_path, monkeypatch):
    monkeypatch.setattr(files.secrets, 'token_hex', lambda _: 'known')
    (tmp_path / 'target').write_bytes(b'not ours')
    (tmp_path / '.known.x').symlink_to(tmp_path / 'target')  # as an attacker would who could predict the name
    with pytest.raises(FileExistsError), files.replacing(tmp_path / 'x') as temporary:
        temporary.write_bytes(b'new')
    assert (tmp_path / 'target').read_bytes() == b'not ours' and not (tmp_path / 'x').exists()
    (tmp_path / '.known.x').unlink()
    mask = os.umask(0o027)
    try:
        files.write_atomically(tmp_path / 'x', b'new')
    finally:
        os.umask(mask)
    assert (tmp_path / 'x').stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ['target', 'x']


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / 'x'
    files.write_atomically(path, b'old')
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_bytes(b'ne')
        raise RuntimeError
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_leaves_is_never_read(tmp_path):
    program = (
        'import os, signal, sys\nfrom jaxgen.io.files import replacing\n'
        'with replacing(sys.argv[1]) as temporary:\n  temporary.write_bytes(b"half")\n  os.kill(os.getpid(), signal.SIGKILL)'
    )
    path = tmp_path / '1.json'
    done = subprocess.run([sys.executable, '-c', program, str(path)])
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.suffix == '.json' and files.visible(epath.Path(tmp_path), '*.json') == []
    files.write_atomically(path, b'{}')
    assert files.visible(tmp_path, '*.json') == [path]
    assert files.visible(tmp_path / 'absent', '*') == []


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'', 'is not the description'),
        (b'{"a": ', 'is not the description'),
        (b'{"a": "\xff"}', 'is not the description'),
        (json.dumps({'a': 1}).encode('utf-16'), 'is not the description'),
        (b'{"a": NaN}', 'NaN is not valid JSON'),
        (b'{"a": -Infinity}', '-Infinity is not valid JSON'),
        (b'{"a": ' + b'9' * 10_000 + b'}', 'is not the description'),
        (b'[' * 100_000, 'is not the description'),
        (b'{"a":' * 100_000, 'is not the description'),
        (b'[]', 'it is not a JSON object'),
        (b'null', 'it is not a JSON object'),
        (b'"x"', 'it is not a JSON object'),
        (b' ' * (files.MAX_JSON + 1), 'it has more than'),
    ],
    ids=range(13),
)
def test_files_that_are_not_a_json_object_are_refused(tmp_path, content, words):
    path = tmp_path / 'config.json'
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'{path} is not the description .*: get it again') as e:
        files.read_object(path, 'the description', 'get it again', is_finite=True)
    assert words in str(e.value) and '\n' not in str(e.value)


def test_a_json_object_is_read_completely(tmp_path):
    (tmp_path / 'x.json').write_text('{"a": [1, "ä"]}', encoding='utf-8')
    assert files.read_object(tmp_path / 'x.json', 'it', 'get it') == {'a': [1, 'ä']}
    with pytest.raises(UserError, match='absent.json cannot be read .No such file or directory.: get it'):
        files.read_object(tmp_path / 'absent.json', 'it', 'get it')
