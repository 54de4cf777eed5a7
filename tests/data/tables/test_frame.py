"""Data frames: what columns become, which parts rows are in, what is missing."""

import datetime
import decimal

import jax
import numpy as np
import pandas as pd
import pytest

from mtopt.data import JointDataset, describe, from_frame, npz, summary
from mtopt.errors import UserError
from tests.helpers.frames import PART, ROW, N, group_of, planted
from tests.helpers.npz import PARTS, collect, disjoint, save, shared

SIZE = {"tasks": ["size"], "split": "part"}
TRAIN = PART == "train"


def inputs(frame, column, **options):
    """What one column becomes, ``[N, D]``, rows as in the frame."""
    data = from_frame(frame, features=[column], **SIZE, **options)
    return np.concatenate([collect(data, part).x for part in PARTS])


def standardised(values):
    return (values - values[TRAIN].mean()) / values[TRAIN].std()


def test_tasks_of_several_kinds_are_a_group_each():
    data = from_frame(planted(), ["size", "shape", "lit"], split="part")
    assert isinstance(data, JointDataset)
    assert data.shared_inputs
    kinds = {group.tasks: (group.kind, group.outputs) for group in data.groups}
    assert kinds == {
        ("lit",): ("binary", 1),
        ("shape",): ("classification", 3),
        ("size",): ("regression", 1),
    }
    first, *others = (group.train.samples.x for group in data.groups)
    assert all(other is first for other in others)
    shape, lit = group_of(data, "shape"), group_of(data, "lit")
    assert shape.reading["classes"] == {"shape": ("flat", "long", "round")}
    assert lit.reading["classes"] == {"lit": ("False", "True")}
    assert "classes" not in group_of(data, "size").reading
    codes = np.array([2, 0, 1])[ROW % 3]
    np.testing.assert_array_equal(collect(shape, "train").y[0], codes[TRAIN])
    np.testing.assert_array_equal(collect(lit, "test").y[0], (ROW % 2 == 0)[-6:])


def test_one_kind_is_a_plain_data_set():
    data = from_frame(planted(), "size", name="mine")
    assert (data.name, data.tasks, data.kind) == ("mine", ("size",), "regression")
    assert [getattr(data, part).size for part in PARTS] == [28, 6, 6]


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        (ROW * 3, ROW * 3),
        (pd.array(ROW, "Int64"), ROW),
        (ROW.astype(np.uint8), ROW),
        ((ROW / 7).astype(np.float32), ROW / 7),
        ([decimal.Decimal(int(n)) for n in ROW], ROW),
        (pd.Timestamp("1960-02-03") + pd.to_timedelta(ROW, "h"), ROW / 24),
        ([datetime.date(2020, 1, 1) + datetime.timedelta(int(n)) for n in ROW], ROW),
        (pd.date_range("2020-03-01", periods=N, tz="Europe/Rome", freq="36h"), ROW),
    ],
)
def test_numbers_and_dates_are_standardised(column, numbers):
    x = inputs(planted(own=column), "own")
    np.testing.assert_allclose(x[:, 0], standardised(numbers), rtol=1e-4, atol=1e-5)


def test_a_date_as_a_label_is_days_since_1970():
    day = pd.Timestamp("1970-01-02 12:00", tz="UTC") + pd.to_timedelta(ROW * 50, "D")
    data = from_frame(planted(own=day), ["own"], split="part")
    assert data.kind == "regression"
    days = 1.5 + 50 * ROW[TRAIN]
    np.testing.assert_allclose(data.target_mean, days.mean())
    np.testing.assert_allclose(data.target_std, days.std())


@pytest.mark.parametrize(
    "column",
    [
        np.array(["b", "a", "c"])[ROW % 3],
        pd.array(np.array(["b", "a", "c"])[ROW % 3], "string"),
        pd.Categorical(np.array(["b", "a", "c"])[ROW % 3], categories=["c", "a", "b"]),
        pd.Categorical(np.array([20, 10, 30])[ROW % 3]),
    ],
)
def test_categories_are_one_hot_in_the_order_of_their_names(column):
    np.testing.assert_array_equal(
        inputs(planted(own=column), "own"), np.eye(3)[[1, 0, 2]][ROW % 3]
    )


def test_booleans_are_two_categories():
    lit = ROW % 2
    np.testing.assert_array_equal(inputs(planted(), "lit"), np.eye(2)[1 - lit])


