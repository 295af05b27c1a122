"""Picture files in memory: encoded images, and PNG files that Pillow does not write."""

import io
import struct
import zlib


def encoded(image, form='PNG', **options):
    """Return an image of Pillow as the bytes of a file."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def png(width, height, rows=b'', *, depth=8, colour=0, transparent=None):
    """Return a PNG file of given bytes of pixels, of which each row starts with the number of its filter.

    ``colour`` is PNG's type (0 grey, 2 RGB), ``transparent`` holds the numbers of the transparent value.
    """
    header = struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, 0)
    parts = [_chunk(b'IHDR', header), _chunk(b'IDAT', zlib.compress(rows)), _chunk(b'IEND', b'')]
    if transparent is not None:
        parts.insert(1, _chunk(b'tRNS', struct.pack(f'>{len(transparent)}H', *transparent)))
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


def _chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
