"""Files of images as arrays, and images of any size brought to one."""

import io

import numpy as np
from jaxtyping import Shaped, UInt8

from mtopt.errors import UserError

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def decoded(file: bytes, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """The pixels of a PNG or JPEG file, in as many channels as asked for.

    Args:
      file: its bytes.
      channels: 1 for grey, 3 for red, green and blue, 4 with transparency.

    Example:
      >>> from PIL import Image
      >>> grey = io.BytesIO()
      >>> Image.new("L", (5, 4), 7).save(grey, "PNG")
      >>> decoded(grey.getvalue(), 3).shape
      (4, 5, 3)
    """
    from PIL import Image

    with Image.open(io.BytesIO(file)) as image:
        pixels = np.asarray(image.convert(MODES[channels]))
    return pixels.reshape(*pixels.shape[:2], channels)


def resized(
    image: Shaped[np.ndarray, "h w c"], size: tuple[int, int]
) -> UInt8[np.ndarray, "H W c"]:
    """The centre of an image in another size.

    The largest centred window of the new shape is averaged, or interpolated linearly
    where it is enlarged; nothing is stretched.

    Args:
      image: of bytes, with 1, 3 or 4 channels.
      size: (height, width) to bring it to.

    Raises:
      UserError: for an image that is not of bytes.

    Example:
      >>> row = 10 * np.arange(8, dtype=np.uint8)
      >>> image = np.tile(row[None, :, None], (4, 1, 3))
      >>> resized(image, (4, 4))[0, :, 0].tolist(), resized(image, (2, 2)).shape
      ([20, 30, 40, 50], (2, 2, 3))
    """
    from PIL import Image

    if image.dtype != np.uint8:
        raise UserError(
            f"size is of images of bytes, and these are {image.dtype}: expected it to "
            "be left out"
        )
    height, width = size
    rows, columns = image.shape[:2]
    if (rows, columns) == size:
        return image
    factor = min(rows / height, columns / width)
    high, wide = factor * height, factor * width
    top, left = (rows - high) / 2, (columns - wide) / 2
    box = (left, top, left + wide, top + high)
    flat = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    made = np.asarray(flat.resize((width, height), Image.Resampling.BILINEAR, box))
    return made.reshape(height, width, image.shape[2])