def test_unknown_and_empty_categories_are_zeros():
    colour = planted()["colour"].where(TRAIN, "violet")
    colour[5] = None
    frame = planted(colour=colour)
    x = inputs(frame, "colour")
    assert x.shape == (N, 3)
    assert not x[5].any()
    assert not x[~TRAIN].any()
    assert (x[TRAIN].sum(1) == 1).sum() == TRAIN.sum() - 1
    data = from_frame(frame, features=["colour"], **SIZE)
    assert data.reading["inputs"] == {
        "colour": "one-hot of blue, green, red, 1 missing values became zeros, "
        "12 values unseen in training became zeros"
    }


@pytest.mark.parametrize("empty", [np.nan, np.inf, None])
def test_an_empty_number_becomes_the_mean(empty):
    length = [empty if n == 4 else n * 2.0 for n in ROW]
    x = inputs(planted(length=length), "length")
    assert x[4] == 0
    known = TRAIN & (ROW != 4)
    expected = (ROW * 2.0 - (ROW[known] * 2.0).mean()) / (ROW[known] * 2.0).std()
    np.testing.assert_allclose(x[~TRAIN, 0], expected[~TRAIN], rtol=1e-5)


def test_an_empty_column_says_nothing():
    x = inputs(planted(own=[None] * N), "own")
    np.testing.assert_array_equal(x, np.zeros((N, 1)))


def test_columns_keep_their_order_numbers_first():
    data = from_frame(planted(), features=["colour", "length", "seen"], **SIZE)
    x = collect(data, "train").x
    assert x.shape[1] == 5
    np.testing.assert_allclose(
        x[:, 0], standardised(ROW * 2.0 + 1)[TRAIN], rtol=1e-5, atol=1e-6
    )
    assert (x[:, 2:].sum(1) == 1).all()
    every = from_frame(planted(), **SIZE)
    assert [*every.reading["inputs"]] == ["length", "colour", "lit", "seen", "shape"]
    assert every.reading["not read"] == ()


def test_missing_labels_are_masked():
    frame = planted()
    frame.loc[::5, "size"] = None
    frame.loc[1::5, "shape"] = None
    data = from_frame(frame, ["size", "shape"], split="part")
    for task, first in (("size", 0), ("shape", 1)):
        for part in PARTS:
            batch = collect(group_of(data, task), part)
            expected = (first != ROW % 5)[part == PART]
            np.testing.assert_array_equal(batch.mask[0], expected)
            assert not batch.y[0][~batch.mask[0]].any()
    assert data.groups[0].reading["missing labels"] == {"empty cells": 16}


def test_a_value_may_stand_for_a_missing_label():
    frame = planted(shape=planted()["shape"].where(ROW % 4 != 0, "?"))
    data = from_frame(frame, ["shape"], missing="?", split="part")
    assert data.reading["classes"] == {"shape": ("flat", "long", "round")}
    assert data.reading["missing labels"] == {"'?'": 10}
    np.testing.assert_array_equal(collect(data, "train").mask[0], (ROW % 4 != 0)[TRAIN])
    number = from_frame(planted(size=ROW / 4 - 1), ["size"], missing=-1)
    assert number.reading["missing labels"] == {"-1": 1}


LEVELS = pd.Categorical(
    np.array(["low", "mid", "high"])[ROW % 3], ["low", "mid", "high"], ordered=True
)


@pytest.mark.parametrize(
    ("labels", "kind", "read", "names", "codes"),
    [
        (ROW % 2, "each", "binary", None, ROW % 2),
        (ROW % 2 * 1.0, "each", "binary", None, ROW % 2),
        (ROW % 2 == 0, "each", "binary", ("False", "True"), ROW % 2 == 0),
        (LEVELS, "each", "ordinal", ("low", "mid", "high"), ROW % 3),
        (LEVELS, "classification", "classification", ("low", "mid", "high"), ROW % 3),
        (ROW % 3, "classification", "classification", None, ROW % 3),
        (ROW % 3 * 2.0 + 1, {"own": "ordinal"}, "ordinal", ("1", "3", "5"), ROW % 3),
        (ROW % 2 * 2 - 1, "binary", "binary", ("-1", "1"), ROW % 2),
        (ROW * 0 + 1, "classification", "classification", None, ROW * 0 + 1),
    ],
)
def test_classes_are_numbered(labels, kind, read, names, codes):
    data = from_frame(planted(own=labels), ["own"], kind=kind, split="part")
    assert data.kind == read
    assert data.reading.get("classes") == (names and {"own": names})
    assert data.outputs == (1 if read == "binary" else codes.max() + 1)
    np.testing.assert_array_equal(collect(data, "train").y[0], codes[TRAIN])


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (ROW / 4, "each"),
        (ROW * 50, "each"),
        (ROW, "regression"),
        (ROW % 2, "regression"),
    ],
)
def test_numbers_are_scaled_by_training(labels, kind):
    data = from_frame(planted(own=labels), ["own"], kind=kind, split="part")
    assert data.kind == "regression"
    y = np.concatenate([collect(data, part).y[0] for part in PARTS])
    np.testing.assert_allclose(y, standardised(labels), rtol=1e-5, atol=1e-6)


