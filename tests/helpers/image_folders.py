"""Folders and archives of small images, and what a preparation leaves in the cache."""

import io
import tarfile
import zipfile

import numpy as np
from PIL import Image

from tests.helpers.picture_files import encoded


def image(seed, width=12, height=12, mode='RGB'):
    """Return an image of random pixels."""
    channels = {'L': (), 'RGB': (3,), 'RGBA': (4,), 'CMYK': (4,)}[mode]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, *channels), np.uint8)
    return Image.fromarray(pixels, mode=mode) if mode == 'CMYK' else Image.fromarray(pixels)


def write(folder, names, seed=0):
    """Write an image of its own to each name below a folder; what ends in neither .png nor .jpg is written as a text."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_image = name.lower().endswith(('.png', '.jpg'))
        path.write_bytes(encoded(image(seed + i)) if is_image else b'text')


def zipped(path, members):
    """Write a zip archive of (name, bytes)."""
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in members:
            archive.writestr(name, data)


def tarred(path, members):
    """Write a tar archive of (name, bytes)."""
    with tarfile.open(path, 'w') as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def left_over(cache):
    """Return the names of temporary files and folders in a cache."""
    return [path.name for path in cache.rglob('.*')]
