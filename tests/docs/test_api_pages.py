"""The pages of the API: every public name once, every method with a page of its own."""

import importlib.util
import re

import pytest

import mtopt
from tests.helpers.pages import DOCS

spec = importlib.util.spec_from_file_location(
    "api_pages", DOCS / "extensions" / "api_pages.py"
)
api_pages = importlib.util.module_from_spec(spec)
spec.loader.exec_module(api_pages)


@pytest.fixture
def pages(tmp_path):
    """Writes the pages, and returns name to text."""

    def write():
        api_pages.write(tmp_path)
        found = [*tmp_path.rglob("*.rst"), *tmp_path.rglob("*.md")]
        return {
            str(path.relative_to(tmp_path)): path.read_text(encoding="utf-8")
            for path in found
        }

    return write


def test_every_public_name_stands_on_one_page(pages):
    found = re.findall(
        r"^\.\. auto(?:function|class|data):: (\S+)", "".join(pages().values()), re.M
    )
    assert len(found) == len(set(found))
    names = {entry.rpartition(":")[2] for entry in found}
    exported = [name for name, value in vars(mtopt).items() if callable(value)]
    assert [name for name in exported if name not in names] == []
    for entry in ("mtopt.solvers::min_norm_weights", "mtopt.boosting::fit"):
        assert entry in found


def test_a_room_has_its_page(pages):
    found = pages()
    for room in ("analysis", "boosting", "data", "metrics", "models", "solvers"):
        assert f"mtopt.{room}" in found["api/index.rst"]
        assert f".. automodule:: mtopt.{room}\n" in found[f"api/mtopt.{room}.rst"]


def test_a_wrapper_stands_with_the_wrappers(pages):
    assert ".. autofunction:: mtopt::flat_regions" in pages()["api/mtopt.wrappers.rst"]


def test_a_new_method_has_a_page_and_an_old_one_is_gone(pages, monkeypatch):
    assert "api/methods/catch_up.rst" not in pages()

    def catch_up(num_tasks):
        return mtopt.equal_weighting(num_tasks)

    others = {name: mtopt.METHODS[name] for name in mtopt.METHODS if name != "mgda"}
    monkeypatch.setattr(mtopt, "METHODS", {**others, "catch_up": catch_up})
    monkeypatch.setattr(mtopt, "catch_up", catch_up, raising=False)
    found = pages()
    assert ".. autofunction:: mtopt::catch_up" in found["api/methods/catch_up.rst"]
    assert "api/methods/catch_up" in found["methods.md"]
    assert "api/methods/mgda.rst" not in found
