"""A small CSV file by the command: several kinds in one run, with what was read."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.helpers.commands import run_here

FLAGS = [
    "--experiment=table",
    "--method=equal_weighting",
    "--config.model=mlp(hidden=(16,))",
    "--config.steps=150",
    "--config.batch_size=32",
    "--config.eval_every=50",
    "--config.log_every=50",
    "--config.checkpoint_every=150",
    "--config.seeds=(0,)",
    "--config.single_task=false",
    "--config.optimizer.learning_rate=0.03",
]


@pytest.fixture
def folder(tmp_path):
    """Flats whose rent follows their area, and whose heating follows their town."""
    rng = np.random.default_rng(0)
    town = rng.choice(["Oslo", "Rome"], 300)
    area = rng.uniform(20, 90, 300)
    heating = np.where(town == "Oslo", "electric", "gas")
    frame = pd.DataFrame({"area": area, "town": town, "built": "2020-01-01"})
    frame = frame.assign(rent=area * 12.5, heating=heating, note=range(300))
    frame.loc[::10, "rent"] = None
    frame.to_csv(tmp_path / "flats.csv", index=False)
    return tmp_path


def test_a_csv_file_ends_in_a_table(folder, monkeypatch, capfd):
    data = (
        "table(path='flats.csv', tasks=('rent', 'heating'), "
        "features=('area', 'town', 'built'))"
    )
    run_here(folder, monkeypatch, *FLAGS, f"--config.data={data}", "--out=run")
    printed = capfd.readouterr().out
    gas = (pd.read_csv(folder / "flats.csv")["heating"] == "gas").sum()
    for words in (
        "flats: 2 groups of tasks, each on the same inputs",
        "  town   one-hot of Oslo, Rome",
        "  built  days since 1970-01-01, standardised, constant in training became 0",
        f"heating  300 labels, 0 missing, {gas} of them 1 (0: electric, 1: gas)",
        "rent     270 labels, 30 missing",
        "not read note",
    ):
        assert words in printed
    table = printed.split("finished in")[0].splitlines()
    assert any(line.lstrip("| ").startswith("equal_weighting") for line in table)
    stored = json.loads((folder / "run" / "data.json").read_text())
    heating, rent = stored["groups"]
    assert heating["reading"]["classes"] == {"heating": ["electric", "gas"]}
    assert rent["reading"]["missing labels"] == {"empty cells": 30}


def test_a_wrong_column_ends_in_one_line(folder, monkeypatch, capfd):
    data = "table(path='flats.csv', tasks=('rant',))"
    with pytest.raises(SystemExit):
        run_here(folder, monkeypatch, *FLAGS, f"--config.data={data}")
    said = capfd.readouterr().err.strip()
    assert said.endswith("tasks names 'rant': did you mean 'rent'?")
    assert len(said.splitlines()) == 1
