"""The kind of a file's labels is inferred where only one will do, or asked for."""

import numpy as np
import pytest

from mtopt.data import describe, npz
from mtopt.data.description import summary
from mtopt.errors import UserError
from tests.helpers.npz import N, collect, disjoint, save, shared

ROW = np.arange(N)
CLASSES, NUMBERS, BITS = ROW % 3 * 1.0, ROW / 7, ROW % 2 * 1.0
WITH_GAPS = np.where(ROW % 7 == 0, np.nan, CLASSES)


def columns(*y, dtype=None):
    return {"x": np.eye(N), "y": np.stack(y, 1).astype(dtype or float)}


UNCLEAR = {
    "classes with a missing one, hence floats": (
        columns(WITH_GAPS, BITS),
        ["task_0 has whole numbers stored as floats from 0 to 2", "task_1 has 0 and 1"],
        "kind='classification' takes all as classes",
    ),
    "minus one and one": (
        columns(2 * BITS - 1, 1 - 2 * BITS),
        ["task_0 has -1 and 1", "task_1 has -1 and 1"],
        r"kind='binary' once stored as \(y \+ 1\) / 2",
    ),
    "minus one and one as integers": (
        columns(2 * BITS - 1, 1 - 2 * BITS, dtype=np.int8),
        ["task_0 has -1 and 1"],
        r"\(y \+ 1\) / 2",
    ),
    "numbers, classes and bits": (
        columns(NUMBERS, CLASSES, BITS),
        [
            "task_0 has numbers from 0 to 5.57143",
            "task_1 has whole",
            "task_2 has 0 and",
        ],
        "leave out columns until one kind remains; kind='regression'",
    ),
    "numbers and bits": (
        columns(NUMBERS, BITS),
        ["task_0 has numbers", "task_1 has 0 and 1"],
        "one kind for all tasks",
    ),
    "a sentinel among classes": (
        columns(CLASSES, np.where(ROW % 5 == 0, -1, CLASSES), dtype=int),
        ["task_0 has classes up to 2", "task_1 has whole numbers with -1 from -1 to 2"],
        "missing=-1 takes each -1 as a missing label",
    ),
    "a sentinel among bits": (
        columns(BITS, np.where(ROW % 5 == 0, -1, BITS)),
        ["task_1 has whole numbers with -1 from -1 to 1"],
        "missing=-1",
    ),
    "whole numbers": (columns(ROW, -ROW), ["task_1 has whole numbers stored"], "kind="),
    "large integers": (
        columns(ROW * 900, ROW * 900, dtype=int),
        ["task_0 has integers from 0 to 35100"],
        "kind='regression' takes all as numbers",
    ),
    "a task of samples of its own": (
        disjoint((20, 20), y=np.concatenate([ROW[:20] / 7, ROW[:20] % 2])),
        ["task_0 has numbers", "task_1 has 0 and 1"],
        "one kind for all tasks",
    ),
}


@pytest.mark.parametrize("what", UNCLEAR)
def test_labels_of_unclear_or_unequal_kinds_are_asked_for(tmp_path, what):
    arrays, looks, advice = UNCLEAR[what]
    with pytest.raises(UserError, match=advice) as error:
        npz(save(tmp_path, **arrays))
    message = str(error.value)
    assert "\n" not in message
    for look in looks:
        assert look in message


def test_many_columns_are_named_up_to_twenty(tmp_path):
    y = np.tile(CLASSES[:, None], (1, 30))
    with pytest.raises(UserError, match=r"task_19 has .*; 10 more: expected"):
        npz(save(tmp_path, x=np.eye(N), y=y))


def test_the_kind_that_is_given_is_the_one_that_is_read(tmp_path):
    """What was refused above trains on the right labels once it is spelled out."""
    path = save(tmp_path, **columns(WITH_GAPS, BITS))
    classes = npz(path, kind="classification")
    assert (classes.kind, classes.outputs) == ("classification", 3)
    batches = [collect(classes, part) for part in ("train", "valid", "test")]
    seen = np.concatenate([b.y[0][b.mask[0]] for b in batches])
    assert (
        np.bincount(seen).tolist()
        == np.bincount(WITH_GAPS[np.isfinite(WITH_GAPS)].astype(int)).tolist()
    )
    mixed = npz(save(tmp_path, **columns(NUMBERS, CLASSES, BITS)), kind="regression")
    assert (mixed.kind, mixed.outputs) == ("regression", 1)
    marked = np.where(ROW % 5 == 0, -1, CLASSES)
    path = save(tmp_path, **columns(CLASSES, marked, dtype=int))
    marked = npz(path, missing=-1)
    assert (marked.kind, marked.outputs) == ("classification", 3)
    assert marked.reading["missing labels"] == {"the value -1": N // 5}


@pytest.mark.parametrize("kind", ["ordinal", "ordinal_adjacent"])
def test_levels_in_order_are_read_as_classes_are(tmp_path, kind):
    data = npz(save(tmp_path, **columns(WITH_GAPS, BITS)), kind=kind)
    assert (data.kind, data.outputs, data.target_std) == (kind, 3, None)
    assert data.train.samples.y.dtype == np.int32
    words = summary(describe(data))
    assert "levels 0 to 2" in words
    assert "levels 0 to 1" in words
    with pytest.raises(UserError, match=f"{kind} takes classes 0, 1, 2"):
        npz(save(tmp_path, **columns(NUMBERS, BITS)), kind=kind)


def test_one_value_alone_says_nothing_beside_others(tmp_path):
    assert npz(save(tmp_path, **columns(NUMBERS, ROW * 0))).kind == "regression"
    assert npz(save(tmp_path, **columns(ROW * 0, ROW * 0))).kind == "binary"
    arrays = disjoint((20, 1), y=np.append(ROW[:20] / 7, 1))
    assert npz(save(tmp_path, **arrays)).kind == "regression"


def test_the_values_of_missing_labels_say_nothing_either(tmp_path):
    """Whatever stands behind a mask: -9 is no class, and 0.5 no number."""
    y = np.stack([BITS, BITS], 1)
    y[::4] = [[-9, 0.5]]
    mask = np.ones((N, 1), bool)
    mask[::4] = False
    data = npz(save(tmp_path, **shared(y=y, mask=mask, target_names=None)))
    assert data.kind == "binary"
    assert data.reading["missing labels"] == {"mask is False": N // 2}
