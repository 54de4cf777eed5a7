"""Weights of rows, labels and classes in a user's own tables."""

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_class_weight

from mtopt.data import describe, from_frame, npz, summary, table
from mtopt.errors import UserError
from tests.helpers.frames import PART, ROW, N, group_of, planted
from tests.helpers.npz import PARTS, collect, disjoint, save, shared

TASKS = ("lit", "shape", "size")
HEAVY = 0.5 + ROW % 4
SHAPES = np.array(["round", "flat", "long"])[(ROW % 5) // 2]
TRAIN = PART == "train"


def frame(**changes):
    return planted(shape=SHAPES, heavy=HEAVY, **changes)


def read(df, **options):
    return from_frame(df, TASKS, split="part", **options)


def masks(data):
    return {task: collect(group, "train").mask[k] for task, group, k in every(data)}


def every(data):
    for group in data.groups:
        for k, task in enumerate(group.tasks):
            yield task, group, k


def test_rows_of_a_frame_weigh_what_a_column_says():
    data = read(frame(), weight="heavy")
    for task, group, k in every(data):
        train, *others = (collect(group, part).mask for part in PARTS)
        np.testing.assert_array_equal(train[k], HEAVY[TRAIN].astype(np.float32), task)
        assert all(mask.dtype == bool and mask.all() for mask in others)
        assert "heavy" not in group.reading["inputs"]
    assert "weight   column heavy" in summary(describe(data))


def test_a_file_says_what_its_frame_says(tmp_path):
    path = tmp_path / "mine.csv"
    frame().to_csv(path, index=False)
    options = {"split": "part", "weight": "heavy", "class_weights": "balanced"}
    found = table(path, tasks=TASKS, **options)
    expected = from_frame(frame(), TASKS, **options)
    for task, mask in masks(expected).items():
        np.testing.assert_array_equal(masks(found)[task], mask)


def test_equal_weights_are_a_mask_and_rows_of_weight_zero_have_no_labels():
    light = read(frame(), weight="length")
    assert masks(light)["size"].dtype == np.float32
    for values, reason in ((3.0, None), (2.0 * (ROW % 4 > 0), {"weight 0": 30})):
        data = read(frame(even=values), weight="even")
        for task, group, k in every(data):
            expected = np.broadcast_to(values, (N,)) > 0
            for part in PARTS:
                mask = collect(group, part).mask[k]
                assert mask.dtype == bool, task
                np.testing.assert_array_equal(mask, expected[part == PART])
            assert group.reading["missing labels"] == (reason or {})


def test_balanced_classes_weigh_what_scikit_learn_says():
    data = read(frame(), class_weights="balanced")
    assert masks(data)["size"].dtype == bool
    for task, names in (("lit", planted()["lit"]), ("shape", SHAPES)):
        labels = np.asarray(names)[TRAIN].astype(str)
        classes = np.unique(labels)
        numbers = compute_class_weight("balanced", classes=classes, y=labels)
        group = group_of(data, task)
        assert group.reading["class weights"][task] == pytest.approx(
            dict(zip(classes.tolist(), numbers.tolist(), strict=True))
        )
        expected = numbers[np.searchsorted(classes, labels)]
        np.testing.assert_allclose(masks(data)[task], expected, rtol=1e-6)
        assert collect(group, "valid").mask.dtype == bool
    assert ", weights flat: 0.8" in summary(describe(group_of(data, "shape")))


def test_classes_are_balanced_by_the_weight_of_their_rows():
    data = read(frame(), weight="heavy", class_weights={"shape": "balanced"})
    np.testing.assert_array_equal(masks(data)["lit"], HEAVY[TRAIN].astype(np.float32))
    mask, labels = masks(data)["shape"], SHAPES[TRAIN]
    totals = [mask[labels == name].sum() for name in np.unique(labels)]
    np.testing.assert_allclose(totals, HEAVY[TRAIN].sum() / 3, rtol=1e-6)


def test_classes_weigh_what_is_given_by_name_or_by_number():
    given = {"shape": {"flat": 2, "long": 0.5, "round": 1}}
    expected = [given["shape"][name] for name in SHAPES[TRAIN]]
    data = read(frame(), class_weights=given)
    np.testing.assert_array_equal(masks(data)["shape"], np.float32(expected))
    assert masks(data)["lit"].dtype == bool
    stars = from_frame(
        frame(stars=ROW % 3 + 1),
        ["stars"],
        split="part",
        kind="ordinal",
        class_weights={"stars": {1: 3, 2: 1, 3: 1}},
    )
    ones = ROW[TRAIN] % 3 == 0
    np.testing.assert_array_equal(masks(stars)["stars"], np.where(ones, 3, 1))


def test_tasks_of_their_own_rows_have_their_own_weights():
    df = frame(site=np.array(["a", "b"])[ROW // 2 % 2])
    data = from_frame(df, ["shape", "lit"], task="site", weight="heavy", split="part")
    for task, group, k in every(data):
        site, _ = task.split()
        rows = TRAIN & (df["site"] == site).to_numpy()
        mask = collect(group, "train").mask[k]
        np.testing.assert_array_equal(mask[mask > 0], np.float32(HEAVY[rows]), task)


W = np.stack([HEAVY, ROW % 3, np.ones(N)], 1)


def test_labels_of_arrays_weigh_what_w_says(tmp_path):
    arrays = shared(split=PART, w=W)
    data = npz(save(tmp_path, **arrays))
    assert data.tasks == ("a", "b", "c")  # the columns are c, a, b
    expected = W[TRAIN][:, [1, 2, 0]].T
    np.testing.assert_array_equal(collect(data, "train").mask, np.float32(expected))
    assert collect(data, "test").mask.dtype == bool
    assert collect(data, "test").mask[0].sum() == (W[PART == "test", 1] > 0).sum()
    assert "weights  array w, of labels" in summary(describe(data))
    one = npz(save(tmp_path, **arrays), tasks=["b"])
    assert collect(one, "train").mask.dtype == bool


def test_arrays_of_tasks_with_their_own_rows_have_weights_too(tmp_path):
    arrays = disjoint((20, 20), y=ROW % 2, w=HEAVY)
    data = npz(save(tmp_path, **arrays), class_weights="balanced")
    mask, y = collect(data, "train").mask, collect(data, "train").y
    for k in range(2):
        totals = [mask[k][y[k] == label].sum() for label in (0, 1)]
        np.testing.assert_allclose(*totals, rtol=1e-6)


def test_streamed_samples_keep_their_weights():
    kept, streamed = (
        from_frame(frame(), ["size"], split="part", weight="heavy", **options)
        for options in ({}, {"on_device_bytes": 0})
    )
    for data in (kept, streamed):
        (batch,) = data.train.in_order(100)
        np.testing.assert_array_equal(batch.mask[0], np.float32(HEAVY[TRAIN]))
    assert streamed.train.labels.tolist() == [TRAIN.sum()]


BAD = [np.nan, *HEAVY[1:]]


@pytest.mark.parametrize(
    ("df", "options", "message"),
    [
        (frame(), {"weight": "hevy"}, "weight names the column 'hevy': did you mean"),
        (frame(), {"weight": "size"}, "weight and tasks name the column 'size'"),
        (frame(own=-HEAVY), {"weight": "own"}, "'own' has 40 values such as -0.5: exp"),
        (frame(own=BAD), {"weight": "own"}, "weight column 'own' has 1 empty cells"),
        (frame(own=np.inf), {"weight": "own"}, "has 40 values such as inf"),
        (frame(own=0), {"weight": "own"}, "'own' is all 0: expected some rows"),
        (frame(), {"weight": "colour"}, "'colour' has no numbers: expected numbers"),
        (frame(), {"class_weights": "even"}, "class_weights is 'even': expected 'bal"),
        (
            frame(),
            {"class_weights": {"size": "balanced"}},
            "'size': its labels are num",
        ),
        (frame(), {"class_weights": {"form": "balanced"}}, "the task 'form': known"),
        (frame(), {"class_weights": {"lit": 2}}, "of task 'lit' is 2: expected"),
        (
            frame(),
            {"class_weights": {"shape": {"flat": 1, "long": 1}}},
            "of task 'shape' lack the class 'round': expected a number for each of",
        ),
        (
            frame(),
            {"class_weights": {"shape": {"flat": 1, "long": 1, "rond": 1}}},
            "of task 'shape' name the class 'rond': did you mean 'round'",
        ),
        (
            frame(),
            {"class_weights": {"lit": {"False": 1, "True": 0}}},
            "have 0 for class 'True': expected a number above 0",
        ),
    ],
)
def test_what_is_no_weight_is_one_clear_line(df, options, message):
    with pytest.raises(UserError, match=message) as error:
        read(df, **options)
    assert "\n" not in str(error.value)


def test_classes_of_numbers_alone_cannot_be_balanced():
    with pytest.raises(UserError, match="the labels of no task are classes"):
        from_frame(planted(), ["size"], split="part", class_weights="balanced")


def test_missing_labels_weigh_nothing():
    size = pd.Series(ROW / 4).where(ROW % 4 > 0)
    data = read(frame(size=size), weight="heavy")
    expected = np.where(ROW % 4 > 0, HEAVY, 0)[TRAIN]
    np.testing.assert_array_equal(masks(data)["size"], np.float32(expected))
