"""Predictions of a finished run for new rows, as a table.

``python -m experiments.predict --run=RUN --method=mgda --data=new.csv
--out=predictions.csv``, or ``mtopt predict``. The file is of the kind that the run was
trained on: CSV, TSV or Parquet with the columns of its inputs, an ``.npz`` file with
its arrays, a ``.npy`` array of images. What comes out has a row for each of its rows,
and a column for each task, with the probabilities of its classes beside it; where a
row belongs to one task, its number, the task, and what is predicted for it. Labels of
pixels are arrays: ``--out=predictions.npz`` has one a task, whatever the model.
"""

import csv
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

import mtopt
from mtopt.errors import UserError
from mtopt.pixels import PIXELS
from mtopt.trained.model import TrainedModel

from .common.command import command, start
from .common.places import DATA, METHOD, OUT, RUN, SEED, finished_run
from .common.raw_file import read_raw

ARRAYS = ".npz"
for _flag in (RUN, METHOD, SEED, DATA, OUT):
    flags.declare_key_flag(_flag.name)


@command
def main(argv: list[str]) -> None:
    """Loads the model, then the rows, and writes what it predicts."""
    del argv
    run = finished_run()
    if DATA.value is None:
        raise UserError("no --data: expected --data=FILE, a file of new rows")
    model = mtopt.load(run, method=_method(), seed=SEED.value)
    of_pixels = any(group.kind in PIXELS for group in model.description.groups)
    out = pathlib.Path(OUT.value or ("predictions" + (ARRAYS if of_pixels else ".csv")))
    if out.exists():
        raise UserError(f"{out} exists already: name another --out")
    if of_pixels and out.suffix != ARRAYS:
        raise UserError(f"--out={out}: labels of pixels are arrays: expected {ARRAYS}")
    raw = read_raw(pathlib.Path(DATA.value), model)
    if out.suffix == ARRAYS:
        found = model.predict(raw)
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("xb") as file:
            np.savez(file, **found)
        print(f"{len(next(iter(found.values())))} rows  {out}")
        return
    table = shared_table(model, raw) if model.shared else task_table(model, raw)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("x", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)
    print(f"{len(table) - 1} rows  {out}")


def _method() -> str | None:
    """The one that ``--method`` names, if it does."""
    first, *others = METHOD.value or [None]
    if others:
        raise UserError(f"--method names {1 + len(others)}: expected one")
    return first


def shared_table(model: TrainedModel, raw: Any) -> list[list[str]]:
    """Head and rows: a column for each task, and for each of its classes.

    Args:
      model: whose tasks are all predicted for every row.
      raw: the rows.
    """
    probabilities = model.predict_proba(raw)
    columns: list[tuple[str, list[str]]] = []
    for task, found in model.predict(raw).items():
        columns.append((task, _cells(found)))
        for c, name in enumerate(model.class_names(task)):
            columns.append((f"{task}: {name}", _cells(probabilities[task][..., c])))
    head, cells = zip(*columns, strict=True)
    return [_head(head), *map(list, zip(*cells, strict=True))]


def task_table(model: TrainedModel, raw: Any) -> list[list[str]]:
    """Head and rows of a model whose tasks have rows of their own, by row and task.

    Args:
      model: of such tasks.
      raw: the rows, which say what task each is of.
    """
    found, probabilities = model.predict(raw), model.predict_proba(raw)
    named = {task: model.class_names(task) for task in found}
    classes = list(dict.fromkeys(name for names in named.values() for name in names))
    lines = []
    for task, rows in model.rows_of(raw).items():
        labels = _cells(found[task])
        for i, row in enumerate(rows.tolist()):
            own = _cells(probabilities[task][i]) if named[task] else []
            beside = dict(zip(named[task], own, strict=True))
            cells = [task, labels[i], *(beside.get(name, "") for name in classes)]
            lines.append((row, cells))
    lines.sort(key=lambda line: line[0])
    head = _head(["row", "task", "prediction", *classes])
    return [head, *([str(row), *cells] for row, cells in lines)]


def _head(names: Sequence[str]) -> list[str]:
    """The names of all columns.

    Raises:
      UserError: where two are the same.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(
            f"two columns of predictions would be called {twice[0]!r}: expected names "
            "of tasks and classes that differ; mtopt.load(...).predict takes any"
        )
    return list(names)


def _cells(values: np.ndarray) -> list[str]:
    """Values as text, from which the same ones are read again."""
    return [str(value) for value in np.asarray(values)]


if __name__ == "__main__":
    start(main)
