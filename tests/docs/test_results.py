"""Measured results: kept by a program, with their command, and shown on a page."""

import importlib.util
import re

import pytest

from tests.helpers.pages import DOCS

MEASURED = sorted((DOCS / "results" / "measured").glob("*.txt"))
each = pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)


@each
def test_a_result_has_its_command_and_a_page(path):
    command, when, blank, *table = path.read_text(encoding="utf-8").splitlines()
    module = re.match(r"\$ (?:taskset -c 1 )?python -m (experiments\.\w+)", command)
    assert module
    assert importlib.util.find_spec(module[1])
    assert re.match(r"\d{4}-\d\d-\d\d, \d+ s on \d+ cores: jax ", when)
    assert not blank
    assert len(table) > 2
    pages = [page.read_text(encoding="utf-8") for page in DOCS.glob("results/*.md")]
    assert sum(f"measured/{path.name}" in page for page in pages) == 1


@pytest.fixture
def measure(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("measure", DOCS / "measure.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "MEASURED", tmp_path)
    monkeypatch.setenv("MTOPT_DATA_DIR", "/some/folder")
    return module


def test_what_a_command_prints_is_kept_without_the_places_of_files(measure, tmp_path):
    printed = r"print('it: writing to x\n\n7 of DIR\npicture  x/y.png')"
    command = f'python -c "{printed}"'
    measure.measure(command, "it")
    kept = (tmp_path / "it.txt").read_text(encoding="utf-8").splitlines()
    assert kept[0] == f"$ {command}"
    assert kept[2:] == ["", "7 of DIR"]
    assert measure.stored_command("it") == command


def test_a_command_that_fails_keeps_what_was_measured_before(measure, tmp_path):
    (tmp_path / "it.txt").write_text("$ before\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="exit status 2"):
        measure.measure("python -c 'raise SystemExit(2)'", "it")
    assert measure.stored_command("it") == "before"
    with pytest.raises(SystemExit, match="expected one of it"):
        measure.stored_command("other")
