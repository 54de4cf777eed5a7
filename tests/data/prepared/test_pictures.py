"""Files of images in every colour that sets of photographs have, and their sizes."""

import io

import numpy as np
import pytest
from PIL import Image

from mtopt.data.prepared.pictures import decoded, resized
from mtopt.errors import UserError


def file(mode, colour, form="PNG"):
    bytes_of = io.BytesIO()
    Image.new(mode, (5, 4), colour).save(bytes_of, form, quality=100)
    return bytes_of.getvalue()


@pytest.mark.parametrize(
    ("made", "channels", "wanted"),
    [
        (file("RGB", (10, 20, 30)), 3, (10, 20, 30)),
        (file("L", 40), 3, (40, 40, 40)),
        (file("L", 40), 1, (40,)),
        (file("RGBA", (10, 20, 30, 255)), 3, (10, 20, 30)),
        (file("RGBA", (10, 20, 30, 99)), 4, (10, 20, 30, 99)),
        # No ink is white, all of one ink is the colour that it takes away.
        (file("CMYK", (0, 0, 0, 0), "JPEG"), 3, (255, 255, 255)),
        (file("CMYK", (255, 0, 0, 0), "JPEG"), 3, (0, 255, 255)),
    ],
)
def test_files_of_all_colours_have_the_channels_asked_for(made, channels, wanted):
    pixels = decoded(made, channels)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (4, 5, channels)
    np.testing.assert_allclose(pixels, np.broadcast_to(wanted, pixels.shape), atol=1)


def test_the_largest_centred_window_is_brought_to_a_size():
    """What stands outside of it is not seen, and nothing is stretched."""
    wide = np.full((4, 12, 3), 200, np.uint8)
    wide[:, :4], wide[:, 8:] = 0, 0
    np.testing.assert_array_equal(resized(wide, (4, 4)), np.full((4, 4, 3), 200))
    tall = wide.swapaxes(0, 1)
    np.testing.assert_array_equal(resized(tall, (4, 4)), np.full((4, 4, 3), 200))
    board = np.kron([[1, 3], [5, 7]], np.ones((8, 8)))[..., None].astype(np.uint8)
    halved = resized(board, (8, 8))[..., 0]
    np.testing.assert_array_equal(halved[[0, 0, 7, 7], [0, 7, 0, 7]], [1, 3, 5, 7])
    assert resized(board, (16, 16)) is board
    assert resized(board, (3, 9)).shape == (3, 9, 1)


def test_only_images_of_bytes_have_another_size():
    with pytest.raises(UserError, match=r"size is of images of bytes.*float32"):
        resized(np.zeros((4, 4, 1), np.float32), (2, 2))
