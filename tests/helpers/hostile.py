"""Contents of files, and names, that nothing but damage or bad intent would write."""

import hashlib
import json
import pathlib

NAMES = (
    'a/../../../tmp/x',
    '/etc/passwd',
    '..',
    '.',
    '',
    '.hidden',
    'a/b',
    'a\\b',
    'a-b',
    'a b',
    'a\nb',
    'a\0b',
    'x' * 300,
    'x' * 301,
    'é' * 200,
    '\udc80',
    '$\\frac$',
    '<script>alert(1)</script>',
    '~',
    '-rf',
    'CON:',
)
# No JSON object, whatever the file is
NO_OBJECTS = {
    'empty': b'',
    'half': b'{"seed": 3, "data": {"batch_si',
    'list': b'[]',
    'number': b'3',
    'null': b'null',
    'text': b'"text"',
    'not_utf8': b'\xff\xfe{\x00}\x00',
    'zeros': bytes(64),
    'deep': b'[' * 100_000,
    'deep_object': b'{"a":' * 100_000,
    'surrogate': b'{"family": "\\ud800"}',
    'long_number': b'{"seed": ' + b'9' * 5000 + b'}',
}
VALUES = (None, 'text', '', [], [None], {}, {'a': {}}, -1, 1.5, True, 1e999, float('nan'), 10**400)


def digests(folder):
    """Return the hash of each file below a folder, by its path."""
    files = (path for path in sorted(pathlib.Path(folder).rglob('*')) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed(tree, name, value):
    """Return a JSON text of nested objects with another value under a dotted name."""
    tree = json.loads(json.dumps(tree))
    *parents, last = name.split('.')
    branch = tree
    for parent in parents:
        branch = branch[parent]
    branch[last] = value
    return json.dumps(tree).encode()
