"""What data frames and tables are refused for, in one clear line each."""

import sys

import numpy as np
import pandas as pd
import pytest

from mtopt.data import from_frame, table
from mtopt.errors import UserError
from tests.helpers.frames import ROW, N, planted

TWICE = planted().set_axis(["length", "size", *planted().columns[2:]], axis=1)


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        ({"a": [1]}, {}, "frame is a dict: expected a pandas.DataFrame"),
        (TWICE, {}, "the column 'size' twice: expected distinct names"),
        (planted().iloc[:0], {}, "no rows: expected some"),
        (planted(), {"tasks": ["sise"]}, "tasks names 'sise': did you mean 'size'"),
        (planted(), {"tasks": []}, "expected one name or more"),
        (planted(), {"tasks": ["size", "size"]}, "none of it twice"),
        (
            planted(),
            {"features": ["lenght"]},
            "features names the column 'lenght': did you mean 'length'",
        ),
        (planted(), {"task": "tasc"}, "task names the column 'tasc': known are colour"),
        (planted(), {"group": "lid"}, "group names the column 'lid'"),
        (planted(), {"split": "parts"}, "split names .*: did you mean 'part'"),
        (planted(), {"features": ["size"]}, "features and tasks name the column"),
        (planted(), {"features": ["lit", "lit"]}, "features and features name"),
        (planted(), {"group": "lit", "features": "lit"}, "features and group name"),
        (planted(), {"task": "size"}, "task and tasks name the column 'size'"),
        (planted(), {"features": []}, "no column is left for inputs"),
        (
            planted(own=[1, "a"] * 20),
            {},
            "column 'own' has cells of type mixed-integer: expected numbers, text",
        ),
        (planted(own=[[1]] * N), {}, "column 'own' has cells of type mixed"),
        (planted(own=ROW * 1j), {}, "column 'own' has cells of type complex"),
        (
            planted(own=[f"customer {n}" for n in ROW]),
            {"max_categories": 39, "features": ["own"]},
            "column 'own' has 40 categories, .* at most max_categories=39",
        ),
        (planted(part="dev"), {"split": "part"}, r"split column 'part' has \['dev'\]"),
        (planted(part=[None] * N), {"split": "part"}, "'part' has 40 empty cells"),
        (planted(own=[None, "a"] * 20), {"group": "own"}, "'own' has 20 empty cells"),
        (planted(own=[None, "a"] * 20), {"task": "own"}, "'own' has 20 empty cells"),
        (planted(own=ROW / 2), {"task": "own"}, "numbers that are not whole"),
        (planted(), {"group": "lit"}, "'lit' has 2 values .* expected 3 or more"),
        (
            planted(part="train"),
            {"split": "part", "group": "lit"},
            "'lit' has 2 values .* expected 3 or more",
        ),
        (planted().iloc[:2], {}, "no labelled sample left for valid"),
        (planted(size=None), {}, "every label of size is missing"),
        (planted(), {"missing": -1}, "no label is -1: expected missing=-1 to mark"),
        (planted(size=np.inf), {}, "column 'size' has 40 infinite labels"),
        (planted(size=ROW), {}, "size has whole numbers from 0 to 39"),
        (planted(size=ROW * 1.0), {}, "expected kind={'size': 'regression'}"),
        (planted(), {"kind": {"sise": "binary"}}, "did you mean 'size'"),
        (planted(), {"kind": {"size": "binar"}}, "kind is 'binar'"),
        (
            planted(),
            {"tasks": "shape", "kind": "regression"},
            "column 'shape' has names, such as 'flat': regression takes numbers",
        ),
        (planted(), {"tasks": "shape", "kind": "ordinal"}, "names without an order"),
        (planted(), {"tasks": "shape", "kind": "binary"}, "3 classes: binary takes"),
        (planted(), {"kind": "classification"}, "has the value 0.25: classification"),
        (
            planted(size=ROW % 3),
            {"kind": "binary"},
            "3 classes: binary takes",
        ),
        (planted(), {"min_labels": -1}, "min_labels is -1"),
        (planted(), {"min_labels": 30}, r"fewer than 30 training labels: size \(28\)"),
        (planted(), {"max_categories": 0}, "max_categories is 0"),
        (planted(), {"valid_fraction": 1.5}, "valid_fraction is 1.5"),
        (
            planted(),
            {"tasks": "shape", "common_units": True},
            "common_units is of regressions, and the labels are classification",
        ),
    ],
)
def test_misuse_is_one_line(frame, options, message):
    with pytest.raises(UserError, match=message) as error:
        from_frame(frame, **({"tasks": ["size"]} | options))
    assert "\n" not in str(error.value)


def test_more_classes_than_any_set_has_are_refused():
    wide = pd.DataFrame({"x": np.arange(1200.0), "id": [f"n{i}" for i in range(1200)]})
    with pytest.raises(UserError, match="1200 classes: classification takes at most"):
        from_frame(wide, ["id"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.xlsx", b"", r"ends in '.xlsx': expected one of .csv, .tsv, .parquet"),
        ("a.npz", b"", r"npz\(path=...\) reads .npz"),
        ("a.csv", None, "no file"),
        ("a.csv", b"", "cannot read .*No columns to parse"),
        ("a.csv", b"\xff\xfe\x00x,\n\x81", "cannot read .*codec can't decode"),
        ("a.csv", b"x,y\n1,2\n1,2,3,4\n", "cannot read .*Error tokenizing"),
        ("a.csv", b"x,y\n", "a has no rows"),
        ("a.csv", b"x\ty\n1\t2\n", "tasks names 'y'"),
        ("a.parquet", b"no parquet", "cannot read"),
    ],
)
def test_files_that_cannot_be_read_are_one_line(tmp_path, file, content, message):
    path = tmp_path / file
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        table(path, tasks=["y"])
    assert "\n" not in str(error.value)


def test_without_pandas_the_extra_is_named(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("x,y\n1,2\n")
    frame = planted()
    monkeypatch.setitem(sys.modules, "pandas", None)
    for read in (lambda: table(path, tasks=["y"]), lambda: from_frame(frame, ["size"])):
        with pytest.raises(UserError, match=r'pip install "mtopt\[tables\]" brings it'):
            read()
