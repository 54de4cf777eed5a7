"""What a finished run is good for: predictions, other measurements, more steps."""

import csv
import json
import sys

import numpy as np
import pandas as pd
import pytest
from absl.testing import flagsaver

import mtopt
from experiments import evaluate, predict
from tests.helpers.commands import SMALL, run_here
from tests.helpers.frames import PART, planted

TABLE = "table(path='rows.csv', tasks=('size', 'shape', 'lit'), split='part')"
FLAGS = [
    "--experiment=table",
    f"--config.data={TABLE}",
    "--config.model=mlp(hidden=(6,))",
    "--config.steps=8",
    "--config.batch_size=8",
    "--config.eval_every=4",
    "--config.log_every=4",
    "--config.checkpoint_every=4",
    "--config.seeds=(0, 1)",
    "--method=mgda",
    "--method=equal_weighting",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run on a table, whose file is gone afterwards but for a copy."""
    folder = tmp_path_factory.mktemp("after")
    planted().to_csv(folder / "rows.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        run_here(folder, patch, *FLAGS, "--out=run")
    return folder


def call(program, patch, folder, **flags):
    patch.chdir(folder)
    patch.setattr(sys, "argv", [program.__name__])
    given = {"run": ["run"], "method": None, "seed": None, "data": None, "out": None}
    with flagsaver.flagsaver(data_dir=None, **(given | flags)):
        program.main([program.__name__])


def test_predictions_are_a_table_of_the_tasks_and_their_classes(folder, monkeypatch):
    rows = planted().drop(columns=["size", "shape", "lit", "part"]).iloc[:10]
    rows.to_csv(folder / "new.csv", index=False)
    call(predict, monkeypatch, folder, method=["mgda"], seed=1, data="new.csv")
    with (folder / "predictions.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    shapes = ["flat", "long", "round"]
    probabilities = [f"shape: {name}" for name in shapes]
    lit = ["lit", "lit: False", "lit: True"]
    assert list(found[0]) == [*lit, "shape", *probabilities, "size"]
    assert len(found) == 10
    model = mtopt.load(folder / "run", method="mgda", seed=1)
    expected = model.predict(rows)
    assert [float(row["size"]) for row in found] == expected["size"].tolist()
    assert [row["shape"] for row in found] == expected["shape"].tolist()
    sure = [[float(row[name]) for name in probabilities] for row in found]
    np.testing.assert_allclose(sure, model.predict_proba(rows)["shape"], rtol=1e-6)


def test_a_table_of_predictions_is_not_written_over(folder, monkeypatch, capsys):
    planted().to_csv(folder / "new.csv", index=False)
    (folder / "mine.csv").write_text("kept")
    wrong = {
        "exists already": {"method": ["mgda"], "data": "new.csv", "out": "mine.csv"},
        "no --data": {"method": ["mgda"], "out": "a.csv"},
        "no file none.csv": {"method": ["mgda"], "data": "none.csv", "out": "a.csv"},
        "several methods": {"data": "new.csv", "out": "a.csv"},
        "no --run": {"run": None, "data": "new.csv", "out": "a.csv"},
        "no trained models in": {"run": ["."], "data": "new.csv", "out": "a.csv"},
        "ends in '.json'": {
            "method": ["mgda"],
            "data": "run/config.json",
            "out": "a.csv",
        },
    }
    for message, flags in wrong.items():
        with pytest.raises(SystemExit) as stop:
            call(predict, monkeypatch, folder, **flags)
        assert stop.value.code == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert (folder / "mine.csv").read_text() == "kept"
    assert not (folder / "a.csv").exists()


def test_rows_of_a_task_each_are_predicted_for_it(tmp_path, monkeypatch):
    rows = planted(site=np.array(["b", "a"])[np.arange(40) % 2])
    rows.to_csv(tmp_path / "rows.csv", index=False)
    text = "table(path='rows.csv', tasks=('shape',), task='site', features=('length',))"
    run_here(tmp_path, monkeypatch, *FLAGS, f"--config.data={text}", "--out=run")
    rows.iloc[[3, 0, 5]].to_csv(tmp_path / "new.csv", index=False)
    call(predict, monkeypatch, tmp_path, method=["mgda"], data="new.csv")
    found = pd.read_csv(tmp_path / "predictions.csv")
    assert list(found) == ["row", "task", "prediction", "flat", "long", "round"]
    assert found["row"].tolist() == [0, 1, 2]
    assert found["task"].tolist() == ["a", "b", "a"]
    np.testing.assert_allclose(found[["flat", "long", "round"]].sum(axis=1), 1, 1e-5)


def numbers_of(text, method):
    """The first numbers of the rows of a method."""
    lines = [line.split() for line in text.splitlines() if line.startswith(method)]
    return [float(line[1].rstrip("*")) for line in lines]


def test_other_parts_and_files_are_measured_as_the_test_was(
    folder, monkeypatch, capsys
):
    call(evaluate, monkeypatch, folder, split=None)
    whole = capsys.readouterr().out
    assert "run" not in whole.split("\n")[0]
    stored = json.loads((folder / "run" / "results.json").read_text())
    expected = [
        np.array(each["test"])[..., 0].mean()
        for group in stored["groups"]
        for each in group["methods"]
        if each["name"] == "mgda"
    ]
    found = numbers_of(whole, "mgda")
    for value, near in zip(found, expected, strict=False):
        assert value == pytest.approx(near, abs=2e-3)
    planted()[PART == "test"].to_csv(folder / "labelled.csv", index=False)
    call(evaluate, monkeypatch, folder, split=None, data="labelled.csv")
    of_file = capsys.readouterr().out
    assert "labelled.csv rmse" in of_file
    assert numbers_of(of_file, "mgda") == found
    call(evaluate, monkeypatch, folder, split="valid")
    assert "valid accuracy" in capsys.readouterr().out
    for message, flags in {
        "expected one": {"split": "valid", "data": "labelled.csv"},
        "no labels of shape": {"split": None, "data": "half.csv"},
    }.items():
        planted().drop(columns="shape").to_csv(folder / "half.csv", index=False)
        with pytest.raises(SystemExit):
            call(evaluate, monkeypatch, folder, **flags)
        assert message in capsys.readouterr().err


def test_a_finished_run_takes_more_steps_as_if_it_had_been_told_at_once(
    tmp_path, monkeypatch, capsys
):
    flags = [*SMALL, "--method=mgda", "--config.single_task=true"]
    run_here(tmp_path, monkeypatch, *flags, "--out=once")
    shorter = [flag for flag in flags if not flag.startswith("--config.steps=")]
    run_here(tmp_path, monkeypatch, *shorter, "--config.steps=40", "--out=twice")
    before = (tmp_path / "twice" / "mgda" / "seed-0-1" / "metrics.jsonl").read_text()
    with pytest.raises(SystemExit):
        run_here(tmp_path, monkeypatch, "--resume=twice", "--config.steps=20")
    assert "expected as many or more" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run_here(tmp_path, monkeypatch, "--resume=twice", "--config.seeds=(3,)")
    assert "drop --config.seeds" in capsys.readouterr().err
    run_here(tmp_path, monkeypatch, "--resume=twice", "--config.steps=60")
    once, twice = tmp_path / "once", tmp_path / "twice"
    for place in once.glob("*/seed-0-1"):
        other = twice / place.relative_to(once)
        # Parameters of the chosen models, scores and curves.
        for name in ("models.safetensors", "result.json"):
            assert (place / name).read_bytes() == (other / name).read_bytes(), name
    after = (twice / "mgda" / "seed-0-1" / "metrics.jsonl").read_text()
    assert len(after.splitlines()) > len(before.splitlines())
    assert json.loads((twice / "config.json").read_text())["config"]["steps"] == 60
