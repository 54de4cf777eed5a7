"""CSV, TSV and Parquet files are read as the frames that they hold."""

import jax
import numpy as np
import pandas as pd
import pytest

from mtopt.data import fingerprint, from_frame, npz, table
from tests.helpers.frames import group_of, planted
from tests.helpers.npz import PARTS, collect

TASKS = ("lit", "shape", "size")


def holes():
    """Two empty cells in every column."""
    frame = planted(lit=planted()["lit"].astype(object))
    for row, column in enumerate(frame.columns.drop("part")):
        frame.loc[[row, row + 11], column] = None
    return frame


def same(one, two):
    assert one.tasks == two.tasks
    assert [g.kind for g in one.groups] == [g.kind for g in two.groups]
    for a, b in zip(one.groups, two.groups, strict=True):
        assert a.reading.get("classes") == b.reading.get("classes")
        for part in PARTS:
            jax.tree.map(
                np.testing.assert_array_equal, collect(a, part), collect(b, part)
            )


@pytest.mark.parametrize(("ending", "separator"), [("csv", ","), ("tsv", "\t")])
def test_text_is_read_as_its_frame(tmp_path, ending, separator):
    path = tmp_path / f"mine.{ending}"
    holes().to_csv(path, sep=separator, index=False)
    data = table(path, tasks=TASKS, split="part")
    assert data.name == "mine"
    assert data.groups[0].reading["file"] == str(path)
    same(data, from_frame(holes(), TASKS, split="part"))


def test_parquet_is_read_as_its_frame(tmp_path):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: no Parquet")
    path = tmp_path / "mine.parquet"
    holes().to_parquet(path)
    same(
        table(path, tasks=TASKS, split="part"),
        from_frame(holes(), TASKS, split="part"),
    )


def test_dates_of_text_are_iso_throughout(tmp_path):
    lines = [f"2026-01-{i + 10},{i % 9}/{i + 1}/2026,{i / 4}" for i in range(20)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["one,two,y", *lines]))
    data = table(path, tasks=["y"])
    assert data.name == tmp_path.name
    assert data.reading["inputs"]["one"] == "days since 1970-01-01, standardised"
    assert data.reading["inputs"]["two"].startswith("one-hot of 14 categories")


def test_options_reach_the_frame(tmp_path):
    """Each changes what is read as it changes what is read of the frame."""
    path = tmp_path / "mine.csv"
    frame = planted(size=planted()["size"] + 1, site=[f"s{i % 9}" for i in range(40)])
    frame.to_csv(path, index=False)
    plain = {"tasks": ["size"], "features": ["length", "lit"]}
    prints = {fingerprint(table(path, **plain))}
    changes = (
        {"kind": {"length": "regression"}, "tasks": ["length"], "features": None},
        {"features": ["length"]},
        {"task": "shape"},
        {"group": "site"},
        {"split": "part"},
        {"missing": 2},
        {"seed": 1},
        {"valid_fraction": 0.3},
        {"test_fraction": 0.3},
        {"task": "site", "min_labels": 3},
        {"tasks": ["size", "length"], "kind": "regression", "common_units": True},
    )
    for change in changes:
        changed = {**plain, **change}
        if "length" in changed["tasks"]:
            changed["features"] = ["lit"]
        data = table(path, **changed)
        assert fingerprint(data) == fingerprint(from_frame(frame, **changed)), change
        prints.add(fingerprint(data))
    assert len(prints) == 1 + len(changes)


def test_cars(data_dir):
    """Three numbers and a class side by side, labels missing."""
    data = table(
        data_dir / "cars" / "cars.csv",
        tasks=("Miles_per_Gallon", "Acceleration", "Horsepower", "Origin"),
        features=("Cylinders", "Displacement", "Weight_in_lbs", "Year"),
        kind={"Horsepower": "regression"},
    )
    assert data.shared_inputs
    numbers, origin = group_of(data, "Acceleration"), group_of(data, "Origin")
    assert numbers.tasks == ("Acceleration", "Horsepower", "Miles_per_Gallon")
    assert origin.reading["classes"] == {"Origin": ("Europe", "Japan", "USA")}
    assert numbers.reading["not read"] == ("Name",)
    assert sum(getattr(data, part).size for part in PARTS) == 406
    counts = sum(collect(numbers, part).mask.sum(1) for part in PARTS)
    assert counts.tolist() == [406, 400, 398]
    batch = collect(numbers, "train")
    assert batch.x.shape[1] == 4
    # Heavy cars go fewer miles: columns have stayed with their labels.
    known = batch.mask[2]
    weight, miles = batch.x[known, 2], batch.y[2, known]
    assert np.corrcoef(weight, miles)[0, 1] < -0.8


def test_school_as_text_is_that_of_npz(data_dir, tmp_path):
    arrays = np.load(data_dir / "school" / "data.npz")
    columns = {f"x{i}": x for i, x in enumerate(arrays["x"].T.astype(float))}
    task = arrays["task_ids"][arrays["task"]]
    frame = pd.DataFrame(columns | {"score": arrays["y"].astype(float), "task": task})
    frame.to_csv(tmp_path / "school.csv", index=False)
    options = {"kind": "regression", "common_units": True, "min_labels": 1}
    data = table(tmp_path / "school.csv", tasks=["score"], task="task", **options)
    expected = npz(data_dir / "school" / "data.npz", **options)
    assert len(data.tasks) == 139
    same(data, expected)
    np.testing.assert_array_equal(data.target_std, expected.target_std)
    assert fingerprint(data) == fingerprint(expected)
