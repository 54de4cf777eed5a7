"""The command that writes the table of finished runs again."""

import sys

import numpy as np
import pytest
from absl.testing import flagsaver

from experiments import tables
from experiments.common.command import parse_flags
from experiments.common.results import Comparison, MethodResult
from experiments.common.results_file import to_plain
from experiments.common.table import table
from mtopt.training.writer import write_json


def stored(folder, *names, tasks=("a", "b"), seeds=(0, 1, 2)):
    """A finished run of some methods; its folder and what is in it."""
    rng = np.random.default_rng(len(names))
    methods = [
        MethodResult(name, rng.uniform(size=(len(seeds), 2, 1)), {}, seeds=seeds)
        for name in names
    ]
    whole = Comparison("it", tasks, ("accuracy",), (True,), None, methods)
    folder.mkdir()
    write_json(folder / "results.json", to_plain([whole]))
    return whole


def printed(monkeypatch, capsys, *flags):
    """The exit status of the command in this process, and what it said."""
    argv = ["tables", *flags]
    monkeypatch.setattr(sys, "argv", argv)
    with flagsaver.flagsaver():
        status = 0
        try:
            tables.main(parse_flags(argv))
        except SystemExit as stop:
            status = stop.code
    return status, *capsys.readouterr()


@pytest.fixture
def said(monkeypatch, capsys):
    return lambda *flags: printed(monkeypatch, capsys, *flags)


def test_the_table_of_a_run_is_that_of_its_end(tmp_path, said):
    whole = stored(tmp_path / "one", "equal_weighting", "mgda")
    status, out, _ = said(f"--run={tmp_path / 'one'}")
    assert status == 0
    assert out.startswith(table(whole))
    assert "minus equal_weighting, seed by seed" in out
    _, out, _ = said(f"--run={tmp_path / 'one'}", "--against=mgda")
    assert "minus mgda" in out
    assert "minus equal_weighting" not in out


def test_runs_are_put_together_and_written_to_a_file(tmp_path, said):
    stored(tmp_path / "one", "mgda", "cagrad", "upgrad")
    stored(tmp_path / "two", "mgda", "famo", seeds=(3, 4))
    runs = [f"--run={tmp_path / name}" for name in ("one", "two")]
    path = tmp_path / "it.csv"
    status, out, _ = said(*runs, "--format=csv", f"--out={path}")
    assert (status, out) == (0, f"table    {path}\n")
    rows = [line.split(",") for line in path.read_text().splitlines()]
    assert len(rows) == 1 + 2 * (5 + 3 + 3 + 2)
    assert {row[3] for row in rows if row[2] == "mgda"} == set("01234")
    for form, sign in (("latex", r"\toprule"), ("markdown", "|---|---:|")):
        _, out, _ = said(*runs, f"--format={form}")
        assert sign in out


def test_what_cannot_be_done_is_one_clear_line(tmp_path, said):
    stored(tmp_path / "one", "mgda", "famo")
    stored(tmp_path / "two", "mgda", tasks=("a", "c"))
    one, two = (f"--run={tmp_path / name}" for name in ("one", "two"))
    for flags, message in {
        (): "no --run: expected --run=FOLDER",
        ("--run=nowhere",): "no comparison in nowhere: FileNotFoundError; expected",
        (one, two): "the runs differ in tasks: ('a', 'b') and ('a', 'c'); expected",
        (one, one): "'mgda' was run with seed 0 in two of the runs; expected",
        (one, "--against=fam"): "no method 'fam' was compared: ",
        (one, "--out=no/where.md"): "no folder no: expected one for --out=no/where.md",
    }.items():
        status, out, err = said(*flags)
        assert (status, out) == (2, "")
        assert message in err
        assert err.count("\n") == 1


def test_an_unfinished_file_is_not_taken_for_a_run(tmp_path, said):
    stored(tmp_path / "one", "mgda")
    text = (tmp_path / "one/results.json").read_text()
    (tmp_path / "one/results.json").write_text(text[: len(text) // 2])
    status, _, err = said(f"--run={tmp_path / 'one'}")
    assert status == 2
    assert "JSONDecodeError" in err
