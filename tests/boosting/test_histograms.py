"""Trees by histograms: the exact ones where a column has few values, or its shares."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from mtopt import boosting
from mtopt.boosting import blocks, learner
from mtopt.boosting.binned_rows import BinnedRows
from mtopt.boosting.bins import Bins, Packed, bins_of, packed
from mtopt.boosting.columns import canonical
from mtopt.boosting.sorted_rows import SortedRows
from tests.helpers.close import assert_close

ROWS, SEGMENTS, DRAWS, BINS = 400, 4, 24, 30


def draw(seed):
    """Columns of ties, NaN, one value and as many as bins; rows without weight."""
    rng = np.random.default_rng(seed)
    x = np.stack([rng.integers(0, n, ROWS) for n in (2, 2, 30, 1, 3, 30)], axis=1)
    x = x + rng.normal(size=6)
    x[:, 2] = x[:, 2] ** 3
    x[rng.random(ROWS) < 0.2, 5] = np.nan
    weights = rng.uniform(0.1, 2, ROWS) * (rng.random(ROWS) < 0.8)
    y = rng.normal(size=(2, ROWS)) + np.sin(x[:, 2]) + (x[:, 1] > x[:, 0])
    y += np.nan_to_num(np.sin(x[:, 5] / 4), nan=1.5)
    # Values that only rows without weight have, and a segment all of one target.
    x[weights == 0, 2] += 0.3
    segment = rng.integers(0, SEGMENTS, ROWS)
    y[:, segment == 3] = 1.0
    drawn = weights * (rng.random(ROWS) < 0.7)
    return x.astype(np.float32), weights, drawn, y, segment.astype(np.int32)


@functools.cache
def draws():
    return [np.stack(part) for part in zip(*map(draw, range(DRAWS)), strict=True)]


def both_splits(dtype):
    def one(x, weights, drawn, y, segment):
        columns, rest = canonical(x), (segment, SEGMENTS, weights)
        bins = bins_of(columns, weights, BINS)
        binned = BinnedRows.of(columns, *rest, bins).weighted(drawn)
        exact = SortedRows.of(columns, *rest, None).weighted(drawn)
        return binned.best_split(y), exact.best_split(y)

    x, weights, drawn, y, segment = draws()
    arrays = x, weights.astype(dtype), drawn.astype(dtype), y.astype(dtype), segment
    return jax.jit(lambda data: jax.lax.map(lambda each: one(*each), data))(arrays)


@pytest.mark.parametrize("x64", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_level_by_histograms_is_the_exact_one(x64):
    with jax.enable_x64(x64):
        found = both_splits(np.float64 if x64 else np.float32)
    binned, exact = jax.tree.map(np.asarray, found)
    drawn, segment = draws()[2], draws()[4]

    def said(split):
        values = np.where(
            split.goes_right[:, None],
            np.take_along_axis(split.right, segment[:, None], axis=2),
            np.take_along_axis(split.left, segment[:, None], axis=2),
        )
        return np.where(drawn[:, None] > 0, values, 0)

    # Of two features that divide the rows alike either may be chosen.
    assert_close(said(binned), said(exact), rtol=1e-12 if x64 else 1e-5)
    same = binned.feature == exact.feature
    assert same.mean() > 0.9
    np.testing.assert_array_equal(binned.threshold[same], exact.threshold[same])
    assert np.isposinf(binned.threshold[:, 3]).all()
    assert np.isneginf(binned.threshold).any()
    assert {2, 5} <= set(binned.feature.ravel().tolist())


# --- whole fits -----------------------------------------------------------------------


def table(rows, values):
    rng = np.random.default_rng(7)
    x = rng.integers(0, values, (rows, 5)).astype(np.float32)
    return x, np.sin(x[:, 0]) + 0.1 * x[:, 1] * x[:, 2] + rng.normal(size=rows)


def fitted(x, y, depth, max_bins, counts=(2, 0, 0), task=None, tasks=1, **options):
    task = np.zeros(len(x), int) if task is None else task
    return boosting.fit(
        x,
        y,
        task,
        num_tasks=tasks,
        num_shared=counts[0],
        num_partition=counts[1],
        num_task_specific=counts[2],
        learning_rate=0.5,
        theta=np.linspace(-1, 1, tasks),
        max_depth=depth,
        max_bins=max_bins,
        **options,
    )


@pytest.mark.parametrize(
    ("depth", "values", "x64"),
    [
        (3, 15, False),
        *(
            pytest.param(depth, values, True, marks=pytest.mark.slow)
            for depth in range(1, 7)
            for values in (15, 255)
        ),
    ],
)
def test_trees_on_few_values_are_scikit_learns_exact_ones(depth, values, x64):
    x, y = table(40 * values + 300, values)
    with jax.enable_x64(x64):
        model = fitted(x, y, depth, values)
        mine = np.asarray(boosting.predict(model, x, np.zeros(len(x), int)))
    said = np.zeros(len(x))
    for _ in range(2):
        tree = DecisionTreeRegressor(max_depth=depth, random_state=0)
        said += 0.5 * tree.fit(x, y - said).predict(x)
    assert_close(mine, said, rtol=1e-12 if x64 else 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("depth", "x64"), [(2, False), (3, True)])
def test_all_blocks_are_those_of_exact_trees(depth, x64):
    x, y = table(4000, 12)
    x[::9, 3] = np.nan
    task = np.arange(4000) % 3
    y = np.where(task == 2, -y, y)
    weights = np.where(np.arange(4000) % 5, 1.5, 0)
    options = {"counts": (2, 2, 2), "task": task, "tasks": 3, "weights": weights}
    with jax.enable_x64(x64):
        one, other = (fitted(x, y, depth, kind, **options) for kind in (12, "exact"))
        mine, want = (np.asarray(boosting.predict(m, x, task)) for m in (one, other))
    trained = weights > 0
    assert_close(mine[trained], want[trained], rtol=1e-6 if x64 else 1e-4)
    # Two of equal gain may divide the rows without weight in another way.
    assert np.isclose(mine, want, atol=1e-3).mean() > 0.98


def shares(numbers, count):
    """The last value of each of the bins of a column but the last one."""
    values = np.unique(numbers)
    if len(values) <= count:
        return values[:-1]
    cuts = np.arange(1, count) / count
    left = np.unique(np.quantile(numbers, cuts, method="inverted_cdf"))
    return left[left < values[-1]]


def test_thresholds_are_edges_of_shares_by_either_arrangement():
    """Forty tasks sort their rows, all rows together make histograms."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1])
    task = np.arange(600) % 40
    y = np.sin(3 * x[:, 0]) + x[:, 1] + np.sign(x[:, 2])
    model = fitted(x, y, 1, 64, counts=(6, 0, 2), task=task, tasks=40)
    edges = [shares(column, 64) for column in x.T]
    at = np.stack([np.searchsorted(*pair) for pair in zip(edges, x.T, strict=True)])
    for trees, number in ((model.shared, 0 * task), (model.task_specific, task)):
        split = np.argwhere(np.isfinite(trees.threshold))
        assert len(split) > 0.9 * np.size(trees.threshold)
        for i, segment, node in split:
            f = trees.feature[i, segment, node]
            threshold = trees.threshold[i, segment, node]
            rows = number == segment
            right = x[:, f] > threshold
            # The nearest bins of the segment's rows on both sides, whole.
            below, above = at[f, rows & ~right].max(), at[f, rows & right].min()
            assert below < above
            low, high = x[at[f] == below, f].max(), x[at[f] == above, f].min()
            assert threshold == pytest.approx((float(low) + high) / 2, rel=1e-6)
            if trees is model.shared:
                assert above == below + 1


