"""The suite: sets at a budget, resumed, missing ones named, one table over all."""

import csv

import pytest

from experiments import suite
from experiments.common.config import Config, Optimizer
from experiments.common.paired import TUNED_WEIGHTS
from experiments.common.stored_sweep import write_sweep
from experiments.compare import suite_sets
from experiments.compare.plan import plan
from experiments.compare.suite_sets import SUITE, Member, named_sets, sweep_of
from experiments.compare.unit import read_cpu_seconds
from tests.helpers.sweeps import files, run_here

FIELDS = {
    "model": "mlp(hidden=(8,))",
    "steps": 20,
    "batch_size": 32,
    "eval_every": 10,
    "log_every": 10,
    "optimizer": Optimizer(learning_rate=0.03),
}
DIGITS = "multi_digits(num_train=128, num_valid=64, num_test=64{})"
PLANTED = {
    "digits": Member("image", "multi_digits", {**FIELDS, "data": DIGITS.format("")}),
    "others": Member(
        "image", "multi_digits", {**FIELDS, "data": DIGITS.format(", seed=1")}
    ),
    "absent": Member("table", "npz", {**FIELDS, "data": "npz(path='absent.npz')"}),
    "project": Member("toy", "toy", {"methods": ("equal_weighting",), "steps": 10}),
}


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    """Three tiny sets, of which one has no file, and two methods."""
    monkeypatch.setattr(suite_sets, "SUITE", PLANTED)
    monkeypatch.setattr(suite_sets, "GROUPS", ("image", "table", "toy"))
    monkeypatch.setattr(suite_sets, "METHODS", (TUNED_WEIGHTS, "equal_weighting"))
    monkeypatch.setattr(suite_sets, "SEEDS", (0, 1))
    monkeypatch.setattr(suite_sets, "TRIALS", 1)


def run(folder, patch, *flags):
    """The command in this process; its exit status."""
    argv = ["suite", "--out=here", f"--data_dir={folder}", *flags]
    return run_here(suite, argv, folder, patch)


def rows(folder):
    with (folder / "suite.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_parts_end_in_one_table_and_a_second_run_does_nothing(
    tmp_path, monkeypatch, capsys
):
    here = tmp_path / "here"
    assert run(tmp_path, monkeypatch, "--sets=digits") == 0
    said = capsys.readouterr().out
    assert "others: not run in this folder yet" in said
    assert {row["set"] for row in rows(here)} == {"digits"}
    first = files(here / "digits")
    assert run(tmp_path, monkeypatch) == 0
    said = capsys.readouterr().out
    assert (here / "project" / "table.txt").read_text(encoding="utf-8").strip() in said
    assert "project: not tuned; 0." in said
    assert f"absent: left out: no file {tmp_path}/absent.npz" in said
    assert "Left out, absent: no file" in " ".join(said.split())
    assert files(here / "digits") == first
    units = [path.parent for path in here.glob("*/units/*/finished.json")]
    assert len(units) == 2 * 3
    assert min(map(read_cpu_seconds, units)) > 0
    found = rows(here)
    assert len(found) == 2 * 2  # single-task models and equal weighting, each twice
    assert {row["set"] for row in found} == {"digits", "others"}
    assert all(row["seeds"] == "2" for row in found)
    for name in ("gains.png", "report.html", "table.txt"):
        assert (here / name).stat().st_size > 0
    before = files(here)
    assert run(tmp_path, monkeypatch) == 0
    said = capsys.readouterr().out
    assert "nothing was left to do" in said
    assert (here / "table.txt").read_text(encoding="utf-8").strip() in said
    assert files(here) == before


def test_a_project_alone_has_its_own_table(tmp_path, monkeypatch, capsys):
    assert run(tmp_path, monkeypatch, "--sets=toy") == 0
    said = capsys.readouterr().out
    assert "project: not tuned" in said
    assert "Left out, digits: not run" in said
    assert not (tmp_path / "here" / "suite.csv").exists()
    monkeypatch.setitem(PLANTED["project"].fields, "steps", 20)
    assert run(tmp_path, monkeypatch, "--sets=toy") == 2
    assert "with other settings" in capsys.readouterr().err


def test_other_settings_in_the_folder_are_refused(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "here" / "digits"
    sweep = sweep_of("digits", tmp_path)
    sweep.run.config.steps = 30
    write_sweep(folder, sweep)
    assert run(tmp_path, monkeypatch, "--sets=digits") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "with other settings" in line


MISUSE = [
    (["--sets=digit"], "--sets=digit: did you mean 'digits'?"),
    (["--sets=table"], "has no set that is finished (absent: no file"),
    (["--resume=here"], "--resume: the suite has its own methods"),
    (["--method=mgda"], "--method: the suite has its own methods"),
    (["--jobs=0"], "jobs"),
]


@pytest.mark.parametrize(("flags", "message"), MISUSE)
def test_misuse_ends_with_one_line(flags, message, tmp_path, monkeypatch, capsys):
    assert run(tmp_path, monkeypatch, *flags) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_names_and_groups_stand_for_sets_in_order():
    assert named_sets([]) == [*PLANTED]
    assert named_sets(["absent", "image"]) == ["digits", "others", "absent"]
    assert named_sets(["others"]) == ["others"]


SWEEPS = [name for name, member in SUITE.items() if not member.is_project]


@pytest.mark.parametrize("name", SWEEPS)
def test_every_set_of_the_suite_is_an_experiment_that_compares(name, monkeypatch):
    monkeypatch.undo()
    sweep = sweep_of(name, None)
    assert type(sweep.run.config) is Config
    sweep.run.config.check()
    assert sweep.trials == 5
    assert sweep.run.config.seeds == (0, 1, 2)
    assert sweep.run.config.methods[0] == TUNED_WEIGHTS


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPS)
def test_every_set_of_the_suite_can_be_planned(name, data_dir, monkeypatch):
    monkeypatch.undo()
    found = plan(sweep_of(name, data_dir))
    assert sum(map(len, found.units.values())) == 55
