"""The notebooks: what their sources say, executed whole, and they run."""

import base64
import io
import os
import re
import subprocess
from importlib import metadata

import jupytext
import nbformat
import numpy as np
import pytest
from PIL import Image

from colabs.execute import PATHS, execute, stored, text_of
from colabs.execute import sources as all_sources
from tests.helpers.repository import ROOT

SOURCES = all_sources()
LARGEST = 400_000  # bytes of a notebook
ALL = 2_000_000

sources = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def outputs_of(notebook):
    return [out for cell in notebook.cells for out in cell.get("outputs", [])]


def pictures_of(notebook):
    pictures = [out.get("data", {}).get("image/png") for out in outputs_of(notebook)]
    return [base64.b64decode(picture) for picture in pictures if picture]


def written(source):
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def test_every_notebook_has_a_source():
    notebooks = sorted((ROOT / "colabs").glob("*.ipynb"))
    assert SOURCES
    assert [path.stem for path in notebooks] == [path.stem for path in SOURCES]


@sources
def test_the_notebook_is_what_its_source_says(source):
    notebook, wanted = written(source), jupytext.read(source)
    nbformat.validate(notebook)
    assert cells(notebook) == cells(wanted), f"run colabs/execute.py {source.stem}"
    assert notebook.metadata == wanted.metadata


@sources
def test_every_cell_of_the_notebook_was_executed_in_order(source):
    code = [cell for cell in written(source).cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1))


@sources
def test_outputs_are_for_any_reader(source):
    notebook = written(source)
    for output in outputs_of(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        assert not PATHS.search(text_of(output))
        # Messages of Python's warnings that a program printed itself.
        assert not re.search(r"Warning:|Traceback", text_of(output))
    for cell in notebook.cells:
        assert "execution" not in cell.metadata  # times


@sources
def test_pictures_are_there_and_show_something(source):
    pictures = pictures_of(written(source))
    assert pictures
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as image:
            assert min(image.size) >= 100
            assert max(image.size) <= 1600
            assert np.asarray(image.convert("L")).std() > 5


def test_notebooks_are_small():
    sizes = {path.stem: path.with_suffix(".ipynb").stat().st_size for path in SOURCES}
    assert max(sizes.values()) <= LARGEST, sizes
    assert sum(sizes.values()) <= ALL, sizes


def notebook_of(*outputs):
    notebook = jupytext.read(SOURCES[0])
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    code.outputs = list(outputs)
    return notebook


@pytest.mark.parametrize(
    "output",
    [
        nbformat.v4.new_output("stream", name="stderr", text="a warning"),
        nbformat.v4.new_output("stream", name="stdout", text="in /home/me/runs"),
        nbformat.v4.new_output("stream", name="stdout", text=r"in C:\Users\me"),
        nbformat.v4.new_output("display_data", data={"text/html": "/tmp/x.py"}),
    ],
)
def test_what_is_not_for_a_reader_is_not_stored(output):
    with pytest.raises(ValueError, match="are not stored"):
        stored(notebook_of(output), SOURCES[0])


def test_what_is_printed_is_stored_word_for_word():
    text = "a ratio of 3/tmp, 1/2; it is 2 µs/step\n"
    output = nbformat.v4.new_output("stream", name="stdout", text=text)
    notebook = nbformat.reads(stored(notebook_of(output), SOURCES[0]), as_version=4)
    assert [text_of(each) for each in outputs_of(notebook)] == [text]


def first_cell(source):
    notebook = jupytext.read(source)
    assert notebook.cells[0].cell_type == "code"
    return notebook.cells[0].source


def test_all_notebooks_install_in_the_same_way():
    assert len({first_cell(source) for source in SOURCES}) == 1


@pytest.fixture
def installed(monkeypatch):
    """What the first cell installs where mtopt is not."""
    commands = []
    monkeypatch.setattr(metadata, "distributions", lambda **_: iter(()))
    monkeypatch.setattr(subprocess, "run", lambda words, **_: commands.append(words))
    return commands


@pytest.mark.parametrize("folder", ["colabs", "..", "colabs/.."])
def test_the_first_cell_installs_from_the_checkout(
    folder, installed, tmp_path, monkeypatch
):
    """In Jupyter from its own folder; in Colab from the one that holds the clone."""
    clone = tmp_path / "content" / "mtopt"
    (clone / "colabs").mkdir(parents=True)
    (clone / "mtopt").mkdir()
    (clone / "mtopt" / "chain.py").touch()
    monkeypatch.chdir(clone / folder)
    exec(first_cell(SOURCES[0]), {})
    assert [words[-1] for words in installed] == [f"{clone}[tables]"]


def test_the_first_cell_says_that_there_is_no_checkout(
    installed, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="clone it first"):
        exec(first_cell(SOURCES[0]), {})
    assert not installed


def test_the_first_cell_installs_nothing_over_what_is_installed(monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("installed"))
    exec(first_cell(SOURCES[0]), {})


# A notebook is a process of its own that compiles all it shows: CI runs every one.
@pytest.mark.slow
@sources
def test_the_notebook_runs(source, tmp_path):
    # The package and the programs of this very tree, whichever is installed.
    (tmp_path / "mtopt_experiments").symlink_to(ROOT / "experiments")
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    notebook = execute(source, {"PYTHONPATH": path, "MTOPT_FAST": "1"})
    assert pictures_of(notebook)
    stored(notebook, source)  # nothing that may not be
