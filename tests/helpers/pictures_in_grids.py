"""Find images in a grid that shows them enlarged."""

import numpy as np


def shows(picture, image, scale):
    """Whether a picture ``[H', W']`` has an image ``[H, W]`` somewhere, each pixel of which is ``scale`` wide."""
    height, width = ((side - 1) * scale + 1 for side in image.shape)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (height, width))[..., ::scale, ::scale]
    return bool((windows == image).all((-1, -2)).any())
