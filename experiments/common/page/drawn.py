"""The pictures of a run, as they go into its page."""

import base64
import pathlib

from PIL import Image, UnidentifiedImageError

from .parts import Picture

FIRST = ("test.png", "curves.png")
"""What a comparison shows first; all others follow by name."""
KEYWORDS = ("Title", "Description")


def pictures_of(folder: pathlib.Path) -> tuple[Picture, ...]:
    """What :func:`experiments.common.pictures.save` left in a folder.

    Other pictures that lie there, which do not say what they show, are left out.

    Args:
      folder: of the run.
    """
    order = {name: place for place, name in enumerate(FIRST)}
    paths = sorted(
        folder.glob("*.png"),
        key=lambda path: (order.get(path.name, len(order)), path.name),
    )
    return tuple(found for path in paths if (found := _read(path)))


def _read(path: pathlib.Path) -> Picture | None:
    try:
        with Image.open(path, formats=("PNG",)) as image:
            said = [image.info.get(keyword) for keyword in KEYWORDS]
            width, height = image.size
    except (UnidentifiedImageError, OSError):
        return None
    title, shows = said
    if title is None or shows is None:
        return None
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    source = f"data:image/png;base64,{data}"
    return Picture(path.name, title, shows, source, width, height)
