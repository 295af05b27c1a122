"""Pictures: one rule for each mode of Pillow, one sentence for each refused picture, and one module that decodes."""

import ast
import pathlib
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from jaxgen.errors import UserError
from jaxgen.io import pictures
from tests.helpers.picture_files import encoded, png

ROOT = pathlib.Path(__file__).parents[2]
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 250, (3, 5, 3), np.uint8)
RGB = Image.fromarray(COLOURS)
GREY = RGB.convert('L')
PALETTE = RGB.quantize(8)
VALUES = np.array([[0, 128, 129, 257, 32_767, 32_768, 65_406, 65_407, 65_535]], np.uint16)
SIXTEEN = Image.fromarray(VALUES)


def decoded(data, channels=3, **options):
    return np.asarray(pictures.decode(data, 'the file', channels, **options))


def with_tag(data, tag, value, new):
    """Return a TIFF with another value of a tag that holds one short number."""
    old = struct.pack('<HHII', tag, 3, 1, value)
    assert data.count(old) == 1
    return data.replace(old, struct.pack('<HHII', tag, 3, 1, new))


@pytest.mark.parametrize(
    'data',
    [
        encoded(SIXTEEN),
        encoded(SIXTEEN, 'TIFF'),
        encoded(SIXTEEN, 'TIFF', compression='tiff_lzw'),
        encoded(Image.frombytes('I;16B', (9, 1), VALUES.astype('>u2').tobytes()), 'TIFF'),
        b'P5 9 1 65535\n' + VALUES.astype('>u2').tobytes(),
        ('P2 9 1 65535\n' + ' '.join(map(str, VALUES[0]))).encode(),
    ],
    ids=['png', 'tiff', 'lzw', 'big-endian', 'pgm', 'plain-pgm'],
)
def test_grey_of_16_bits_is_scaled_and_not_clipped(data):
    np.testing.assert_array_equal(decoded(data, 1), np.rint(VALUES / 257))
    np.testing.assert_array_equal(decoded(data)[..., 2], np.rint(VALUES / 257))
    assert pictures.inspect(data, 'the file') == (9, 1, True)


def test_tiffs_of_12_bits_and_with_white_as_zero():
    inverted = with_tag(encoded(SIXTEEN, 'TIFF'), 262, 1, 0)
    np.testing.assert_array_equal(decoded(inverted, 1), 255 - np.rint(VALUES / 257))
    packed = encoded(Image.fromarray(np.array([[0xF8FF, 0]], np.uint16)), 'TIFF')  # the bytes FF F8 00: 4095 and 2048
    assert decoded(with_tag(packed, 258, 16, 12), 1).tolist() == [[255, 128]]


def test_colours_of_16_bits_keep_the_upper_8():
    data = png(2, 1, b'\0' + struct.pack('>6H', 0x12FF, 0, 0xFFFF, 0x80, 0x100, 0x7FFF), depth=16, colour=2)
    assert decoded(data).tolist() == [[[0x12, 0, 0xFF], [0, 1, 0x7F]]]


@pytest.mark.parametrize(
    ('image', 'form'),
    [
        (RGB, 'PNG'),
        (RGB, 'BMP'),
        (RGB, 'PPM'),
        (RGB.convert('CMYK'), 'TIFF'),
        (RGB.convert('LAB'), 'TIFF'),
        (PALETTE, 'PNG'),
        (PALETTE, 'GIF'),
        (GREY, 'PNG'),
        (GREY, 'TIFF'),
        (GREY.convert('1'), 'PNG'),
        (GREY.convert('1'), 'PPM'),
    ],
)
def test_other_modes_are_converted_as_pillow_does(image, form):
    data, in_colour = encoded(image, form), np.asarray(image.convert('RGB'))
    np.testing.assert_array_equal(decoded(data), in_colour)
    np.testing.assert_array_equal(decoded(data, 1), np.asarray(image.convert('RGB').convert('L')))
    assert pictures.inspect(data, 'the file') == (5, 3, image.mode in ('L', '1'))


