"""Word counts in npz files."""

import numpy as np
import pytest

from mtopt.data import npz
from mtopt.data.tables.npz_inputs import read_inputs
from mtopt.errors import UserError
from tests.helpers.npz import PARTS, N, collect, reviews, save, shared, sparse


def test_word_counts_become_logarithms_of_the_commonest_words(tmp_path):
    split = np.tile(np.repeat(PARTS, [2, 1, 1]), 8)
    table, arrays = reviews(split=split)
    # A word of the other parts alone is not a common one.
    table[:, 4] = np.where(split == "train", 0, 9)
    arrays |= sparse(table)
    commonest = np.argsort(-(table[split == "train"] > 0).sum(0), kind="stable")[:3]
    data = npz(save(tmp_path, **arrays), max_features=3)
    assert (data.kind, data.x_axis) == ("binary", 0)
    for part in PARTS:
        batch = collect(data, part)
        assert batch.x.dtype == np.float16
        for k in range(2):
            expected = np.log1p(table[(split == part) & (arrays["task"] == k)])
            expected = expected[:, np.sort(commonest)]
            np.testing.assert_allclose(batch.x[k][batch.mask[k]], expected, rtol=5e-4)


def test_word_counts_of_ready_made_splits_are_joined(tmp_path):
    table, whole = reviews()
    arrays = {"vocab": whole["vocab"]}
    for part, rows in (("train", slice(0, 25)), ("test", slice(25, 32))):
        arrays |= sparse(table[rows], f"_{part}")
        arrays |= {f"{key}_{part}": whole[key][rows] for key in ("y", "task")}
    batch = collect(npz(save(tmp_path, **arrays)), "test")
    np.testing.assert_allclose(batch.x[1], np.log1p(table[25:]), rtol=5e-4)


def test_word_counts_stand_beside_other_inputs(tmp_path):
    row = np.arange(float(N))
    table = np.zeros((N, 3), int)
    table[:, 0], table[::2, 2] = 255, np.arange(N // 2)
    arrays = shared(x=row[:, None], **sparse(table))
    data = npz(save(tmp_path, **arrays))
    batch = collect(data, "train")
    assert batch.x.dtype == np.float32
    assert batch.x.shape[1] == 4
    np.testing.assert_allclose(batch.x[:, 1], np.log(256), rtol=5e-4)
    assert (batch.x[:, 2] == 0).all()


def test_a_word_that_stands_twice_in_a_row_is_added_up(tmp_path):
    arrays = {
        "y": np.zeros((2, 1)),
        "num_entries": np.array([3, 1]),
        "indices": np.array([1, 1, 0], np.uint16).repeat([1, 1, 2]),
        "counts": np.array([200, 100, 0, 7], np.uint8),
    }
    counts = read_inputs(arrays, tmp_path, 2).counts
    assert counts.shape == (2, 2)
    triples = zip(counts.samples, counts.words, counts.counts, strict=True)
    assert [tuple(map(int, triple)) for triple in triples] == [(0, 1, 300), (1, 0, 7)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"counts": None}, "has no counts: word counts are the three"),
        ({"indptr": None, "counts": None}, "has no indptr and no counts"),
        ({"indptr": np.zeros(33)}, r"indptr is float64 \(33,\)"),
        ({"indices": np.zeros((2, 2), int)}, r"indices int64 \(2, 2\)"),
        ({"indptr": np.arange(33)}, "indptr does not fit indices"),
        ({"indptr": np.zeros(0, int)}, "indptr does not fit indices"),
        (
            {"vocab": np.array(["a", "b"])},
            "indices go from 0 to 5: expected .* below 2",
        ),
        ({"max_features": 0}, "max_features is 0: expected 1 or more"),
    ],
)
def test_word_counts_that_do_not_fit_are_one_clear_line(tmp_path, changes, message):
    options = {k: changes.pop(k) for k in ("max_features",) if k in changes}
    path = save(tmp_path, **reviews(**changes)[1])
    with pytest.raises(UserError, match=message) as error:
        npz(path, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"y": a["y"][:9], "task": a["task"][:9]}, "expected 10, one more"),
        (lambda a: {"counts": a["counts"] * -1.0}, "counts go from .* at least 0"),
        (lambda a: {"counts": a["counts"] * np.nan}, "counts go from nan"),
        (lambda a: {"counts": a["counts"].astype(str)}, "counts is of type <U"),
        (lambda a: {"indices": a["indices"] * -1.0}, "indices float64"),
        (lambda a: {"indices": -a["indices"].astype(int)}, "indices go from -5"),
    ],
)
def test_word_counts_of_unfit_values_are_one_clear_line(tmp_path, change, message):
    arrays = reviews()[1]
    with pytest.raises(UserError, match=message) as error:
        npz(save(tmp_path, **(arrays | change(arrays))))
    assert "\n" not in str(error.value)
