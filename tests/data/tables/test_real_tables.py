"""Real tables in the npz format are read as they are."""

import numpy as np
import pytest

from mtopt.data import npz
from tests.helpers.npz import PARTS, collect


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


# Of both forms a regression and classes, and the one with the most tasks.
@pytest.mark.parametrize(
    ("name", "kind", "tasks", "inferred", "outputs", "x_axis", "columns"),
    [
        ("school", "regression", 139, "regression", 1, 0, 27),
        slow("landmine", None, 29, "binary", 1, 0, 9),
        slow("computer", "regression", 190, "regression", 1, 0, 13),
        slow("abalone", "regression", 3, "regression", 1, 0, 7),
        slow("bank", None, 12, "binary", 1, 0, 31),
        slow("avila", "classification", 48, "classification", 12, 0, 9),
        ("sarcos_test", None, 7, "regression", 1, None, 21),
        slow("adult", None, 3, "binary", 1, None, 78),
        slow("clintox", None, 2, "binary", 1, None, 1061),
        slow("tox21", None, 12, "binary", 1, None, 1061),
        ("toxcast", None, 617, "binary", 1, None, 1061),
        slow("qm8", None, 12, "regression", 1, None, 1061),
        slow("census_income_kdd", None, 3, "binary", 1, None, 485),
    ],
)
def test_real_sets(data_dir, name, kind, tasks, inferred, outputs, x_axis, columns):
    data = npz(data_dir / name / "data.npz", kind=kind)
    assert (data.name, len(data.tasks)) == (name, tasks)
    assert (data.kind, data.outputs, data.x_axis) == (inferred, outputs, x_axis)
    batch = next(data.train.batches(8, seeds=(0,)))
    lead = (1, 8) if x_axis is None else (1, tasks, 8)
    assert batch.x.shape == (*lead, columns)
    assert np.isfinite(batch.x).all()
    assert np.isfinite(batch.y).all()
    assert collect(data, "train").mask.any(axis=1).all()


def test_real_reviews_fit_on_a_small_machine(data_dir):
    data = npz(data_dir / "fdu_mtl_reviews" / "data.npz")
    assert (len(data.tasks), data.kind, data.outputs) == (16, "binary", 1)
    assert data.test.size == 6400
    splits = [getattr(data, part).samples.x for part in PARTS]
    assert {split.dtype for split in splits} == {np.dtype(np.float16)}
    assert sum(split.nbytes for split in splits) < 150e6
    for split in splits:
        used = np.asarray(split[0])
        assert used.shape[1] == 2000
        assert ((used == 0) | (used > 0.69)).all()
        assert used.max() < 5.6
