"""Where the repository stands."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]
