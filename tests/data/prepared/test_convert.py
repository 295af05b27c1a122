"""From the bytes of a file to the pixels that are stored: cropping, resizing, modes of colour, transparency, odd sizes."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxgen.data import pipeline
from jaxgen.data.dataset import Dataset, ImagesOnDisk
from jaxgen.data.prepared.convert import Conversion, convert
from jaxgen.errors import UserError
from tests.helpers.image_folders import image
from tests.helpers.picture_files import encoded


def conversion(size=8, channels=3, crop='center', filter='bicubic', background=(255, 255, 255)):
    return Conversion(size, channels, crop, filter, background)


def converted(picture, form='PNG', how=None, **options):
    stored, about = convert(encoded(picture, form, **options), 'x', how or conversion())
    return stored, about


@pytest.mark.parametrize(('width', 'height'), [(20, 12), (12, 20), (13, 20), (8, 8), (1, 1), (3, 40)])
@pytest.mark.parametrize(
    ('name', 'filter'),
    [('bicubic', Image.Resampling.BICUBIC), ('lanczos', Image.Resampling.LANCZOS), ('area', Image.Resampling.BOX)],
)
def test_the_middle_square_is_resized_by_the_filter(width, height, name, filter):
    picture, side = image(width, width, height), min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    expected = picture.resize((8, 8), filter, box=(left, top, left + side, top + side))
    stored, about = converted(picture, how=conversion(filter=name))
    np.testing.assert_array_equal(stored, np.asarray(expected))
    assert (about.width, about.height, about.length) == (width, height, 8)


def test_area_is_the_mean_of_blocks():
    picture = image(0, 24, 24)
    stored, _ = converted(picture, how=conversion(filter='area'))
    blocks = np.asarray(picture, float).reshape(8, 3, 8, 3, 3).mean((1, 3))
    assert abs(stored - blocks).max() <= 1  # Pillow rounds twice, once for each direction


@pytest.mark.parametrize(('width', 'height'), [(24, 12), (12, 24), (8, 8), (16, 12), (12, 16), (100, 12)])
def test_a_strip_holds_the_image_along_its_longer_side(width, height):
    """The strip spans the short side of the image, and at most twice that length in the middle of the long side."""
    picture = image(1, width, height)
    stored, about = converted(picture, how=conversion(crop='random'))
    assert stored.shape == (16, 8, 3) and about.is_wide == (width > height)
    upright = picture.transpose(Image.Transpose.TRANSPOSE) if width > height else picture
    kept = min(upright.height, 2 * upright.width)
    top = (upright.height - kept) / 2
    length = round(8 * kept / upright.width)
    expected = upright.resize((8, length), Image.Resampling.BICUBIC, box=(0, top, upright.width, top + kept))
    assert about.length == length
    np.testing.assert_array_equal(stored[:length], np.asarray(expected))


def strips(tmp_path, pictures):
    """Return pictures as crop=random stores them."""
    results = [convert(encoded(picture), 'x', conversion(crop='random')) for picture in pictures]
    np.save(tmp_path / 'images.npy', np.stack([stored for stored, _ in results]))
    about = [a for _, a in results]
    return ImagesOnDisk(
        tmp_path / 'images.npy', None, np.array([a.length for a in about]), np.array([a.is_wide for a in about])
    )


def test_random_crops_are_uniform_and_a_function_of_the_step(tmp_path):
    """A ramp along each image shows where its crop lies. Images are tall, wide, or square, with only one possible crop."""
    ramp = np.arange(16, dtype=np.uint8).reshape(16, 1, 1).repeat(8, 1).repeat(3, 2) * 10
    tall, wide = Image.fromarray(ramp), Image.fromarray(ramp.swapaxes(0, 1))
    square = image(0, 8, 8)
    images = strips(tmp_path, [tall, wide, square])
    data = Dataset(images, np.arange(3, dtype=np.int32), tuple('abc'))
    assert images.shape == (3, 8, 8, 3)
    counts = np.zeros((2, 9), int)
    for step in range(300):
        batch = pipeline.batch(data, 5, step, 6)
        again = pipeline.batch(data, 5, step, 6, slice(2, 4))
        np.testing.assert_array_equal(batch['image'][2:4], again['image'])
        for x, label in zip(batch['image'], batch['label'], strict=True):
            if label == 2:
                np.testing.assert_array_equal(x, np.asarray(square))
                continue
            along = x[:, 0, 0] if label == 0 else x[0, :, 0]
            across = x[0, :, 0] if label == 0 else x[:, 0, 0]
            assert (np.diff(along) == 10).all() and (across == across[0]).all()
            counts[label, along[0] // 10] += 1
    expected = counts.sum(1, keepdims=True) / 9
    assert (((counts - expected) ** 2 / expected).sum(1) < 26.1).all()  # chi-squared, 8 degrees of freedom, 0.001
    other = pipeline.batch(data, 6, 0, 6)
    assert not np.array_equal(other['image'], pipeline.batch(data, 5, 0, 6)['image'])


def test_by_default_the_middle_of_a_strip_is_read(tmp_path):
    pictures = [image(i, *size) for i, size in enumerate([(24, 8), (8, 24), (8, 8), (12, 8)])]
    images = strips(tmp_path, pictures)
    for i, picture in enumerate(pictures):
        left, top = (picture.width - 8) // 2, (picture.height - 8) // 2
        middle = np.asarray(picture.crop((left, top, left + 8, top + 8)))
        np.testing.assert_array_equal(images[i], middle)
        np.testing.assert_array_equal(images.subset(slice(i, None))[0], middle)
    np.testing.assert_array_equal(images[:], np.stack([images[i] for i in range(4)]))
    np.testing.assert_array_equal(np.asarray(images), images[np.arange(4)])


def test_transparent_pixels_are_laid_on_the_background():
    picture = image(3, 8, 8, 'RGBA')
    colour, alpha = np.asarray(picture, float)[..., :3], np.asarray(picture, float)[..., 3:] / 255
    for background in ((255, 255, 255), (10, 200, 30)):
        stored, _ = converted(picture, how=conversion(background=background))
        expected = colour * alpha + np.array(background) * (1 - alpha)
        assert abs(stored - expected).max() <= 1
    grey, _ = converted(picture, how=conversion(channels=1))
    assert grey.shape == (8, 8, 1)
    weights = np.array([0.299, 0.587, 0.114])
    assert abs(grey[..., 0] - (colour * alpha + 255 * (1 - alpha)) @ weights).max() <= 2


def test_palettes_with_a_transparent_colour_are_laid_on_the_background():
    values = np.random.default_rng(0).integers(0, 4, (8, 8), np.uint8)
    picture = Image.fromarray(values, mode='P')
    palette = np.random.default_rng(1).integers(0, 256, (4, 3), np.uint8)
    picture.putpalette(palette.tobytes())
    stored, _ = converted(picture, how=conversion(background=(1, 2, 3)), transparency=2)
    expected = palette.copy()
    expected[2] = 1, 2, 3
    np.testing.assert_array_equal(stored, expected[values])


def test_sixteen_bits_are_scaled():
    values = np.random.default_rng(0).integers(0, 2**16, (8, 8), np.uint16)
    stored, _ = converted(Image.fromarray(values), how=conversion(channels=1))
    np.testing.assert_array_equal(stored[..., 0], np.rint(values / 257))
    coloured, _ = converted(Image.fromarray(values))
    np.testing.assert_array_equal(coloured, stored.repeat(3, 2))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_images_are_turned_upright_before_they_are_cropped(orientation):
    picture = image(orientation, 20, 12)
    exif = Image.Exif()
    exif[274] = orientation
    stored, about = converted(picture, how=conversion(12), exif=exif)
    assert (about.width, about.height) == ((20, 12) if orientation < 5 else (12, 20))
    square = np.asarray(picture.crop((4, 0, 16, 12)))
    turned = {
        1: square,
        2: square[:, ::-1],
        3: square[::-1, ::-1],
        4: square[::-1],
        5: square.swapaxes(0, 1),
        6: np.rot90(square, -1),
        7: np.rot90(square, 2).swapaxes(0, 1),
        8: np.rot90(square),
    }[orientation]
    np.testing.assert_array_equal(stored, turned)


def test_cmyk_becomes_colour():
    picture = image(0, 8, 8, 'CMYK')
    stored, _ = converted(picture, 'TIFF')
    np.testing.assert_array_equal(stored, np.asarray(picture.convert('RGB')))


def test_a_very_wide_image_is_read():
    stored, about = converted(image(0, 20_000, 10))
    assert about.width == 20_000 and stored.std() > 20


def frames():
    out = io.BytesIO()
    image(0).save(out, 'GIF', save_all=True, append_images=[image(1)])
    return out.getvalue()


@pytest.mark.parametrize(
    ('data', 'how', 'words'),
    [
        (frames(), {}, 'x has several frames'),
        (encoded(image(0), 'JPEG')[:300], {}, 'x is not an image that can be read'),
        (b'', {}, 'x is not an image that can be read'),
        (
            encoded(image(0, 9, 8)),
            {'crop': 'none'},
            'x has 9x8 pixels, but crop=none takes square images: choose crop=center',
        ),
        (encoded(Image.new('1', (8000, 8000))), {}, 'x has 8000x8000 pixels, but at most 50,000,000 are read'),
    ],
)
def test_files_that_cannot_be_used_have_a_reason(data, how, words):
    with pytest.raises(UserError, match=words):
        convert(data, 'x', conversion(**how))