def equal(one, two):
    assert one.tasks == two.tasks
    for part in PARTS:
        jax.tree.map(
            np.testing.assert_array_equal, collect(one, part), collect(two, part)
        )
    np.testing.assert_array_equal(one.target_mean, two.target_mean)
    np.testing.assert_array_equal(one.target_std, two.target_std)


def test_the_same_numbers_are_those_of_npz_bit_for_bit(tmp_path):
    arrays = shared()
    arrays["y"][::3, 0] = arrays["x"][::7, 1] = np.nan
    arrays["x"][3:9] = arrays["x"][2]  # which stay together
    columns = dict(zip(arrays["target_names"], arrays["y"].T, strict=True))
    frame = pd.DataFrame(
        {"one": arrays["x"][:, 0], "two": arrays["x"][:, 1], **columns}
    )
    for options in ({}, {"seed": 3, "common_units": True, "valid_fraction": 0.3}):
        path = save(tmp_path, **arrays)
        equal(from_frame(frame, ["a", "b", "c"], **options), npz(path, **options))


def test_tasks_with_rows_of_their_own_are_those_of_npz(tmp_path):
    arrays = disjoint((20, 8, 3), task_ids=np.array([10, 2, 7]))
    arrays["y"][:4] = np.nan
    task = arrays["task_ids"][arrays["task"]]
    x = {"one": arrays["x"][:, 0], "two": arrays["x"][:, 1]}
    frame = pd.DataFrame(x | {"y": arrays["y"], "task": task})
    data = from_frame(frame, ["y"], task="task")
    assert data.tasks == ("task_02", "task_07", "task_10")
    assert data.x_axis == 0
    equal(data, npz(save(tmp_path, **arrays)))


def test_tasks_may_have_names():
    town = np.array(["Rome", "Oslo"])[ROW % 2]
    data = from_frame(planted(town=town), ["shape"], task="town", split="part")
    assert (data.tasks, data.kind) == (("Oslo", "Rome"), "classification")
    assert [*data.reading["classes"]] == ["Oslo", "Rome"]
    batch = collect(data, "train")
    codes = np.array([2, 0, 1])[ROW % 3]
    for k, name in enumerate(data.tasks):
        own = codes[TRAIN & (town == name)]
        np.testing.assert_array_equal(batch.y[k][batch.mask[k]], own)


