"""Weight files with random damage, and what reading them comes to.

``python -m tests.helpers.hostile_weights --count=20000`` reads as many damaged files as that, in a process that may take one
gibibyte more than it has after its imports, and prints how many were read as tensors and how many were refused.
"""

import argparse
import collections
import io
import pathlib
import pickletools
import random
import re
import resource
import signal
import tempfile
import zipfile

import numpy as np
import torch
from safetensors.numpy import save

from jaxgen.errors import UserError
from jaxgen.io import tensors

EXTREMES = [0, 1, -1, 2**7, 2**15 - 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1]
PAYLOADS = [
    b'\x8e' + (2**40).to_bytes(8, 'little'),  # BINBYTES8 of a tebibyte
    b'\x8b\xff\xff\xff\x7f',  # LONG4 of two gibibytes
    b'X\xff\xff\xff\x7f',  # BINUNICODE of two gibibytes
    b'r\xff\xff\xff\xff',  # LONG_BINPUT at the end of a memo of 32 gibibytes
    b'\x8a\x08' + b'\xff' * 7 + b'\x7f',  # LONG1, the largest int64
    *(b'J\xff\xff\xff\xff', b'K\x00', b'G\x7f\xf0\x00\x00\x00\x00\x00\x00', b'\x88', b'N', b'cos\nsystem\n'),
    *(b'(', b't', b'l', b'd', b'0', b'1', b'2', b'a', b'e', b's', b'u', b'}', b']', b')', b'\x85', b'\x86', b'\x87'),
    *(
        b'R',
        b'b',
        b'Q',
        b'\x81',
        b'\x92',
        b'\x93',
        b'\x94',
        b'h\x00',
        b'h\x05',
        b'.',
        b'X\x01\x00\x00\x000',
        b'(e2' * 40,
    ),
]


def valid_files() -> dict[str, bytes]:
    """Return small whole files of every form, by a name with their ending."""
    base = torch.arange(24.0).reshape(4, 6)
    state = collections.OrderedDict(plain=base, part=base[1:3, ::2], counter=torch.tensor(7), half=torch.ones(3).half())
    state['parameter'] = torch.nn.Parameter(torch.ones(2))
    files = {}
    for name, options in {
        'zip': {},
        'zip of protocol 4': {'pickle_protocol': 4},
        'stream': {'_use_new_zipfile_serialization': False},
    }.items():
        buffer = io.BytesIO()
        torch.save(state, buffer, **options)
        files[f'{name}.pth'] = buffer.getvalue()
    files['deflated zip.pth'] = zipped(members(files['zip.pth']), zipfile.ZIP_DEFLATED)
    arrays = {
        'a': np.arange(6, dtype=np.float32).reshape(2, 3),
        'b': np.ones(3, np.float16),
        'c': np.zeros((0, 2), 'f'),
    }
    files['tensors.safetensors'] = save(arrays, {'format': 'pt'})
    return files


