"""How the site is built: ``python -m sphinx -W -b html docs docs/_build``."""

import pathlib
import sys

DOCS = pathlib.Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "extensions")]

import mtopt  # noqa: E402

project = "mtopt"
author = "The mtopt authors"
copyright = author
release = mtopt.__version__

extensions = [
    "api_pages",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

# A name that a docstring refers to exists. Annotations name other libraries' types.
nitpicky = True
nitpick_ignore_regex = [("py:class", ".*")]

html_theme = "furo"
html_title = "mtopt"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 80

napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_custom_sections = [
    "Differences from released code",
    "Differences from the paper",
    "Differences from the released code",
    "Differences from torchvision",
    "Source",
]
