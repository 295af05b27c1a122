"""Weight files that are made to break their reader: it returns tensors or raises one sentence, in little memory and time.

JAXGEN_LONG_TESTS=1 python -m pytest -q -s tests/io/test_hostile_weights.py reads 20,000 damaged files and prints the outcomes.
"""

import collections
import io
import json
import pathlib
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from jaxgen.errors import UserError
from jaxgen.io import pickles, pth, tensors
from tests.helpers import hostile_weights
from tests.helpers.hostile_weights import members, with_pickle, zipped
from tests.tiny import LONG

ROOT = pathlib.Path(__file__).parents[2]
FOUR = np.arange(4, dtype='<f4').tobytes()
PID = ('storage', torch.FloatStorage, '0', 'cpu', 4)


class Storage:
    """A reference to numbers outside a pickle."""

    def __init__(self, *pid):
        self.pid = pid


class Call:
    """An object that a pickle makes by calling a function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None


def pickled(tree):
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(tree)
    return buffer.getvalue()


def tensor(storage=None, offset=0, shape=(4,), strides=(1,)):
    storage = Storage(*PID) if storage is None else storage
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, strides, False, collections.OrderedDict())


def archive(tree, compression=zipfile.ZIP_STORED, **changes):
    index = tree if isinstance(tree, bytes) else pickled(tree)
    return zipped({'x/data.pkl': index, 'x/byteorder': b'little', 'x/data/0': FOUR, **changes}, compression)


def stream(tree, keys=('0',), numbers=((4, FOUR),), little=True):
    header = pickled(pth.LEGACY_MAGIC) + pickled(pth.LEGACY_PROTOCOL) + pickled({'little_endian': little})
    data = b''.join(struct.pack('<q', size) + content for size, content in numbers)
    return header + pickled(tree) + pickled(list(keys)) + data


def read(tmp_path, data, name='x.pth'):
    (tmp_path / name).write_bytes(data)
    return tensors.read(tmp_path / name)


def refused(tmp_path, data, words, name='x.pth'):
    with pytest.raises(UserError, match=words) as e:
        read(tmp_path, data, name)
    assert '\n' not in str(e.value) and not isinstance(e.value.__cause__, MemoryError | RecursionError)


def test_the_files_made_here_are_read_if_they_are_whole(tmp_path):
    for data in (archive({'w': tensor()}), stream({'w': tensor()}), archive({'w': tensor()}, zipfile.ZIP_DEFLATED)):
        np.testing.assert_array_equal(read(tmp_path, data)['w'], [0, 1, 2, 3])


def test_a_dictionary_as_python_2_wrote_it(tmp_path):
    old = Call(collections.OrderedDict, [['w', tensor()]])
    np.testing.assert_array_equal(read(tmp_path, archive(old))['w'], [0, 1, 2, 3])


@pytest.mark.parametrize('make', [archive, stream])
@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'shape': (2**20, 2**20), 'strides': (0, 0)}, 'more numbers than its storage'),
        ({'shape': (5,), 'strides': (0,)}, 'more numbers than its storage'),
        ({'shape': (2,), 'strides': (4,)}, 'reaches beyond its numbers'),
        ({'shape': (2**62, 2**62)}, 'described in an unknown way'),
        ({'shape': (2**62, 2**62), 'strides': (1, 1)}, 'reaches beyond its numbers'),
        ({'shape': (0, 2**62, 2**62), 'strides': (0, 0, 0)}, 'not a complete file'),
        ({'offset': 1}, 'reaches beyond its numbers'),
        ({'offset': 2**100}, 'reaches beyond its numbers'),
        ({'offset': -1}, 'described in an unknown way'),
        ({'offset': 'x'}, 'described in an unknown way'),
        ({'shape': (-4,)}, 'not a tuple of whole numbers'),
        ({'shape': (4.0,)}, 'not a tuple of whole numbers'),
        ({'shape': (True,)}, 'not a tuple of whole numbers'),
        ({'shape': [4]}, 'not a tuple of whole numbers'),
        ({'shape': None}, 'not a tuple of whole numbers'),
        ({'strides': (-1,)}, 'not a tuple of whole numbers'),
        ({'shape': (1,) * 100_000, 'strides': (1,) * 100_000}, 'not a tuple of whole numbers'),
        ({'storage': 5}, 'described in an unknown way'),
        ({'storage': torch.FloatStorage}, 'described in an unknown way'),
        ({'storage': Storage(*PID[:4], 2**40)}, 'declares .* bytes of numbers'),
        ({'storage': Storage(*PID[:4], 5)}, 'and (20|5) are declared'),
        ({'storage': Storage(*PID[:4], -1)}, 'storage is described in an unknown way'),
        ({'storage': Storage(*PID[:4], True)}, 'storage is described in an unknown way'),
        ({'storage': Storage(*PID[:4], 4.0)}, 'storage is described in an unknown way'),
        ({'storage': Storage(*PID[:2], 0, *PID[3:])}, 'storage is described in an unknown way'),
        ({'storage': Storage('storage', '<f4', *PID[2:])}, 'storage is described in an unknown way'),
        ({'storage': Storage('module', *PID[1:])}, 'storage is described in an unknown way'),
        ({'storage': Storage(*PID[:3])}, 'storage is described in an unknown way'),
        ({'storage': Storage(*PID, ('0', 0, 4))}, 'holds a storage that is a view of another'),
        ({'storage': Storage(*PID[:2], '../../etc', *PID[3:])}, 'is missing|are not those'),
    ],
)
def test_impossible_tensors_are_refused(tmp_path, make, fields, words):
    refused(tmp_path, make({'w': tensor(**fields)}), words)


@pytest.mark.parametrize(
    ('tree', 'words'),
    [
        ({'w': Call(torch._utils._rebuild_tensor_v2, Storage(*PID))}, 'missing 3 required'),
        ({'a': tensor(), 'b': tensor(Storage(*PID[:4], 8))}, 'described in two ways'),
        ({'a': tensor(), 'b': tensor(Storage(PID[0], torch.IntStorage, *PID[2:]))}, 'described in two ways'),
        ({3: tensor()}, 'int instead of str'),
        ({('w',): tensor()}, 'tuple instead of str'),
        ({'w': {'nested': tensor()}}, 'holds w, which is not a tensor'),
        (b'\x80\x02}(X\x01\x00\x00\x00aNX\x01\x00\x00\x00aNu.', 'has a name twice'),
        (b'\x80\x02' + b'(' * 50_000 + b't' * 50_000 + b'.', 'something other than a dictionary'),
        (b'\x80\x02)' + b'\x85' * 50_000 + b'.', 'something other than a dictionary'),
        (b'\x80\x02]q\x00h\x00a.', 'something other than a dictionary'),  # contains itself
        (b'\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.', 'holds a, which is not a tensor'),  # contains itself
        (
            b'\x80\x02)q\x00' + b'h\x00h\x00\x86q\x00' * 60 + b'}h\x00Ns.',
            'tuple instead of str',
        ),  # a hash of 2 ** 60 steps
        (b'\x80\x05\x8e' + struct.pack('<Q', 2**40) + b'x.', 'pickle is too long'),
        (b'\x80\x02\x8b' + struct.pack('<i', 2**31 - 1) + b'x.', 'pickle is too long'),
        (b'\x80\x02\x8b' + struct.pack('<i', 1000) + b'\x7f' * 1000 + b'.', 'a number in its pickle is too long'),
        (b'\x80\x02X' + struct.pack('<I', 2**32 - 1) + b'x.', 'pickle is too long'),
        (b'\x80\x02Nr\xff\xff\xff\xff.', 'something other than a dictionary'),
        (b'\x80\x02I' + b'9' * 10_000 + b'\n.', 'not a complete file'),
        (b'\x80\x02X\x02\x00\x00\x00\xff\xff.', 'not a complete file'),
        (b'\x80\x02h\x05.', 'not a complete file'),
        (b'\x80\x02t.', 'not a complete file'),
        (b'\x80\x02N)R.', 'calls something that is not a function'),
        (b'\x80\x02ccollections\nOrderedDict\nNR.', 'NoneType instead of tuple'),
        (b'\x80\x02ccollections\nOrderedDict\n(K\x05tR.', 'int instead of list'),
        (b'\x80\x02X\x01\x00\x00\x00aN\x93.', 'NoneType instead of str'),
        (b'\x80\x02cos\nsystem\n.', r'holds os.system, but only a dictionary of tensors can be read'),
        (b'\x80\x02c\x1b[2Jos\nsystem\n.', r'holds \\x1b\[2Jos.system, but'),
        (b'\x80\x02ios\nsystem\n.', 'the instruction INST'),
        (b'', 'not a complete file'),
    ],
    ids=range(29),
)
def test_pickles_that_are_made_to_harm(tmp_path, tree, words):
    refused(tmp_path, archive(tree), words)


def test_the_work_of_a_pickle_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, 'MAX_WORK', 20_000)
    refused(tmp_path, archive(b'\x80\x02' + b'N' * 20_000 + b'.'), 'its pickle is too long')
    pairs = b']q\x00(' + b''.join(b'](X\x03\x00\x00\x00%03dNe' % i for i in range(1000)) + b'e'
    calls = b'ccollections\nOrderedDict\n(h\x00tR' * 20  # calls of a function with those 1,000 pairs
    refused(tmp_path, archive(b'\x80\x02' + pairs + calls + b'.'), 'its pickle is too long')


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'x/byteorder': b'big'}, 'byteorder has 3 bytes'),
        ({'x/byteorder': b'BIGGER'}, 'numbers are big-endian'),
        ({'y/data.pkl': b''}, 'not the only archive'),
        ({'x/data/0': FOUR + b'0000'}, 'data/0 has 20 bytes, and 16 are declared'),
        ({'x/data/0': b''}, 'data/0 has 0 bytes, and 16 are declared'),
    ],
)
def test_archives_with_other_members(tmp_path, changes, words):
    refused(tmp_path, archive({'w': tensor()}, **changes), words)


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_archives_with_members_that_cannot_be_read(tmp_path):
    whole = archive({'w': tensor()})
    pairs = list(members(whole).items())
    refused(tmp_path, zipped(pairs[:2]), 'data/0 is missing')
    refused(tmp_path, zipped([*pairs, pairs[-1]]), 'not the only archive')
    refused(tmp_path, archive({'w': tensor()}, zipfile.ZIP_LZMA), 'compressed in another way')
    encrypted = whole.replace(b'PK\x01\x02\x14\x03\x14\x00\x00', b'PK\x01\x02\x14\x03\x14\x00\x01')
    refused(tmp_path, encrypted, 'encrypted')
    at = whole.index(FOUR)
    refused(tmp_path, whole[:at] + b'\xff' + whole[at + 1 :], 'not a complete file')
    deflated = archive({'w': tensor()}, zipfile.ZIP_DEFLATED)
    at = deflated.index(b'x/data/0') + 8
    refused(tmp_path, deflated[:at] + b'\xff\xff' + deflated[at + 2 :], 'not a complete file')


def test_files_that_grow_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(pth, 'ALWAYS', 0)
    size = 2**20
    storage = Storage(*PID[:4], size // 4)
    bomb = archive({'w': tensor(storage)}, zipfile.ZIP_DEFLATED, **{'x/data/0': bytes(size)})
    refused(tmp_path, bomb, f'declares {size} bytes of numbers')
    views = {str(i): tensor(shape=(1, 2, 1), strides=(i, 1, i)) for i in range(9)}
    refused(tmp_path, archive(views), 'far more numbers than their storages')
    monkeypatch.setattr(pickles, 'MAX_BYTES', 1000)
    refused(tmp_path, archive(bytes(1001)), 'its pickle is too long')
    monkeypatch.setattr(pth, 'MAX_DIRECTORY', 1000)
    refused(tmp_path, archive({}, **{f'x/{i}': b'' for i in range(100)}), 'headers is too long')
    monkeypatch.setattr(pth, 'MAX_FILE', 1000)
    refused(tmp_path, bytes(1001), 'larger than 1000 bytes')


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'numbers': ((2**40, FOUR),)}, 'a storage has 1099511627776 numbers, and 4 are declared'),
        ({'numbers': ((-4, FOUR),)}, 'a storage has -4 numbers'),
        ({'numbers': ((4, FOUR[:-1]),)}, 'it is cut short'),
        ({'numbers': ()}, 'not a complete file'),
        ({'keys': ()}, 'storages are not those of its tensors'),
        ({'keys': ('0', '0')}, 'storages are not those of its tensors'),
        ({'keys': ('0', '1')}, 'storages are not those of its tensors'),
        ({'keys': (0,)}, 'storages are not those of its tensors'),
        ({'keys': (Storage(*PID),)}, 'holds torch.FloatStorage'),
        ({'little': False}, 'numbers are big-endian'),
        ({'little': 1}, 'numbers are big-endian'),
    ],
)
def test_streams_whose_numbers_are_not_those_declared(tmp_path, fields, words):
    refused(tmp_path, stream({'w': tensor()}, **fields), words)


def test_numbers_outside_the_header_of_a_stream(tmp_path):
    refused(tmp_path, b'\x80\x02NQ.' + stream({'w': tensor()}), 'a storage where none belongs')


def test_a_declared_length_takes_no_memory(tmp_path):
    """The file states this count twice, so only its own size contradicts it."""
    size = pth.ALWAYS // 4
    refused(tmp_path, stream({'w': tensor(Storage(*PID[:4], size))}, numbers=((size, FOUR),)), 'it is cut short')


def header_of(**changes):
    """Return a safetensors file with three numbers; the values of ``changes`` are JSON texts."""
    whole = save({'a': np.zeros(3, 'f')})
    length = int.from_bytes(whole[:8], 'little')
    fields = {name: json.dumps(value) for name, value in json.loads(whole[8 : 8 + length]).items()} | changes
    header = ('{' + ','.join(f'"{name}":{value}' for name, value in fields.items()) + '}').encode()
    return len(header).to_bytes(8, 'little') + header + whole[8 + length :]


ENTRY = '{"dtype": "F32", "shape": %s, "data_offsets": %s}'


@pytest.mark.parametrize(
    'data',
    [
        header_of(__metadata__='{"step": NaN}'),
        header_of(__metadata__='{"step": 5}'),
        header_of(a=ENTRY % ('[3]', '[0, NaN]')),
        header_of(a=ENTRY % ('[4]', '[0, 12]')),
        header_of(a=ENTRY % ('[-3]', '[0, 12]')),
        header_of(a=ENTRY % ('[4611686018427387904, 4, 3]', '[0, 12]')),
        header_of(b=ENTRY % ('[3]', '[0, 12]')),
        header_of(b=ENTRY % ('[2]', '[8, 16]')),
        header_of(b=ENTRY % ('[1]', '[1099511627776, 1099511627780]')),
        header_of(b='[' * 10_000),
        header_of(**{'a\u001b[2J': '5'}),
        (2**63).to_bytes(8, 'little') + b'{}',
        (2**26).to_bytes(8, 'little') + b'{}',
        b'',
    ],
    ids=range(14),
)
def test_safetensors_with_another_header(tmp_path, data):
    refused(tmp_path, data, 'x.safetensors is not a complete file of tensors', 'x.safetensors')


def test_duplicate_names_in_a_safetensors_file(tmp_path):
    """The second entry counts, so the bytes of the first entry belong to no tensor."""
    twice = header_of().replace(b'{"a"', b'{"a":' + (ENTRY % ('[0]', '[0, 0]')).encode() + b',"a"', 1)
    twice = (len(twice) - 8 - 12).to_bytes(8, 'little') + twice[8:]
    try:
        found = read(tmp_path, twice, 'x.safetensors')
    except UserError as e:
        assert 'is not a complete file of tensors' in str(e)
    else:
        assert list(found) == ['a'] and found['a'].shape == (3,)


@pytest.mark.filterwarnings('ignore:invalid escape sequence')
def test_damaged_files_are_tensors_or_one_sentence(tmp_path):
    found = hostile_weights.read_all(600, 1, tmp_path)
    total = sum(found.values(), collections.Counter())
    assert total['read'] + total['refused'] == 600 and total['read'] > 50 and total['refused'] > 200


@LONG
def test_twenty_thousand_damaged_files_in_little_memory():
    command = [sys.executable, '-m', 'tests.helpers.hostile_weights', '--count=20000']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stderr


def test_a_pickle_is_changed_below_its_checksum():
    whole = archive({'w': tensor()})
    assert members(with_pickle(whole, lambda data: data + b'x'))['x/data.pkl'].endswith(b'.x')
