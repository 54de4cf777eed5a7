"""Executes notebooks, and stores them with what they print and show.

    python colabs/execute.py            every notebook, about half an hour on two cores
    python colabs/execute.py NAME ...   those named
    python colabs/execute.py --text     with new text around the code as it was executed

NAME is a file of this folder, ``quickstart`` for ``quickstart.py``. The source is the
``.py``; its ``.ipynb`` is written anew, with the outputs and nothing else of the run:
no times, no paths, no names of machines. What prints to the standard error, or an
address of a file, is refused: a reader should not find it in a notebook.
"""

import base64
import io
import json
import os
import pathlib
import re
import sys
import tempfile

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image, ImageChops

COLABS = pathlib.Path(__file__).parent
# A folder of somebody's machine, as in a traceback or a message about a file.
PATHS = re.compile(r"(?<![\w.])/(?:home|tmp|work|root|Users|var|opt|usr)/|\b[A-Z]:\\")


VISIBLE = 40  # of 255: how far a channel of a pixel may move unseen at an edge


def sources() -> list[pathlib.Path]:
    """The notebooks' sources, sorted by name."""
    return sorted(set(COLABS.glob("*.py")) - {COLABS / "execute.py"})


def execute(source: pathlib.Path, environment: dict[str, str]) -> nbformat.NotebookNode:
    """The notebook of a source, run in an empty folder and a kernel of this Python.

    Args:
        source: The notebook in jupytext's percent format.
        environment: Variables of the kernel beside those of this process.

    Returns:
        The notebook with its outputs, as they came.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell raised an error.
    """
    notebook = jupytext.read(source)
    with tempfile.TemporaryDirectory() as folder:
        # A kernel of this very Python: one that is installed elsewhere may be another.
        kernel = pathlib.Path(folder) / "jupyter" / "kernels" / "here"
        kernel.mkdir(parents=True)
        launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        launch.append("--log-level=ERROR")  # says that it listens on this machine
        spec = {"argv": launch, "display_name": "here", "language": "python"}
        (kernel / "kernel.json").write_text(json.dumps(spec))
        empty = pathlib.Path(folder) / "empty"
        empty.mkdir()
        own = {
            "JUPYTER_PATH": str(kernel.parents[1]),
            "JUPYTER_RUNTIME_DIR": f"{folder}/runtime",
            "IPYTHONDIR": f"{folder}/ipython",
        }
        before = dict(os.environ)
        os.environ.update(own | environment)
        try:
            # No cell is late on a busy machine: a limit only ends one that hangs.
            NotebookClient(
                notebook,
                kernel_name="here",
                timeout=7200,
                record_timing=False,
                coalesce_streams=True,
                resources={"metadata": {"path": str(empty)}},
            ).execute()
        finally:
            os.environ.clear()
            os.environ.update(before)
    return notebook


def stored(notebook: nbformat.NotebookNode, source: pathlib.Path) -> str:
    """The text of the ``.ipynb``: the source's cells with the run's outputs.

    Args:
        notebook: What `execute` returned.
        source: Its source, whose metadata the file has.

    Returns:
        The notebook as JSON; pictures with a palette, cells counted instead of named at
        random, so that a cell that did not change is the same text.

    Raises:
        ValueError: Something was printed to the standard error, or names a path.
    """
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        for output in cell.get("outputs", []):
            text = text_of(output)
            if output.get("name") == "stderr" or PATHS.search(text):
                raise ValueError(
                    f"{source.name}, cell {number}: warnings, errors and paths are"
                    f" not stored, found {text[:300]!r}"
                )
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = small(output["data"]["image/png"])
                output["data"].pop("text/plain", None)
    notebook.metadata = jupytext.read(source).metadata
    return nbformat.writes(notebook) + "\n"


def text_of(output: nbformat.NotebookNode) -> str:
    """All that an output says in words, whatever its form."""
    forms = output.get("data", {}).items()
    texts = [words for kind, words in forms if kind.startswith("text/")]
    return "".join([output.get("text", ""), *texts])


def small(picture: str) -> str:
    """A PNG in base64 with a palette, where no pixel is visibly another than before."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        full = Image.new("RGB", image.size, "white")
        full.paste(image, mask=image.getchannel("A") if image.mode == "RGBA" else None)
    few = full.quantize(256, dither=Image.Dither.NONE)
    apart = ImageChops.difference(full, few.convert("RGB")).getextrema()
    same = max(largest for _, largest in apart) <= VISIBLE
    out = io.BytesIO()
    (few if same else full).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def with_new_text(source: pathlib.Path) -> nbformat.NotebookNode:
    """The source, with the outputs that its notebook has of the same code.

    Raises:
        ValueError: The code is another now.
    """
    notebook = jupytext.read(source)
    before = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    code, known = (
        [cell for cell in each.cells if cell.cell_type == "code"]
        for each in (notebook, before)
    )
    if [cell.source for cell in code] != [cell.source for cell in known]:
        raise ValueError(f"{source.name}: its code is not what was executed")
    for cell, old in zip(code, known, strict=True):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    return notebook


def main(arguments: list[str]) -> None:
    """Executes the notebooks that the arguments name, all of them if there are none."""
    names = [word for word in arguments if word != "--text"]
    known = {source.stem: source for source in sources()}
    unknown = sorted(set(names) - set(known))
    if unknown:
        sys.exit(f"no notebook {unknown[0]!r}: expected one of {', '.join(known)}")
    for name in names or known:
        source, target = known[name], known[name].with_suffix(".ipynb")
        if "--text" in arguments:
            notebook = with_new_text(source)
        else:
            notebook = execute(source, {"JAX_PLATFORMS": "cpu"})
        target.write_text(stored(notebook, source), encoding="utf-8")
        print(f"{target.name}: {target.stat().st_size // 1000} kB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
