"""The notebooks: generated from their sources, without outputs, and they run."""

import json
import sys

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from tests.helpers.repository import ROOT

COLABS = ROOT / "colabs"
SOURCES = sorted(COLABS.glob("*.py"))

sources = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_every_notebook_has_a_source():
    notebooks = sorted(COLABS.glob("*.ipynb"))
    assert SOURCES
    assert [path.stem for path in notebooks] == [path.stem for path in SOURCES]


@sources
def test_the_notebook_is_what_its_source_says(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    written = jupytext.read(source)
    assert cells(notebook) == cells(written), f"run jupytext --to ipynb on {source}"
    assert notebook.metadata["kernelspec"] == written.metadata["kernelspec"]


@sources
def test_the_notebook_holds_no_outputs(source):
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


# A notebook is a process of its own that compiles all it shows: CI runs every one.
@pytest.mark.slow
@sources
def test_the_notebook_runs(source, tmp_path, monkeypatch):
    # A kernel of this very Python: one that is installed elsewhere may be another.
    kernel = tmp_path / "kernels" / "here" / "kernel.json"
    kernel.parent.mkdir(parents=True)
    launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(
        json.dumps({"argv": launch, "display_name": "here", "language": "python"})
    )
    for name, value in {
        "JUPYTER_PATH": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "PYTHONPATH": str(ROOT),
        "MTOPT_FAST": "1",
    }.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    folder = {"metadata": {"path": str(tmp_path)}}
    # No cell is late on a busy machine: a limit only ends one that hangs.
    NotebookClient(
        notebook, kernel_name="here", timeout=1800, resources=folder
    ).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert any("image/png" in out.get("data", {}) for out in outputs)