def with_alpha(image, lowest, form='PNG'):
    alpha = np.full((3, 5), 255, np.uint8)
    alpha[2, 3] = lowest
    bands = [image] if image.mode == 'P' else image.split()
    mode = {'P': 'PA', 'L': 'LA', 'RGB': 'RGBA'}[image.mode]
    return encoded(
        Image.merge(mode, [*bands, Image.fromarray(alpha)]), form, **({'lossless': True} if form == 'WEBP' else {})
    )


def two_bits(third):
    """Return a grey image of 2 bits whose value 2 is transparent, with the pixels 0, 1, ``third`` and 3."""
    return png(4, 1, bytes([0, 0b00010011 | third << 2]), depth=2, transparent=[2])


def of_16_bits(red):
    return png(1, 1, b'\0' + struct.pack('>3H', red, 2, 3), depth=16, colour=2, transparent=[0x1234, 2, 3])


# By kind: an opaque picture in a format that allows transparency, and the same picture with a transparent pixel.
TRANSPARENT = {
    'LA': (with_alpha(GREY, 255), with_alpha(GREY, 254)),
    'RGBA': (with_alpha(RGB, 255), with_alpha(RGB, 0)),
    'PA': (with_alpha(PALETTE, 255, 'TIFF'), with_alpha(PALETTE, 9, 'TIFF')),
    'webp': (with_alpha(RGB, 255, 'WEBP'), with_alpha(RGB, 7, 'WEBP')),
    'P': tuple(encoded(PALETTE, transparency=bytes([255, 255, x, 255])) for x in (255, 80)),
    'gif': tuple(encoded(PALETTE, 'GIF', transparency=x) for x in (200, PALETTE.getpixel((1, 1)))),
    'L': tuple(encoded(GREY, transparency=x) for x in (251, GREY.getpixel((1, 1)))),
    'RGB': tuple(encoded(RGB, transparency=x) for x in ((251, 0, 0), RGB.getpixel((4, 2)))),
    '1': tuple(encoded(Image.new('1', (4, 4), 1), transparency=x) for x in (0, 255)),
    'I;16': tuple(encoded(SIXTEEN, transparency=x) for x in (300, 257)),
    'L;2': (two_bits(1), two_bits(2)),
    'RGB;16': (of_16_bits(0x1334), of_16_bits(0x1234)),
}


@pytest.mark.parametrize('name', TRANSPARENT)
def test_only_opaque_pictures_are_accepted(name):
    opaque, transparent = TRANSPARENT[name]
    plain = {'LA': GREY, 'RGBA': RGB, 'PA': PALETTE, 'webp': RGB, 'P': PALETTE, 'gif': PALETTE, 'L': GREY, 'RGB': RGB}
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # Pillow warns of some conversions
        found = decoded(opaque)
        if name in plain:
            np.testing.assert_array_equal(found, np.asarray(plain[name].convert('RGB')))
        assert pictures.inspect(opaque, 'x').is_grey == (name in ('LA', 'L', '1', 'I;16', 'L;2'))
        for read in (decoded, lambda data: pictures.inspect(data, 'the file')):
            with pytest.raises(UserError, match='^the file has transparent pixels: save it without an alpha channel'):
                read(transparent)
        assert decoded(transparent, as_stored=True).shape == found.shape


EXIF = Image.Exif()
EXIF[pictures.ORIENTATION] = 6


@pytest.mark.parametrize(
    'data',
    [
        encoded(RGB, exif=EXIF),
        encoded(RGB, 'WEBP', exif=EXIF, lossless=True),
        encoded(RGB, 'TIFF', tiffinfo={pictures.ORIENTATION: 6}),
        encoded(RGB, 'TIFF', tiffinfo={pictures.ORIENTATION: 6}, compression='tiff_lzw'),
    ],
    ids=['png', 'webp', 'tiff', 'lzw'],
)
def test_pictures_are_turned_upright_once(data):
    np.testing.assert_array_equal(decoded(data), np.rot90(COLOURS, -1))
    assert pictures.inspect(data, 'the file') == (3, 5, False)


def test_damaged_exif_data_are_ignored():
    np.testing.assert_array_equal(decoded(encoded(RGB, exif=b'Exif\0\0garbage')), COLOURS)


def test_data_sets_are_decoded_as_they_are_stored():
    np.testing.assert_array_equal(decoded(encoded(RGB, exif=EXIF), as_stored=True), COLOURS)


