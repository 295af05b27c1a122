"""Decode image files; no other module of jaxgen opens them.

A file is read as one of ``FORMATS``, whatever its suffix is. No other decoder of Pillow is tried, so an EPS file with the name
``x.png`` does not start Ghostscript. The rules for Pillow's modes are:

=================================  ==================================================================================
1, L                               grey
RGB, RGBX                          the colours as they are; from 16 bits per channel Pillow keeps the upper 8 (in a PPM
                                   it rounds)
P                                  the colours of the palette
LA, RGBA, PA; P, 1, L, I;16, RGB   if every pixel is opaque, like the mode without transparency; otherwise composited on
with a transparent value           the background colour if the caller gives one, and refused if not
I;16 in any byte order;            grey of 16 bits, scaled to 8: value / 257, rounded (in a TIFF of 12 bits,
I in a PNG or a PPM                value * 255 / 4095)
CMYK, YCbCr, LAB, HSV              converted to RGB by Pillow
I in other formats, F              refused: save it with 8 bits per channel
all others; TIFFs with signed      refused: save it with 8 bits per channel
values
=================================  ==================================================================================

Colour profiles are ignored. Images are turned upright according to EXIF; damaged EXIF data are ignored. If a JPEG has several
images (MPO, as cameras and phones write it), the main one is read. Other files with several frames or pages are refused, and
so are images of more than ``MAX_PIXELS`` and files that are damaged, truncated or empty. The caller chooses whether the result
is grey or colour.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from jaxgen.errors import UserError, check, reason

FORMATS = ('PNG', 'JPEG', 'WEBP', 'BMP', 'GIF', 'TIFF', 'PPM')
SUFFIXES = (
    *('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.webp', '.bmp', '.gif', '.tif', '.tiff'),
    *('.ppm', '.pgm', '.pbm', '.pnm'),
)
MAX_PIXELS = 50_000_000  # a larger image is a mistake, or an attempt to exhaust the memory
GREY = ('1', 'L', 'LA')
SIXTEEN_BITS = ('I', 'I;16', 'I;16L', 'I;16B', 'I;16N')
COLOUR = ('P', 'PA', 'RGB', 'RGBX', 'RGBA', 'CMYK', 'YCbCr', 'LAB', 'HSV')
# Tags of TIFF and EXIF
BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION, SAMPLE_FORMAT = 258, 262, 274, 339
WHITE_IS_ZERO, UNSIGNED, UNDEFINED = 0, 1, 4
Colour = tuple[int, int, int]  # red, green and blue, 0 to 255
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Header(NamedTuple):
    """A description of an image before it is decoded.

    Attributes:
      width: width of the image in pixels, after it was turned upright.
      height: height of the image in pixels, after it was turned upright.
      is_grey: whether the image has no colours.
    """

    width: int
    height: int
    is_grey: bool


def read_file(path: pathlib.Path, where: str) -> bytes:
    """Return the bytes of a file.

    Args:
      path: the file.
      where: name of the file, for messages.

    Raises:
      UserError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(f'{where} cannot be read ({e.strerror or e}): name an existing file') from e


def inspect(data: bytes, where: str) -> Header:
    """Return the size of an image and whether it is grey; its pixels are decoded only if necessary.

    Args:
      data: the bytes of the file.
      where: name of the image, for messages.

    Raises:
      UserError: if the image is refused. A file that ends too early may be refused only by ``decode``.
    """
    with _opened(data, where) as image:
        is_grey = image.mode in GREY + SIXTEEN_BITS
        width, height = image.size
        if width != height or _may_be_transparent(image):  # turning a square does not change its size
            width, height = _upright(image, where).size
    return Header(width, height, is_grey)


def decode(
    data: bytes,
    where: str,
    channels: int,
    *,
    max_side: int | None = None,
    as_stored: bool = False,
    background: Colour | None = None,
) -> Image.Image:
    """Decode an image by the rules of this module.

    Args:
      data: the bytes of the file.
      where: name of the image, for messages.
      channels: 1 for grey or 3 for colour.
      max_side: the largest side in pixels that is accepted; no limit if not set.
      as_stored: whether to ignore the orientation and the transparency of the image. This is for published data sets, whose
        bounding boxes refer to the stored pixels.
      background: the background colour of transparent pixels; images with transparent pixels are refused if not set.

    Returns:
      A Pillow image in mode L or RGB.

    Raises:
      UserError: if the image is refused.
    """
    with _opened(data, where, max_side) as image:
        picture = _flat(image) if as_stored else _upright(image, where, background)
    return picture.convert('L' if channels == 1 else 'RGB')


