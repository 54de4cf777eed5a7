"""Samples divided into training, validation and test."""

import jax
import numpy as np
import pytest

from mtopt.boosting import estimator
from mtopt.data import describe, npz, summary
from mtopt.data.division import TEST, TRAIN, VALID, divide
from mtopt.data.equal_rows import equal_rows, on_both_sides
from mtopt.data.images.pairs import Images, split_sources
from tests.helpers.npz import PARTS, disjoint, save, shared, sparse


def test_a_division_follows_the_fractions():
    group = np.repeat([0, 1, 2, 3], [100, 3, 2, 1])
    parts = divide(
        np.full(106, TRAIN),
        group,
        {VALID: 0.2, TEST: 0.4},
        np.random.default_rng(0),
        np.arange(106),
    )
    counts = [np.bincount(parts[group == g], minlength=3).tolist() for g in range(4)]
    assert counts == [[40, 20, 40], [1, 1, 1], [1, 0, 1], [1, 0, 0]]


def test_an_extreme_division_leaves_one_of_each():
    for fractions in ({VALID: 0.9, TEST: 0.05}, {VALID: 0.05, TEST: 0.9}):
        for n in (3, 4, 5):
            zeros = np.zeros(n, int)
            parts = divide(
                zeros, zeros, fractions, np.random.default_rng(0), np.arange(n)
            )
            assert np.bincount(parts, minlength=3).min() >= 1


def test_equal_rows_stay_together_and_shares_are_kept():
    rng = np.random.default_rng(0)
    equal = np.repeat(np.arange(200), rng.integers(1, 7, 200))
    rng.shuffle(equal)
    group = equal % 2
    zeros = np.zeros(len(equal), int)
    parts = divide(zeros, group, {VALID: 0.2, TEST: 0.3}, rng, equal)
    for bunch in range(200):
        assert len({*parts[equal == bunch]}) == 1
    for one in (0, 1):
        shares = np.bincount(parts[group == one]) / (group == one).sum()
        # Up to half of the largest bunch, of some 350 rows.
        np.testing.assert_allclose(shares, [0.5, 0.2, 0.3], atol=0.01)


@pytest.mark.parametrize("sizes", [(90, 6, 4), (50, 48, 2), (1, 1, 1), (97, 97, 97)])
def test_bunches_larger_than_a_part_leave_one_of_each(sizes):
    equal = np.repeat(np.arange(3), sizes)
    zeros, rng = np.zeros(len(equal), int), np.random.default_rng(3)
    parts = divide(zeros, zeros, {VALID: 0.15, TEST: 0.15}, rng, equal)
    each = [{*parts[equal == bunch].tolist()} for bunch in range(3)]
    assert sorted(map(list, each)) == [[TRAIN], [VALID], [TEST]]


def test_a_group_of_fewer_bunches_than_parts_is_divided_row_by_row():
    """Of one or two inputs no three parts can be made: what is shared is counted."""
    equal, zeros = np.arange(40) % 2, np.zeros(40, int)
    rng = np.random.default_rng(0)
    parts = divide(zeros, zeros, {VALID: 0.15, TEST: 0.15}, rng, equal)
    assert np.bincount(parts).tolist() == [28, 6, 6]
    assert on_both_sides(equal, parts) == {"valid": 6, "test": 6}


def test_rows_are_equal_byte_by_byte_but_for_zeros_and_nan():
    x = np.array([[0.0, np.nan], [-0.0, -np.nan], [0.0, 1.0], [0.0, 1.0]])
    assert len({*equal_rows(x)}) == 2
    assert len({*equal_rows(x, np.array([0, 0, 0, 1]))}) == 3
    assert len({*equal_rows(x, [b"a", b"", b"a", b"a"])}) == 3
    assert len({*equal_rows(np.nextafter(x, 2), x)}) == 2


def repeated(arrays, times=4):
    """Every row several times over."""
    keys = ("x", "y", "task")
    return {k: np.repeat(v, times, 0) if k in keys else v for k, v in arrays.items()}


HOLES = np.where(np.eye(40) > 0, np.nan, np.arange(40.0)[:, None] % 9)
TABLE = np.random.default_rng(0).poisson(0.7, (120, 9))
FORMS = {
    "shared": lambda: repeated(shared()),
    "disjoint": lambda: repeated(disjoint((20, 12, 9))),
    "missing values": lambda: repeated(shared(x=HOLES)),
    "counts": lambda: (
        {"y": np.arange(120) % 2, "task": np.arange(120) // 40 % 2}
        | sparse(np.repeat(TABLE[::4], 4, axis=0))
    ),
}


def rows_of(data, part):
    """The task and the inputs of every sample of a part."""
    samples = jax.tree.map(np.asarray, getattr(data, part).samples)
    if data.x_axis is None:
        return {row.tobytes() for row in samples.x}
    own = zip(samples.x, samples.mask, strict=True)
    return {(k, row.tobytes()) for k, (x, m) in enumerate(own) for row in x[m]}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_divided_without_equal_inputs_on_both_sides(tmp_path, form):
    data = npz(save(tmp_path, **FORMS[form]()))
    assert data.reading["equal inputs"] == {"valid": 0, "test": 0}
    train, valid, test = (rows_of(data, part) for part in PARTS)
    assert min(map(len, (train, valid, test))) > 1
    assert not train & (valid | test)
    assert not valid & test


def test_equal_inputs_of_a_given_split_are_counted(tmp_path):
    whole = shared()
    x, y = whole["x"], whole["y"]
    arrays = {"x_train": x, "y_train": y, "x_valid": x[:2] + 1, "y_valid": y[:2]}
    arrays |= {"x_test": x[:7] + (np.arange(7) > 2)[:, None], "y_test": y[:7]}
    data = npz(save(tmp_path, **arrays))
    assert data.reading["equal inputs"] == {"valid": 0, "test": 3}
    words = "inputs of 0 of 2 valid and 3 of 7 test rows stand in training too"
    assert words in summary(describe(data))


def test_equal_images_of_a_class_stay_in_one_part():
    rng = np.random.default_rng(0)
    equal = rng.integers(0, 40, 200)
    parts = split_sources(Images(np.eye(40)[equal], equal % 4), (0.6, 0.15, 0.25), rng)
    assert sorted(np.concatenate(parts).tolist()) == list(range(200))
    found = [{*equal[part].tolist()} for part in parts]
    assert sum(map(len, found)) == len(set.union(*found))
    np.testing.assert_allclose(
        [len(p) / 200 for p in parts], [0.6, 0.15, 0.25], atol=0.05
    )


def test_rows_that_patience_holds_out_are_not_trained_on(monkeypatch):
    seen = {}

    class Held(Exception):
        pass

    def fit(features, targets, task, *, validation, weights, **_):
        seen.update(x=features, task=task, held=validation, real=weights > 0)
        raise Held

    monkeypatch.setattr(estimator, "fit", fit)
    x, task = np.arange(120.0)[:, None] // 4, np.arange(120) % 2
    learner = estimator.MultiTaskBoostingRegressor(patience=2, random_state=0)
    with pytest.raises(Held):
        learner.fit(x, x[:, 0], task=task)
    rows = equal_rows(seen["x"], seen["task"])
    held, trained = (seen["real"] & seen["held"], seen["real"] & ~seen["held"])
    assert held.sum() == 12
    assert not np.isin(rows[held], rows[trained]).any()
