"""Labelled grids: each label belongs to the image next to it, and stays legible when a page shrinks the picture."""

import numpy as np
import pytest

from jaxgen.io import grids
from jaxgen.io.grids import GAP, Labels
from tests.helpers.pictures_in_grids import shows

LONG = 'n02100236-German_short-haired_pointer of the north'


@pytest.fixture
def drawn(monkeypatch):
    """The labels and columns of the grids that are drawn."""
    found = []

    def labelled(images, labels=None, columns=None, page_width=grids.layout.PAGE_WIDTH):
        found.append((images[:, 0, 0, 0].tolist(), labels, columns))

    monkeypatch.setattr(grids.classes, 'labelled', labelled)
    return found


def numbered(num, side=1):
    return np.arange(num, dtype=np.uint8)[:, None, None, None].repeat(side, 1).repeat(side, 2)


def names(count):
    return [f'class {i}' for i in range(count)]


def test_few_classes_have_columns_and_many_have_rows(drawn):
    grids.by_class(numbered(25), np.arange(25) % 10, names(10))
    assert drawn[-1][1].columns == names(10) and drawn[-1][0] == list(range(25))
    grids.by_class(numbered(45), np.arange(45) % 20, names(20))
    order, labels, columns = drawn[-1]
    assert labels.rows == names(20) and columns == 2 and order[:4] == [0, 20, 1, 21] and len(order) == 40


def test_other_orders_have_a_caption_for_each_image(drawn):
    for labels in ([1, 0, 0], np.arange(60)):
        grids.by_class(numbered(len(labels)), labels, names(60))
        assert drawn[-1][1].captions == [f'class {i}' for i in labels]


def test_one_class_or_none_needs_only_a_title(drawn):
    grids.by_class(numbered(3), [2, 2, 2], names(3), 'step 4')
    grids.by_class(numbered(3), None, names(3))
    assert [labels for _, labels, _ in drawn] == [Labels('step 4, class 2'), Labels('')]


def test_a_grid_for_a_phone_has_five_columns_and_captions(drawn):
    grids.by_class(numbered(20), np.arange(20) % 10, names(10), narrow=True)
    assert drawn[-1][1].captions == names(10) * 2 and drawn[-1][2] == 5
    layout = grids.layout._Layout(numbered(20, 32), drawn[-1][1], 5, grids.layout.NARROW_WIDTH)
    assert layout.width <= grids.layout.NARROW_WIDTH and layout.size == 12


@pytest.mark.parametrize('side, count', [(8, 30), (32, 12), (64, 7), (128, 40)])
@pytest.mark.parametrize('kind', ['columns', 'rows', 'captions'])
def test_letters_are_legible_where_a_page_is_660_wide(side, count, kind):
    columns = {'columns': count, 'rows': 2, 'captions': 5}[kind]
    layout = grids.layout._Layout(numbered(count, side), Labels(**{kind: [LONG] * count}), columns)
    assert layout.size * 660 / layout.width > 11.5 or layout.width <= 660 and layout.size == 12
    texts = {'columns': layout.heads, 'rows': layout.names, 'captions': layout.captions}[kind]
    room = layout.left if kind == 'rows' else layout.tile_width + GAP
    assert all(layout.font.getlength(line) <= room for lines in texts for line in lines)


def test_small_images_are_enlarged_and_their_size_is_stated():
    small = grids.layout._Layout(numbered(10, 8), Labels(), 10)
    assert small.foot == [['images of 8x8 pixels, enlarged']]
    assert not any(grids.layout._Layout(numbered(10, 64), Labels(), 10).foot)


@pytest.mark.parametrize('channels', [1, 3])
def test_every_pixel_of_every_image_is_in_the_picture(channels):
    images = np.random.default_rng(0).integers(0, 255, (7, 8, 8, channels), np.uint8)
    picture = grids.labelled(images, Labels('title', ['a', 'b', 'Привет'], ['é', 'row', LONG], [LONG] * 7))
    assert picture.dtype == np.uint8 and picture.shape[-1] == channels
    assert all(shows(picture[..., 0], image[..., 0], 16) for image in images)
