"""Sweeps: an equal budget, choices by validation data, one look at the test."""

import csv
import json
import shutil

import numpy as np
import pytest
from absl.testing import flagsaver

import mtopt
from experiments import evaluate, report, tables
from experiments.common.command import parse_flags
from experiments.common.results_file import read_comparisons
from experiments.common.runner import SINGLE_TASK
from experiments.common.trials import read_trials
from experiments.compare import unit as units
from mtopt.errors import UserError
from tests.helpers.sweeps import TINY, compared_here, files

FLAGS = [*TINY, "--method=cagrad", "--trials=2", "--out=here"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A sweep that has ended; no test may change it."""
    folder = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        assert compared_here(folder, patch, *FLAGS) == 0
    return folder / "here"


@pytest.fixture
def copied(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "here")


def rows(folder):
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_method_has_as_many_trials_and_one_is_chosen(whole):
    found = rows(whole)
    names = [SINGLE_TASK, "fixed_weighting", "cagrad"]
    assert [row["method"] for row in found] == [n for n in names for _ in range(2)]
    for name in names:
        own = [row for row in found if row["method"] == name]
        best = max(own, key=lambda row: float(row["validation"]))
        assert [row["chosen"] for row in own] == ["01"[row is best] for row in own]
    assert len({row["unit"] for row in found}) == len(found)
    assert len([*(whole / "units").iterdir()]) == len(found)


def test_it_ends_with_what_a_run_ends_with(whole, capsys):
    (found,) = read_comparisons(whole)
    assert [method.name for method in found.methods] == ["fixed_weighting", "cagrad"]
    assert found.baseline.name == SINGLE_TASK
    assert "2 trials of every method" in found.protocol[0]
    assert "adam at a tuned learning rate" in found.protocol[0]
    for picture in ("test.png", "curves.png"):
        assert (whole / picture).read_bytes().startswith(b"\x89PNG")
    page = (whole / "report.html").read_text(encoding="utf-8")
    assert "mtopt compare" in page
    assert "cagrad(c=" in page
    assert "mtopt run --resume" not in page
    text = (whole / "table.txt").read_text(encoding="utf-8")
    assert "minus fixed_weighting, seed by seed" in text
    assert "chosen on validation data" in text
    with flagsaver.flagsaver():
        tables.main(parse_flags(["tables", f"--run={whole}"]))
    assert "minus fixed_weighting" in capsys.readouterr().out


def test_its_page_is_written_again_from_its_folder(copied, monkeypatch):
    before = (copied / "report.html").read_bytes()
    (copied / "report.html").unlink()
    monkeypatch.chdir(copied.parent)
    with flagsaver.flagsaver():
        report.main(parse_flags(["report", "--run=here"]))
    assert (copied / "report.html").read_bytes() == before


def test_test_metrics_are_those_of_the_chosen_trial(whole):
    (found,) = read_comparisons(whole)
    for row in found.results:
        (chosen,) = [t for t in read_trials(whole) if t.chosen and t.method == row.name]
        (own,) = units.read_test(whole / "units" / chosen.unit)
        np.testing.assert_array_equal(row.metrics, own.results[0].metrics)
        assert np.isnan(row.seconds_per_step)


def test_the_score_is_that_of_the_chosen_look(whole):
    """On one group of accuracies: the best mean of tasks of the looks."""
    for trial in read_trials(whole)[2:]:
        (own,) = units.read_test(whole / "units" / trial.unit)
        looks = own.methods[0].curves["validation"].mean(axis=2)
        assert trial.validation == pytest.approx(looks.max(axis=1).mean())


def test_the_chosen_models_are_loaded_from_its_folder(whole):
    """Measured again on test data, they have the numbers of the table."""
    (found,) = parts = read_comparisons(whole)
    with flagsaver.flagsaver(data_dir=None):
        score = evaluate._on_split(whole, "test")
        (again,) = evaluate.measured_again(whole, parts, score, "test")
    for one, other in zip(found.results, again.results, strict=True):
        np.testing.assert_allclose(one.metrics, other.metrics)
    assert mtopt.load(whole, method="cagrad", seed=1).tasks == found.task_names


def test_a_second_time_it_prints_the_table_and_writes_nothing(
    whole, copied, monkeypatch, capsys
):
    before = files(copied)
    assert compared_here(copied.parent, monkeypatch, *FLAGS) == 0
    said = capsys.readouterr().out
    assert (whole / "table.txt").read_text(encoding="utf-8").strip() in said
    assert "nothing was left to do" in said
    assert compared_here(copied.parent, monkeypatch, "--resume=here") == 0
    assert files(copied) == before


def test_tuning_reads_no_test_metric(copied, monkeypatch, capsys):
    """Those of trials that were not chosen may be gone, or anything."""
    for row in rows(copied):
        if row["chosen"] == "0":
            (copied / "units" / row["unit"] / "test.json").write_text("no json")
    assert compared_here(copied.parent, monkeypatch, "--resume=here") == 0
    assert "nothing was left to do" in capsys.readouterr().out


def planted(folder, number, **changes):
    """Other outcomes of the trials of one number."""
    for row in rows(folder):
        if row["number"] == str(number):
            path = folder / "units" / row["unit"] / "finished.json"
            stored = json.loads(path.read_text(encoding="utf-8"))
            path.write_text(json.dumps(stored | changes), encoding="utf-8")


def test_the_trial_of_the_best_validation_is_chosen(copied, monkeypatch):
    for number in (1, 2):
        planted(copied, number, scores=[2.0, 2.0])
        planted(copied, 3 - number, scores=[1.0, 2.5])
        assert compared_here(copied.parent, monkeypatch, "--resume=here") == 0
        assert [t.number for t in read_trials(copied) if t.chosen] == [number] * 3


def test_a_trial_that_diverged_is_not_chosen_and_said(copied, monkeypatch, capsys):
    planted(copied, 1, scores=[None, 9.0], notes=["seed 0 diverged"])
    planted(copied, 2, scores=[-3.0, -3.0])
    assert compared_here(copied.parent, monkeypatch, "--resume=here") == 3
    said = capsys.readouterr()
    assert "3 of 6 trials failed or diverged" in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert [t.number for t in read_trials(copied) if t.chosen] == [2] * 3
    assert "failed" in said.out
    assert "seed 0 diverged" in (copied / "report.html").read_text(encoding="utf-8")


def failing(patch):
    """Units that are trained from now on fail; those that were, as they come."""
    tried = []

    def fail(unit, folder, command):
        tried.append((unit.method, unit.trial))
        raise MemoryError("of 1 TB")

    patch.setattr(units, "_trained", fail)
    return tried


def test_more_methods_and_trials_are_added_to_what_is_there(copied, monkeypatch):
    before, tried = files(copied / "units"), failing(monkeypatch)
    more = [*TINY, "--method=mgda", "--trials=3", "--out=here"]
    assert compared_here(copied.parent, monkeypatch, *more) == 3
    old = [SINGLE_TASK, "fixed_weighting", "cagrad"]
    assert tried == [*((name, 3) for name in old), *(("mgda", n) for n in (1, 2, 3))]
    after = files(copied / "units")
    assert {path: after[path] for path in before} == before
    assert [trial.number for trial in read_trials(copied)] == [1, 2, 3] * 4


def test_what_fails_is_written_down_and_the_others_go_on(copied, monkeypatch, capsys):
    for place in (copied / "units").glob("cagrad*"):
        shutil.rmtree(place)
    tried = failing(monkeypatch)
    assert compared_here(copied.parent, monkeypatch, "--resume=here") == 3
    said = capsys.readouterr()
    assert "2 of 6 trials failed or diverged" in said.err
    assert "MemoryError('of 1 TB')" in said.err
    (found,) = read_comparisons(copied)
    fixed, lost = found.methods
    assert np.isfinite(fixed.metrics).all()
    assert np.isnan(lost.metrics).all()
    assert "trial 1 failed: MemoryError('of 1 TB')" in lost.notes[0]
    for log in (copied / "units").glob("cagrad*/log.txt"):
        assert "Traceback" in log.read_text(encoding="utf-8")
    # It is not tried again, unless its folder is deleted.
    assert compared_here(copied.parent, monkeypatch, "--resume=here") == 3
    assert tried == [("cagrad", 1), ("cagrad", 2)]
    shutil.rmtree(next((copied / "units").glob("cagrad*")))
    assert compared_here(copied.parent, monkeypatch, "--resume=here") == 3
    assert len(tried) == 3


def test_without_single_task_models_nothing_is_compared_with_them(
    copied, monkeypatch, capsys
):
    for place in (copied / "units").glob("single*"):
        shutil.rmtree(place)
    failing(monkeypatch)
    assert compared_here(copied.parent, monkeypatch, "--resume=here") == 3
    said = capsys.readouterr()
    assert "single-task models: trial 1 failed" in said.out
    (found,) = read_comparisons(copied)
    assert np.isnan(found.baseline.metrics).all()
    assert all(np.isfinite(method.metrics).all() for method in found.methods)


def test_two_sets_have_a_folder_each(tmp_path, monkeypatch, capsys):
    tried = failing(monkeypatch)
    names = "--experiments=multi_digits,npz"
    small = "--dataset=multi_digits(num_train=64, num_valid=32, num_test=32)"
    flags = ["--method=mgda", "--trials=1", "--out=here", small, names]
    assert compared_here(tmp_path, monkeypatch, *flags) == 2
    assert "no trial of" in (error := capsys.readouterr().err)
    for name in ("multi_digits", "npz"):
        assert f"here/{name} has a number" in error
        assert len([*(tmp_path / "here" / name / "units").iterdir()]) == 3
    assert len(tried) == 6
    assert compared_here(tmp_path, monkeypatch, "--resume=here") == 2
    assert len(tried) == 6


MISUSE = [
    (["--experiments=multi_digit"], "no experiment 'multi_digit': did you mean"),
    (["--experiments=toy"], "toy has a way of its own to train"),
    (["--method=mdga"], "no method 'mdga': did you mean 'mgda'?"),
    (["--config.step=4"], "no field 'step'"),
    (["--config.steps=many"], "many"),
    (["--by=rmse"], "--by=rmse: "),
    (["--out=taken"], "taken is no folder of a sweep"),
    (["--resume=taken"], "no sweep in taken"),
    (["--resume=taken", "--method=mgda"], "drop method"),
]


@pytest.mark.parametrize(("flags", "message"), MISUSE)
def test_misuse_ends_with_one_line_and_leaves_no_file(
    flags, message, tmp_path, monkeypatch, capsys
):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("precious")
    assert compared_here(tmp_path, monkeypatch, *flags) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.txt"]


def test_other_settings_are_refused(copied, monkeypatch, capsys):
    before = files(copied)
    more = "--config.steps=30"
    assert compared_here(copied.parent, monkeypatch, *FLAGS, more) == 2
    assert "with other settings" in capsys.readouterr().err
    assert files(copied) == before


def test_a_unit_that_something_else_wrote_is_named(copied, monkeypatch, capsys):
    place = next((copied / "units").glob("cagrad*"))
    (place / "finished.json").write_text("{}")
    with pytest.raises(UserError, match="delete the folder"):
        units.read_outcome(place)
    assert compared_here(copied.parent, monkeypatch, "--resume=here") == 2
    assert "cannot read" in capsys.readouterr().err
