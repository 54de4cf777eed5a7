"""normalize_rows: gradients over their scale."""

import numpy as np
import pytest

import mtopt
from mtopt.transforms import normalize_rows
from tests.helpers.wrappers import LOSSES, PARAMS, ROWS


@pytest.mark.parametrize(
    ("by", "scale"),
    [
        ("l2", np.linalg.norm(ROWS, axis=1)),
        ("loss", LOSSES),
        ("loss+", LOSSES * np.linalg.norm(ROWS, axis=1)),
    ],
)
def test_rows_are_divided_by_their_scale(by, scale):
    tx = normalize_rows(3, by=by)
    rows, _ = tx.update(ROWS, tx.init(PARAMS), PARAMS, losses=LOSSES)
    np.testing.assert_allclose(rows, ROWS / scale[:, None], rtol=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1e15, 1e30])
def test_rows_of_any_size_become_units_and_zeros_stay(size):
    rows = {"a": size * ROWS[:, :2].at[2].set(0), "b": size * ROWS[:, 2:].at[2].set(0)}
    tx = normalize_rows(3)
    found, _ = tx.update(rows, tx.init(PARAMS))
    norms = np.sqrt(sum(np.sum(np.square(leaf), axis=1) for leaf in found.values()))
    np.testing.assert_allclose(norms, [1, 1, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: normalize_rows(2, by="norm"), "by is 'norm'"),
        (lambda: normalize_rows(0), "num_tasks is 0"),
    ],
)
def test_options_out_of_range_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
