"""A page as HTML, with all that it needs inside, and nothing else allowed."""

import base64
import hashlib
import pathlib
import re
from typing import Any

import jinja2
from markupsafe import Markup

from .parts import Page

UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What no text shows: control characters, those that turn the direction of what follows
around, and halves of characters."""


def render(page: Page) -> str:
    r"""The page as HTML.

    Every text of it is escaped. A policy in its head forbids to load anything, to run
    another script than the page's own, and to be styled by another sheet.

    Args:
      page: what it shows.

    Example:
      >>> found = render(Page("<b>it</b>", "", "", ("it\x00 is",), (), ()))
      >>> "<h1><bdi>&lt;b&gt;it&lt;/b&gt;</bdi></h1>" in found, "it\ufffd is" in found
      (True, True)
    """
    environment = jinja2.Environment(
        autoescape=True, finalize=_seen, undefined=jinja2.StrictUndefined
    )
    environment.filters["breakable"] = _breakable
    style, script = _file("style.css"), _file("sort.js")
    return environment.from_string(_file("page.html")).render(
        page=page,
        # No text of a run is in these two.
        style=Markup(style),
        script=Markup(script),
        policy=(
            f"default-src 'none'; img-src data:; style-src {_digest(style)}; "
            f"script-src {_digest(script)}; base-uri 'none'; form-action 'none'"
        ),
    )


def _seen(value: Any) -> Any:
    """A text with a sign in place of what is not seen."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return UNSEEN.sub("\ufffd", value)


def _breakable(name: str) -> Markup:
    """A name that may go on in another line behind an underscore."""
    return Markup("_<wbr>").join(_seen(name).split("_"))


def _file(name: str) -> str:
    return pathlib.Path(__file__).with_name(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """How the policy names a script or a sheet within the page."""
    found = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(found).decode()}'"