# --- bins -----------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnums=2)
def packed_bins(x, weights, max_bins):
    bins = bins_of(canonical(x), weights, max_bins)
    return bins, packed(bins)


def columns():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(500, 12)).astype(np.float32)
    x[:, 1] = 4.0
    x[:, 2] = rng.integers(0, 8, 500)
    x[:, 3:10] = rng.integers(0, 2, (500, 7))
    x[:, 10] = np.round(np.exp(2 * x[:, 10]))  # ties, and a long tail
    x[rng.random(500) < 0.05, 2] = np.nan  # besides as many values as bins
    x[rng.random(500) < 0.05, 11] = np.nan
    return x, rng.integers(0, 4, 500).astype(np.float32)


def test_a_row_of_weight_three_is_three_rows():
    x, weights = columns()
    bins, _ = jax.tree.map(np.asarray, packed_bins(x, weights, 8))
    repeated = np.repeat(x, weights.astype(int), axis=0)
    for d, column in enumerate(repeated.T):
        numbers = column[~np.isnan(column)]
        left = shares(numbers, 8)
        missing = len(numbers) < len(column)
        want = missing + np.searchsorted(left, x[:, d])  # NaN comes last: not looked at
        want = np.where(np.isnan(x[:, d]), 0, want)
        seen = weights > 0
        np.testing.assert_array_equal(bins.number[d, seen], want[seen])
        assert bins.used[d] == want[seen].max() + 1
        for number in range(bins.used[d]):
            inside = np.where(np.isnan(x[:, d]), -np.inf, x[:, d])[
                seen & (want == number)
            ]
            assert bins.lowest[d, number] == inside.min()
            assert bins.highest[d, number] == inside.max()