@contextlib.contextmanager
def _opened(data: bytes, where: str, max_side: int | None = None) -> Iterator[Image.Image]:
    """Open an image and refuse modes and sizes that are not accepted; errors in the block become a UserError."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _require_size(image, where, max_side)
            _require_one_frame(image, where)
            _require_mode(image, where)
            yield image
    except UserError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise UserError(f'{where} has far more than {MAX_PIXELS:,} pixels: make it smaller') from e
    except UnidentifiedImageError as e:
        formats = f'{", ".join(FORMATS[:-1])} nor {FORMATS[-1]}'
        raise UserError(f'{where} is not an image that can be read (neither {formats}): save it as PNG') from e
    except Exception as e:  # Pillow raises errors of many types, depending on the format and on which byte is damaged
        raise UserError(f'{where} is not an image that can be read ({reason(e)}): save it again, as PNG') from e


def _require_size(image: Image.Image, where: str, max_side: int | None) -> None:
    size = f'{image.width}x{image.height} pixels'
    check(
        image.width * image.height <= MAX_PIXELS,
        f'{where} has {size}, but at most {MAX_PIXELS:,} are read: make it smaller',
    )
    check(
        max_side is None or max(image.size) <= max_side,
        f'{where} has {size}, but at most {max_side} per side are read: make it smaller',
    )


def _require_one_frame(image: Image.Image, where: str) -> None:
    check(
        image.format == 'MPO' or not getattr(image, 'is_animated', False),
        f'{where} has several frames or pages, but a single picture is needed: save one of them',
    )


def _require_mode(image: Image.Image, where: str) -> None:
    is_known = image.mode in GREY + SIXTEEN_BITS + COLOUR
    has_32_bits = image.mode == 'I' and image.format not in ('PNG', 'PPM')
    signs = set(_tags(image).get(SAMPLE_FORMAT, ())) - {UNSIGNED, UNDEFINED}
    check(
        is_known and not has_32_bits and not signs,
        f'{where} has pixels that are not whole numbers of 8 or 16 bits without a sign (mode {image.mode}): save it with 8 '
        f'bits per channel',
    )


def _tags(image: Image.Image) -> dict[int, tuple[int, ...]]:
    """Return the numeric tags of a TIFF that this module uses, each as a tuple; an empty dictionary for other formats."""
    tags = getattr(image, 'tag_v2', {})
    found = {number: tags[number] for number in (BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT) if number in tags}
    return {number: value if isinstance(value, tuple) else (value,) for number, value in found.items()}


def _upright(image: Image.Image, where: str, background: Colour | None = None) -> Image.Image:
    """Return an opaque image in mode L or RGB, turned upright according to EXIF."""
    value = _transparent_value(image)
    image.load()
    opacity = _opacity(image, value)
    turn = UPRIGHT.get(_orientation(image))
    flat = _flat(image)
    if opacity is not None and opacity.min() < 255:
        check(
            background is not None,
            f'{where} has transparent pixels: save it without an alpha channel, on a background of your choice',
        )
        flat = Image.composite(flat.convert('RGB'), Image.new('RGB', flat.size, background), Image.fromarray(opacity))
    return flat if turn is None else flat.transpose(turn)


def _may_be_transparent(image: Image.Image) -> bool:
    return image.mode in ('LA', 'PA', 'RGBA') or 'transparency' in image.info


def _transparent_value(image: Image.Image) -> object:
    """Return the value of transparent pixels, scaled like the pixels. Call it before the pixels are loaded.

    Pillow scales pixels of 2, 4 and 16 bits to 8 bits, but not the value that marks the transparent ones.
    """
    value = image.info.get('transparency')
    tiles = getattr(image, 'tile', ())
    stored = str(tiles[0][3]) if tiles and value is not None else ''
    if stored in ('L;2', 'L;4'):  # grey of 2 or 4 bits
        return np.asarray(value) * {'L;2': 85, 'L;4': 17}[stored]
    if stored == 'RGB;16B':
        return np.asarray(value) // 256
    return value


def _opacity(image: Image.Image, value: object) -> np.ndarray | None:
    """Return the opacity of each pixel, uint8 ``[H, W]``; None if all are opaque.

    Args:
      image: the image, with its pixels loaded.
      value: the value of transparent pixels; None if there is none.
    """
    if image.mode in ('LA', 'PA', 'RGBA'):
        return np.asarray(image.getchannel('A'))
    if value is None:
        return None
    if image.mode == 'P':
        return np.asarray(image.convert('RGBA').getchannel('A'))
    pixels = np.asarray(image.convert('L') if image.mode == '1' else image)
    same = pixels == value
    return np.where(same.all(-1) if same.ndim == 3 else same, 0, 255).astype(np.uint8)


def _orientation(image: Image.Image) -> int:
    """Return the orientation of an image as a number of EXIF; 1 (upright) if its EXIF data are damaged."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # Pillow raises errors of many types
        return 1


def _flat(image: Image.Image) -> Image.Image:
    """Return an image in mode L or RGB, without its transparency."""
    if image.mode in SIXTEEN_BITS:
        return Image.fromarray(_eight_bits(image))
    if image.mode in ('P', 'PA'):
        flat = image.convert('RGBA').convert('RGB')  # Pillow warns if it converts a transparent palette directly to RGB
    else:
        flat = image.convert('L' if image.mode in GREY else 'RGB')
    flat.info = {}  # removes the transparent value, which further conversions would try to convert
    return flat


def _eight_bits(image: Image.Image) -> np.ndarray:
    """Scale grey values of 16 bits, or of 12 bits in some TIFFs, to 0 .. 255."""
    values, tags = np.asarray(image).astype(np.uint32), _tags(image)
    largest = 2 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1
    if image.format == 'TIFF' and tags.get(PHOTOMETRIC, (WHITE_IS_ZERO,))[0] == WHITE_IS_ZERO:
        values = largest - values  # Pillow inverts only images of 8 bits itself
    return ((values * 510 + largest) // (2 * largest)).astype(np.uint8)
