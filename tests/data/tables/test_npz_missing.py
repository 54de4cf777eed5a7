"""What marks a missing label in an npz file: weights, masks, NaN, a value."""

import numpy as np
import pytest

from mtopt.data import npz
from mtopt.errors import UserError
from tests.helpers.npz import PARTS, N, collect, disjoint, save, shared

ROW = np.arange(N)
BITS = np.stack([ROW % 2, ROW // 2 % 2], 1)
LABELLED = np.stack([ROW % 5 != 0, ROW % 3 == 0], 1)


YM = ("y", "mask")


def bits(**changes):
    """0 and 1, with invented zeros where a label is missing, as molecule sets come."""
    return shared(y=BITS * LABELLED * 1.0, target_names=None, **changes)


def labels(data):
    """All labels that are there, by task, and where there are any."""
    batches = [collect(data, part) for part in PARTS]
    y, mask = (np.concatenate([getattr(b, n) for b in batches], 1) for n in YM)
    return [y[k][mask[k]] for k in range(len(y))]


def test_weights_of_zero_are_missing_labels_whatever_y_holds(tmp_path):
    data = npz(save(tmp_path, **bits(w=LABELLED.astype(float))))
    for k, own in enumerate(labels(data)):
        expected = BITS[LABELLED[:, k], k]
        assert np.bincount(own).tolist() == np.bincount(expected).tolist()
    hit = int((~LABELLED).sum())
    assert data.reading["missing labels"] == {"w is 0": hit}
    assert "w" not in data.reading["not read"]


def test_targets_are_scaled_by_the_labels_that_have_weight(tmp_path):
    y = np.random.default_rng(0).normal(7, 3, (N, 2))
    split = np.repeat(PARTS, [30, 5, 5])
    arrays = shared(y=y * LABELLED, target_names=None, split=split)
    data = npz(save(tmp_path, **arrays, w=LABELLED * 2.0))
    for k in range(2):
        seen = y[:30, k][LABELLED[:30, k]]
        np.testing.assert_allclose(data.target_mean[k], seen.mean(), rtol=1e-6)
        np.testing.assert_allclose(data.target_std[k], seen.std(), rtol=1e-6)


def test_nan_is_missing_whatever_its_weight(tmp_path):
    y = np.where(LABELLED, BITS, np.nan)
    data = npz(save(tmp_path, **bits() | {"y": y}, w=np.ones((N, 2))))
    assert [len(own) for own in labels(data)] == LABELLED.sum(0).tolist()
    assert data.reading["missing labels"] == {"NaN": int((~LABELLED).sum())}


@pytest.mark.parametrize("shape", [(N,), (N, 1)])
@pytest.mark.parametrize("key", ["w", "mask"])
def test_a_row_has_one_weight_for_all_tasks(tmp_path, key, shape):
    data = npz(save(tmp_path, **bits(**{key: (ROW % 4 > 0).reshape(shape)})))
    assert [len(own) for own in labels(data)] == [N - N // 4] * 2


def test_masks_and_weights_of_parts_and_of_samples_of_their_own(tmp_path):
    arrays = {}
    for part, size in (("train", 30), ("test", 10)):
        rows = slice(0, size)
        arrays |= {f"x_{part}": np.eye(30)[rows], f"y_{part}": BITS[rows]}
        arrays |= {f"w_{part}": LABELLED[rows] * 1.0}
    data = npz(save(tmp_path, **arrays))
    assert collect(data, "test").mask.sum(1).tolist() == LABELLED[:10].sum(0).tolist()
    own = disjoint((20, 20), w=(ROW % 4 > 0) * 1.0)
    data = npz(save(tmp_path, **own))
    sizes = [collect(data, part).mask.sum(1) for part in PARTS]
    assert np.sum(sizes, 0).tolist() == [15, 15]


def test_every_way_is_counted_and_none_twice(tmp_path):
    y = np.where(LABELLED, BITS, 9.0)
    y[0], y[1] = np.nan, 9
    arrays = bits() | {"y": y, "w": (ROW != 2)[:, None] * 1.0, "mask": ROW > 3}
    found = npz(save(tmp_path, **arrays), missing=9).reading["missing labels"]
    nines = int((y == 9).sum())
    left = (y != 9) & ~np.isnan(y)
    assert found == {
        "NaN": 2,
        "the value 9": nines,
        "w is 0": int(left[2].sum()),
        "mask is False": int(left[[1, 3]].sum()),
    }


SQUARE = {"x": np.eye(4), "y": BITS[:4, [0, 1, 0, 1]] * 1.0}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            bits(w=np.ones((N, 3))),
            r"w has shape \(40, 3\): expected \(40, 2\), as y, or",
        ),
        (bits(w=np.ones(2)), r"w has shape \(2,\)"),
        (SQUARE | {"w": np.ones(4)}, r"w has shape \(4,\): expected \(4, 4\)"),
        (bits(w=np.full((N, 2), "a")), "w is <U1 with other values"),
        (bits(w=-np.ones((N, 2))), "w is float64 with other values than finite"),
        (
            bits(w=np.full((N, 2), np.nan)),
            "label weighs, 0 where it is missing",
        ),
        (bits(w=np.zeros((N, 2))), "every label of y is missing .w is 0: 80"),
        (bits(mask=np.full((N, 2), 2)), "mask is int64 with other values than 0 and 1"),
        (bits(mask=np.full((N, 2), "yes")), "mask is <U3"),
        (bits(mask=np.ones((2, N))), r"mask has shape \(2, 40\)"),
        (bits() | {"y": BITS - np.inf}, "y has 80 infinite labels: .* NaN where"),
    ],
)
def test_what_is_no_mask_is_one_clear_line(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message) as error:
        npz(save(tmp_path, **arrays))
    assert "\n" not in str(error.value)


def test_a_value_that_no_label_has_is_a_mistake(tmp_path):
    with pytest.raises(UserError, match="no label of y is -1: expected missing=-1 to"):
        npz(save(tmp_path, **bits()), missing=-1)