def members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(contents, compression=zipfile.ZIP_STORED) -> bytes:
    """Return an archive of members, by name or as pairs if there are names twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', compression) as file:
        for name, data in contents.items() if isinstance(contents, dict) else contents:
            file.writestr(name, data)
    return buffer.getvalue()


def with_pickle(archive: bytes, change) -> bytes:
    """Return an archive of PyTorch with another ``data.pkl``, whose checksum is right."""
    contents = members(archive)
    (index,) = (name for name in contents if name.endswith('data.pkl'))
    return zipped({**contents, index: change(contents[index])})


def bits(rng, whole, _):
    data = bytearray(whole)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def cut(rng, whole, _):
    return whole[: rng.randrange(len(whole))]


def splice(rng, whole, other):
    start, at = rng.randrange(len(other)), rng.randrange(len(whole))
    piece = other[start : start + rng.randint(1, 200)]
    return whole[:at] + piece + whole[at + rng.choice([0, len(piece)]) :]


def numbers(rng, whole, _, places=None):
    size = rng.choice([1, 2, 4, 8])
    at = rng.choice(places) if places else rng.randrange(len(whole))
    value = rng.choice(EXTREMES) % 2 ** (8 * size)
    return whole[:at] + value.to_bytes(size, 'little') + whole[at + size :]


def zip_headers(rng, whole, other):
    """Change a field of a local header, of the table of contents, or of its end."""
    starts = [match.start() for match in re.finditer(rb'PK(\x01\x02|\x03\x04|\x05\x06|\x06\x06|\x06\x07)', whole)]
    return numbers(rng, whole, other, [start + field for start in starts for field in range(4, 46, 2)])


def instructions(rng, whole, _):
    """Remove, repeat, exchange or add instructions of a pickle."""
    if whole.startswith(b'PK'):
        return with_pickle(whole, lambda data: _edited(rng, data))
    file, ends = io.BytesIO(whole), [0]
    for _ in range(5):
        list(pickletools.genops(file))
        ends.append(file.tell())
    chosen = rng.randrange(5)
    start, end = ends[chosen], ends[chosen + 1]
    return whole[:start] + _edited(rng, whole[start:end]) + whole[end:]


def _edited(rng, pickled: bytes) -> bytes:
    starts = [position for _, _, position in pickletools.genops(pickled)] + [len(pickled)]
    pieces = [pickled[start:end] for start, end in zip(starts, starts[1:], strict=False)]
    for _ in range(rng.randint(1, 3)):
        at, new = rng.randrange(len(pieces)), rng.choice([rng.choice(PAYLOADS), rng.choice(pieces)])
        pieces[at : at + rng.choice([0, 1, 1, 4])] = [new] * rng.choice([0, 1, 1, 1, 2, 50])
        pieces = pieces or [b'.']
    return b''.join(pieces)


def json_header(rng, whole, _):
    """Change a number, a name or a pair of the header of a safetensors file."""
    length = int.from_bytes(whole[:8], 'little')
    header = whole[8 : 8 + length]
    values = [b'-1', b'0', b'7', b'18446744073709551615', b'1e3', b'NaN', b'null', b'[]', b'true', b'"x"', b'[' * 2000]
    spot = rng.choice(list(re.finditer(rb'\d+|"\w+"', header)))
    new = rng.choice([*values, rng.choice(re.findall(rb'"\w+"|\d+', header))])
    header = header[: spot.start()] + new + header[spot.end() :]
    return len(header).to_bytes(8, 'little') + header + whole[8 + length :]


EVERYWHERE = [bits, cut, splice, numbers]
KINDS = {'zip': [zip_headers, instructions], 'stream': [instructions], 'safetensors': [json_header]}


def mutations(count: int, seed: int):
    """Yield ``count`` damaged files, the same for the same seed: the form of each, its damage, its ending and its bytes."""
    rng, files = random.Random(seed), valid_files()
    for _ in range(count):
        name = rng.choice(list(files))
        form = next(form for form in ('safetensors', 'stream', 'zip') if form in name)
        damage = rng.choice(EVERYWHERE + KINDS[form] * 3)
        data = damage(rng, files[name], rng.choice(list(files.values())))
        yield form, damage.__name__, pathlib.Path(name).suffix, data


def outcome(path: pathlib.Path) -> str:
    """Read a file and return ``read`` or ``refused``; there is no third outcome."""
    try:
        found = tensors.read(path)
    except UserError as e:
        assert not isinstance(e.__cause__, MemoryError | RecursionError), e
        assert len(str(e).splitlines()) == 1 and str(path) in str(e) and len(str(e)) < 600, e
        return 'refused'
    assert all(isinstance(name, str) and isinstance(value, np.ndarray) for name, value in found.items())
    return 'read'


def read_all(count: int, seed: int, folder: pathlib.Path) -> dict[tuple[str, str], collections.Counter]:
    """Read damaged files and return the outcomes by form and damage; a failure leaves its file in the folder."""
    found = collections.defaultdict(collections.Counter)
    for form, damage, suffix, data in mutations(count, seed):
        path = folder / f'damaged{suffix}'
        path.write_bytes(data)
        found[form, damage][outcome(path)] += 1
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--count', type=int, default=20_000)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    taken = int(pathlib.Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 2**30, taken + 2**30))
    signal.alarm(1800)
    with tempfile.TemporaryDirectory() as folder:
        found = read_all(args.count, args.seed, pathlib.Path(folder))
    for (form, damage), outcomes in sorted(found.items()):
        print(f'{form}, {damage}: {outcomes["read"]} read, {outcomes["refused"]} refused')
    total = sum(found.values(), collections.Counter())
    print(f'{args.count} damaged files: {total["read"]} read as tensors, {total["refused"]} refused in one sentence')


if __name__ == '__main__':
    main()
