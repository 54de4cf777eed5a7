"""Where files go that can be made again."""

import os
import pathlib


def cache_folder() -> pathlib.Path:
    """``$MTOPT_CACHE``; without it ``mtopt`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if own := os.environ.get("MTOPT_CACHE"):
        return pathlib.Path(own).expanduser()
    everyones = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(everyones).expanduser() / "mtopt"