def test_packs_hold_the_bins_of_their_columns():
    x, weights = columns()
    bins, packs = jax.tree.map(np.asarray, packed_bins(x, weights, 8))
    seen, width = weights > 0, 9
    for d, pack in enumerate(packs.pack):
        code = packs.code[pack, seen]
        assert 0 <= code.min() <= code.max() < width
        np.testing.assert_array_equal(packs.digit[d, code], bins.number[d, seen])
        together = packs.pack == pack
        assert bins.used[together].prod() <= width
    # A constant column beside three of two values, three more, one, and four alone.
    assert packs.packs == packs.pack.max() + 1 == 7


def test_sums_of_many_rows_do_not_drift():
    rows = 100_000
    one = Bins(*(jnp.zeros((1, n)) for n in (rows, 1, 3, 3)))
    pack = Packed(
        jnp.zeros((1, rows), jnp.int32), 1, jnp.zeros(1, jnp.int32), jnp.arange(3)[None]
    )

    @jax.jit
    def summed(weights):
        columns, segment = jnp.zeros((1, rows)), jnp.zeros(rows, jnp.int32)
        found = BinnedRows(columns, one, pack, segment, 1, weights)
        return found._histograms(weights[None])

    found = summed(np.full(rows, 0.1, np.float32))[0, 0, 0, 0]
    # One after the other they come to 9,998.56.
    assert abs(found - rows * np.float32(0.1)) < 0.01


@pytest.mark.slow
def test_many_weights_at_once():
    x, y = table(600, 15)
    weights = np.random.default_rng(0).integers(0, 3, (2, 600)) * 1.0

    def one(weights):
        return fitted(x, y, 2, 12, weights=weights)

    models = jax.jit(jax.vmap(one))(weights)
    for number, each in enumerate(weights):
        alone = one(each)
        mine = jax.tree.map(lambda leaf, at=number: leaf[at], models)
        assert_close(mine.shared.value, alone.shared.value, rtol=1e-5)
        np.testing.assert_array_equal(mine.shared.threshold, alone.shared.threshold)
    assert not np.array_equal(*models.shared.threshold)


# --- which trees they are -------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "max_bins", "rows", "bins"),
    [
        (1, None, 300, None),
        (2, None, 300, 255),
        (6, "exact", 300, None),
        (1, 16, 300, 16),
        (2, None, 255, None),  # a bin a row: nothing is lost
    ],
)
def test_stumps_are_exact_unless_told_otherwise(
    depth, max_bins, rows, bins, monkeypatch
):
    class Seen(Exception):
        pass

    def fit_blocks(*arrays):
        assert arrays[-1].max_bins == bins
        raise Seen

    monkeypatch.setattr(learner, "fit_blocks", fit_blocks)
    with pytest.raises(Seen):
        fitted(np.zeros((rows, 1)), np.zeros(rows), depth, max_bins)


@pytest.mark.parametrize(
    ("rows", "count", "depth", "max_bins", "kind"),
    [
        (15_006, 1, 4, 255, BinnedRows),
        (15_006, 139, 4, 255, SortedRows),
        (15_006, 1, 4, None, SortedRows),
        (600, 1, 6, 255, SortedRows),
    ],
)
def test_histograms_are_made_where_they_are_smaller_than_the_rows(
    rows, count, depth, max_bins, kind
):
    def arrangement(columns, segment, weights):
        bins = None if max_bins is None else bins_of(columns, weights, max_bins)
        found = blocks._rows(columns, segment, count, weights, bins, depth)
        assert isinstance(found, kind)

    shapes = [
        jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in (
            ((3, rows), "float32"),
            ((rows,), "int32"),
            ((rows,), "float32"),
        )
    ]
    jax.eval_shape(arrangement, *shapes)