def test_columns_of_labels_and_tasks_of_rows_are_crossed():
    """Each pair is a task, and a row is in one part for all of its labels."""
    frame = planted(town=np.array(["Rome", "Oslo", "Bern"])[ROW // 2 % 3])
    frame.loc[:3, "size"] = None
    data = from_frame(frame, ["size", "shape"], features=["length"], task="town")
    assert not data.shared_inputs
    sizes, shapes = group_of(data, "Oslo size"), group_of(data, "Oslo shape")
    assert sizes.tasks == ("Bern size", "Oslo size", "Rome size")
    assert shapes.tasks == ("Bern shape", "Oslo shape", "Rome shape")
    assert shapes.kind == "classification"
    assert [*shapes.reading["classes"]] == [*shapes.tasks]
    mean, std = sizes.target_mean[:, None], sizes.target_std[:, None]

    def rows_of_size(batch):
        return np.rint(4 * (batch.y * std + mean)).astype(int)

    # The length tells the row, on any scale.
    train = collect(sizes, "train")
    seen = rows_of_size(train)[train.mask]
    slope, shift = np.polyfit(train.x[train.mask][:, 0], seen, 1)
    for part in PARTS:
        size, shape = collect(sizes, part), collect(shapes, part)
        for k, town in enumerate([2, 1, 0]):
            rows = np.rint(shape.x[k, shape.mask[k], 0] * slope + shift).astype(int)
            assert (rows // 2 % 3 == town).all()
            assert {*rows_of_size(size)[k][size.mask[k]]} == {*rows} - {0, 1, 2, 3}
            codes = np.array([2, 0, 1])[rows % 3]
            np.testing.assert_array_equal(shape.y[k][shape.mask[k]], codes)


def test_pairs_of_one_name_are_one_line():
    frame = planted(town=np.array(["a", "a b"])[ROW % 2])
    frame = frame.assign(**{"b c": ROW / 4, "c": ROW / 4})
    with pytest.raises(UserError, match="a b c"):
        from_frame(frame, ["b c", "c"], task="town")


@pytest.mark.parametrize("task", [None, "town"])
@pytest.mark.parametrize("seed", range(5))
def test_a_group_stays_in_one_part(task, seed):
    """A patient of two towns, too."""
    patient = np.random.default_rng(seed).integers(0, 12, N)
    frame = planted(patient=patient, town=np.array(["x", "y"])[ROW % 2])
    options = {"features": ["length"], "group": "patient", "seed": seed}
    data = from_frame(frame, ["size"], task=task, **options)
    parts_of = {}
    for part in PARTS:
        batch = collect(data, part)
        y = batch.y * np.reshape(data.target_std, (-1, 1))
        y += np.reshape(data.target_mean, (-1, 1))
        for row in np.rint(4 * y[batch.mask]).astype(int):
            parts_of.setdefault(patient[row], []).append(part)
    assert sum(map(len, parts_of.values())) == N
    assert all(len({*parts}) == 1 for parts in parts_of.values())
    assert {part for parts in parts_of.values() for part in parts} == {*PARTS}


def test_a_part_that_is_not_there_is_drawn():
    part = np.where(PART == "valid", "train", PART)
    data = from_frame(planted(part=part), ["size"], split="part", valid_fraction=0.25)
    assert [getattr(data, part).size for part in PARTS] == [26, 8, 6]


def test_what_was_understood_is_said():
    frame = planted(
        town=np.array(["Rome", "Oslo"])[ROW % 2], notes=["n"] * N, flat=np.ones(N)
    )
    frame.loc[2, "length"] = None
    data = from_frame(
        frame,
        ["shape"],
        features=["length", "seen", "flat"],
        group="town",
        split="part",
    )
    lines = [line.split(maxsplit=1) for line in summary(describe(data)).split("\n")]
    found = dict(lines)
    assert found["data"].endswith("(3 classes), by the type of the column")
    assert found["length"] == "standardised, 1 missing values became the mean"
    assert found["seen"] == "days since 1970-01-01, standardised"
    assert found["flat"] == "standardised, constant in training became 0"
    assert (
        found["shape"]
        == "40 labels, 0 missing, of 3 classes (0: flat, 1: long, 2: round)"
    )
    assert found["group"] == "column town"
    assert found["split"] == "column part"
    assert found["not"] == "read colour, lit, size, notes"


def test_of_many_columns_the_first_are_named():
    frame = pd.DataFrame({f"x{i:02}": ROW * (i + 1.0) for i in range(30)})
    text = summary(describe(from_frame(frame.assign(y=ROW / 4), ["y"])))
    assert "  x11" in text
    assert "x12" not in text
    assert "and 18 more" in text


def test_names_of_columns_may_be_numbers():
    frame = pd.DataFrame(np.stack([ROW * 1.0, ROW / 4], 1))
    data = from_frame(frame, ["1"])
    assert data.tasks == ("1",)
    assert [*data.reading["inputs"]] == ["0"]


def test_the_frame_is_left_as_it_is():
    frame = planted()
    before = frame.copy()
    from_frame(frame, ["shape"], missing="flat")
    pd.testing.assert_frame_equal(frame, before)


def test_names_of_customers_are_left_out_unless_they_are_asked_for():
    frame = planted(own=[f"customer {n}" for n in ROW])
    data = from_frame(frame, "size", max_categories=39, split="part")
    assert "own" not in data.reading["inputs"]
    assert "own (40 categories)" in data.reading["not read"]
    assert "own (40 categories)" in summary(describe(data))
    with pytest.raises(UserError, match=r"no column is left .*: own \(40 categories\)"):
        from_frame(frame[["own", "size"]], "size", max_categories=39)
