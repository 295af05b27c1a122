"""Uploads of visitors: an image is read as the network sees it, and everything else is refused."""

import numpy as np
import pytest
from PIL import Image

from jaxgen.apps.serving import uploads
from jaxgen.errors import UserError
from tests.helpers.picture_files import encoded, png


def test_the_network_sees_the_middle_square():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 14:46] = 200
    taken = uploads.read_picture(encoded(Image.fromarray(wide)), (8, 8, 3))
    np.testing.assert_array_equal(taken.seen, np.full((8, 8, 3), 200))
    assert taken.shown.shape == (20, 60, 3) and '60x20 pixels' in taken.description
    assert uploads.read_picture(encoded(Image.fromarray(wide), 'JPEG'), (8, 8, 1)).seen.shape == (8, 8, 1)


def test_a_large_picture_is_shown_at_a_small_size():
    taken = uploads.read_picture(encoded(Image.new('L', (3000, 1500), 7)), (8, 8, 1))
    assert max(taken.shown.shape) == uploads.SHOWN_SIDE


@pytest.mark.parametrize(
    ('data', 'words'),
    [
        (b'no picture', 'is not an image that can be read'),
        (b'', 'is not an image that can be read'),
        (encoded(Image.new('L', (50, 50)))[:60], 'is not an image that can be read'),
        (png(60_000, 60_000), 'has far more than'),
        (png(9000, 10), 'has 9000x10 pixels, but at most 8192 per side'),
        (encoded(Image.new('RGBA', (9, 9))), 'has transparent pixels'),
        (
            encoded(Image.new('L', (9, 9)), 'GIF', save_all=True, append_images=[Image.new('L', (9, 9), 200)]),
            'has several frames or pages',
        ),
        (bytes(uploads.MAX_BYTES + 1), 'has 10,000,001 bytes'),
    ],
)
def test_a_bad_upload_is_refused_in_a_sentence(data, words):
    with pytest.raises(UserError, match=words):
        uploads.read_picture(data, (8, 8, 1))


def test_an_upload_is_deleted(tmp_path):
    file = tmp_path / 'upload.png'
    file.write_bytes(b'bytes')
    assert uploads.take(str(file)) == b'bytes' and not file.exists()
    with open(file, 'wb') as large:
        large.truncate(uploads.MAX_BYTES + 1)
    with pytest.raises(UserError, match='has 10,000,001 bytes'):
        uploads.take(str(file))
    assert not file.exists()
