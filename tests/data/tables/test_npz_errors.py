"""What the npz format refuses, in one clear line each."""

import contextlib

import numpy as np
import pytest

from mtopt.data import npz
from mtopt.errors import UserError
from tests.helpers.npz import PARTS, N, disjoint, save, shared


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.eye(4)}, "expected labels y"),
        (shared(x=None), "expected inputs beside the labels, any of"),
        (shared(x=np.eye(3)), r"x has shape \(3, 3\): expected \(40, columns\)"),
        (shared(x=np.zeros(N)), r"x has shape \(40,\)"),
        (shared(x=np.full((N, 2), "a")), "x is of type <U1: expected numbers"),
        (shared(y=np.zeros(N)), "without a task array"),
        (shared(y=np.full((N, 3), "a")), "y is of type <U1"),
        (shared(y=np.full((N, 3), np.nan)), "every label of y is missing"),
        (shared(target_names=np.array(["a", "b"])), "target_names has shape"),
        (shared(target_names=np.array(["a", "b", "a"])), "has 'a' 2 times"),
        (shared(target_names=np.array(["a", "b", ""])), "has '' 1 times"),
        (shared(task=np.zeros(N, int)), "with a task array"),
        (
            shared(split=np.full(N, "dev")),
            r"split has shape \(40,\) and values \['dev'\]",
        ),
        (shared(split=np.full(3, "train")), r"split has shape \(3,\)"),
        (shared(split=np.full(N, "test")), "no labelled sample left for train"),
        (shared(x=None, fp=np.zeros((N, 2))), "fp is of type float64: expected uint8"),
        (shared(x=None, x_cat=np.zeros((N, 2))), "expected integer codes"),
        (
            shared(x_cat=np.full((N, 1), 2), cat_cardinality=np.array([2])),
            "below cat_cardinality",
        ),
        (shared(x_cat=np.full((N, 1), -1)), "codes from -1"),
        (disjoint(task=np.zeros(5, int)), r"task is int64 \(5,\)"),
        (disjoint(task=np.zeros(31)), "task is float64"),
        (disjoint(task_ids=np.arange(2)), "task goes from 0 to 2: expected 0 to 1"),
        (disjoint((20, 2), task=np.full(22, -1)), "task goes from -1"),
        (shared(y_train=np.zeros((4, 3))), "expected either y, or y_train"),
        ({"x_test": np.eye(4), "y_test": np.eye(4)}, "expected either y, or y_train"),
        (
            {"x_train": np.eye(4), "y_train": np.eye(4), "y_test": np.eye(4)},
            "same splits",
        ),
        (
            {
                k: np.eye(n)
                for n in (3, 4)
                for k in (f"x_{PARTS[n - 3]}", f"y_{PARTS[n - 3]}")
            },
            "samples of equal shape",
        ),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message) as error:
        npz(save(tmp_path, **arrays))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (np.tile([[0, 2]], (N, 1)), "binary", "value 2: binary takes 0 or 1"),
        (np.tile([[0.5, 2]], (N, 1)), "classification", "value 0.5: classification"),
        (np.tile([[-1, 2]], (N, 1)), "classification", "value -1: classification"),
        (np.eye(N), "multilabel", "kind is 'multilabel'"),
    ],
)
def test_labels_out_of_range_are_named(tmp_path, y, kind, message):
    # Beartype refuses an unknown kind first where hints are checked.
    expected = Exception if kind == "multilabel" else UserError
    with pytest.raises(expected, match=message if kind != "multilabel" else None):
        npz(save(tmp_path, x=np.eye(N), y=y), kind=kind)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid_fraction": 0.0}, "valid_fraction is 0.0"),
        ({"test_fraction": 1.5}, "test_fraction is 1.5"),
        ({"valid_fraction": 0.5, "test_fraction": 0.5}, "expected less than 1"),
        ({"min_labels": -1}, "min_labels is -1"),
        ({"min_labels": 1000}, "fewer than 1000 training labels"),
    ],
)
def test_options_out_of_range_are_named(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        npz(save(tmp_path, **shared()), **options)


HOSTILE = {
    "objects": np.array([None, 1, "a"] * 10, object),
    "strings": np.full(31, "a"),
    "bytes": np.full(31, b"a"),
    "one number": np.array(3),
    "one string": np.array("a"),
    "complex numbers": np.ones(31, complex),
    "dates": np.full(31, np.datetime64("2020-01-01")),
    "nothing": np.zeros(0),
    "no columns": np.zeros((31, 0)),
    "a cube": np.zeros((31, 2, 2)),
    "too many rows": np.zeros((50, 2)),
    "nan": np.full((31, 2), np.nan),
    "infinity": np.full(31, np.inf),
    "negative integers": np.full((31, 1), -3),
    "large integers": np.full(31, 2**62),
    "records": np.zeros(31, [("a", int), ("b", float)]),
}
WHOLE = {
    "x_num": np.eye(31),
    "x_cat": np.arange(31)[:, None] % 4,
    "cat_cardinality": np.array([4]),
    "vocab": np.array(["a", "b"]),
    "split": np.array(list(PARTS) * 10 + ["train"]),
    "indptr": np.arange(32),
    "indices": np.zeros(31, int),
    "counts": np.ones(31),
    "w": np.ones(31),
    "mask": np.ones((31, 1)),
}
OWN = disjoint() | WHOLE | {"task_ids": np.arange(3), "task_names": np.arange(3)}
COLUMNS = WHOLE | {"y": np.arange(62.0).reshape(31, 2) / 4, "x": np.eye(31)}
COLUMNS |= {"target_names": np.array(["a", "b"]), "fp": np.ones((31, 2), np.uint8)}


class OneLine(Exception):
    """An error of the user was said as it should be."""


@contextlib.contextmanager
def one_line(said):
    try:
        yield
    except UserError as error:
        if said in str(error) and "\n" not in str(error):
            raise OneLine from error
        raise


@pytest.mark.parametrize(
    "arrays",
    [
        pytest.param(OWN, id="own samples", marks=pytest.mark.slow),
        pytest.param(COLUMNS, id="shared"),
    ],
)
@pytest.mark.parametrize("what", HOSTILE)
def test_whatever_an_array_is_there_is_one_clear_line_or_none(tmp_path, arrays, what):
    npz(save(tmp_path, **arrays))
    for key in arrays:
        path = save(tmp_path, **(arrays | {key: HOSTILE[what]}))
        said = f"array {key} of {path}" if what == "objects" else str(path)
        with contextlib.suppress(OneLine), one_line(said):
            npz(path)


def test_the_keys_of_a_file_with_other_ones_are_said(tmp_path):
    caps = {"X": np.eye(4), "Y": np.eye(4), "ids": np.arange(4)}
    with pytest.raises(UserError, match=r"set\.npz has X, Y, ids: expected labels y"):
        npz(save(tmp_path, **caps))
    with pytest.raises(UserError, match=r"set\.npz has X, y: expected inputs beside"):
        npz(save(tmp_path, X=np.eye(4), y=np.eye(4)))


def test_names_of_classes_are_refused_with_the_way_to_number_them(tmp_path):
    with pytest.raises(UserError, match=r"y is of type <U3: .*return_inverse=True"):
        npz(save(tmp_path, x=np.eye(4), y=np.full((4, 1), "yes")))


def test_files_that_are_no_npz_are_named(tmp_path):
    with pytest.raises(UserError, match="no file"):
        npz(tmp_path / "none.npz")
    text, one = tmp_path / "text.npz", tmp_path / "one.npz"
    text.write_text("x,y\n1,2\n")
    np.save(tmp_path / "one.npy", np.eye(3))
    (tmp_path / "one.npy").rename(one)
    whole = save(tmp_path, **shared())
    cut, objects = tmp_path / "cut.npz", tmp_path / "objects.npz"
    cut.write_bytes(whole.read_bytes()[:400])
    np.savez(objects, x=np.eye(2), y=np.array([[None], [1]], object))
    for path in (text, one, cut, objects):
        what = "array y" if path == objects else "the file"
        expected = f"cannot read {what} of .*{path.name}"
        with pytest.raises(UserError, match=expected) as error:
            npz(path)
        assert "\n" not in str(error.value)
