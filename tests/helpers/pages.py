"""The pages of the documentation, and how their code is run."""

import pathlib
import re
from typing import Any

import jax

from tests.helpers.repository import ROOT

DOCS = ROOT / "docs"
WRITTEN = DOCS / "methods.md"  # each time the site is built
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(set(DOCS.glob("*.md")) - {WRITTEN}),
)
RECORDS = (
    ROOT / "BUILD_NOTES.md",
    *sorted(set(DOCS.glob("decisions/*.md")) - {DOCS / "decisions" / "index.md"}),
    *sorted(set(DOCS.glob("results/*.md")) - {DOCS / "results" / "index.md"}),
)


def blocks(path: pathlib.Path, language: str) -> list[str]:
    """The code blocks of a page in one language, from top to bottom."""
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def run(path: pathlib.Path, first: int | None = None) -> dict[str, Any]:
    """Runs the Python of a page from top to bottom, and returns its names.

    Args:
      path: the page.
      first: how many of its blocks, from the top; None for all.
    """
    scope: dict[str, Any] = {}
    # Users write bias additions and the like with broadcasting; only our own code is
    # held to equal ranks.
    with jax.numpy_rank_promotion("allow"):
        for number, block in enumerate(blocks(path, "python")[:first]):
            exec(compile(block, f"{path.name}, block {number + 1}", "exec"), scope)
    return scope