FRAMES = {'save_all': True, 'append_images': [Image.fromarray(255 - COLOURS)]}


@pytest.mark.parametrize('form', ['GIF', 'PNG', 'WEBP', 'TIFF'])
def test_several_frames_or_pages_are_refused(form):
    with pytest.raises(UserError, match='^the file has several frames or pages, .* save one of them$'):
        pictures.inspect(encoded(RGB, form, **FRAMES), 'the file')


def test_the_main_picture_of_a_camera_file_is_read():
    plain = encoded(RGB, 'JPEG')
    np.testing.assert_array_equal(decoded(encoded(RGB, 'MPO', **FRAMES)), decoded(plain))


@pytest.mark.parametrize(
    'data',
    [
        encoded(Image.fromarray(np.ones((2, 2), np.float32)), 'TIFF'),
        encoded(Image.fromarray(np.ones((2, 2), np.int32)), 'TIFF'),
        b'Pf\n1 1\n1.0\n' + bytes(4),
    ],
    ids=['F', 'I', 'pfm'],
)
def test_more_than_16_bits_are_refused_with_advice(data):
    for read in (pictures.inspect, lambda data, where: pictures.decode(data, where, 1)):
        with pytest.raises(UserError, match=r'^the file has pixels .* \(mode [FI]\): save it with 8 bits per channel$'):
            read(data, 'the file')


NOISE = Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'', r'is not an image that can be read \(neither PNG, JPEG, .* nor PPM\): save it'),
        (b'no picture', 'is not an image that can be read'),
        (encoded(RGB, 'EPS'), r'is not an image that can be read \(neither PNG'),  # Ghostscript is never called
        *(
            (encoded(NOISE, form)[:3000], 'is not an image that can be read')
            for form in ('PNG', 'JPEG', 'BMP', 'TIFF', 'PPM')
        ),
        *((encoded(NOISE, form)[:-900], 'is not an image that can be read') for form in ('GIF', 'WEBP')),
        (png(0, 10), 'is not an image that can be read'),
        (b'P5 0 5 255\n', 'is not an image that can be read'),
        (png(60_000, 60_000), 'has far more than 50,000,000 pixels: make it smaller'),
        (png(10_000, 10_000), 'has (10000x10000|far more)'),
        (png(8000, 7000), 'has 8000x7000 pixels, but at most 50,000,000 are read: make it smaller'),
    ],
)
@pytest.mark.parametrize('action', ['error', 'ignore'])
def test_what_cannot_be_read_is_one_sentence(data, words, action):
    with warnings.catch_warnings():
        warnings.simplefilter(action, Image.DecompressionBombWarning)
        with pytest.raises(UserError, match=f'^the file {words}') as e:
            decoded(data)
    assert '\n' not in str(e.value) and ' at 0x' not in str(e.value)


def test_the_size_is_checked_before_the_pixels():
    with pytest.raises(UserError, match='has 9000x10 pixels, but at most 8192 per side are read'):
        decoded(png(9000, 10), max_side=8192)


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match='the.field=x cannot be read .No such file'):
        pictures.read_file(tmp_path / 'x', 'the.field=x')


def test_no_other_file_opens_pictures():
    """Only the decoder calls ``Image.open`` (or another library that reads pictures), and it names the formats."""
    opened = {}
    for path in [ROOT / 'main.py', *(ROOT / 'configs').rglob('*.py'), *(ROOT / 'jaxgen').rglob('*.py')]:
        source = path.read_text()
        assert 'imread' not in source and 'imageio' not in source and 'cv2' not in source, path
        if 'PIL' not in source and 'open' not in source:
            continue
        tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('PIL'):
                assert not {'open', '*'} & {alias.name for alias in node.names}, path
            if isinstance(node, ast.Attribute) and node.attr == 'open' and 'Image' in ast.unparse(node.value):
                opened.setdefault(path.relative_to(ROOT).as_posix(), []).append(node)
    assert list(opened) == ['jaxgen/io/pictures.py'] and len(opened['jaxgen/io/pictures.py']) == 1
    assert 'Image.open(io.BytesIO(data), formats=FORMATS)' in (ROOT / 'jaxgen/io/pictures.py').read_text()
