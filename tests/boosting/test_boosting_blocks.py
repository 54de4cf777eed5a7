"""The three blocks of R-MTGB: their order, their edges, and the program they make."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from mtopt import boosting
from mtopt.data.tables.boosting_scenarios import scenario

RATE = 0.5
THETA = np.array([0.3, -0.2, 0.1])
COUNTS = (3, 4, 2)


def fit(x, y, task, counts, **options):
    names = ("num_shared", "num_partition", "num_task_specific")
    options = {"num_tasks": 3, "learning_rate": RATE, "theta": THETA} | options
    return boosting.fit(x, y, task, **dict(zip(names, counts, strict=True)), **options)


@functools.cache
def data():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(90, 2)).astype(np.float32)
    task = np.arange(90) % 3
    y = 1 + np.where(task == 2, -1, 1) * np.sin(2 * x[:, 0]) + 0.5 * task * x[:, 1]
    return x, y, task


def sigmoid(theta):
    return 1 / (1 + np.exp(-theta))


def stump(trees, iteration, segment, x):
    """What the stump of an iteration and segment says, by its definition."""
    feature = trees.feature[iteration, segment, 0]
    right = x[:, feature] > trees.threshold[iteration, segment, 0]
    return np.asarray(trees.value)[iteration, segment, right.astype(int), 0]


@functools.cache
def fitted():
    x, y, task = data()
    with jax.enable_x64(True):
        model = fit(x, y, task, COUNTS)
        return model, np.asarray(boosting.staged_predict(model, x, task))


@pytest.mark.slow
def test_a_stage_is_the_sum_of_the_blocks_so_far():
    x, _, task = data()
    model, staged = fitted()
    n1, n2, n3 = COUNTS
    shared = [stump(model.shared, i, 0, x) for i in range(n1)]
    out = [stump(model.outlier, i, 0, x) for i in range(n2)]
    non = [stump(model.non_outlier, i, 0, x) for i in range(n2)]
    own = [
        np.choose(task, [stump(model.task_specific, i, t, x) for t in range(3)])
        for i in range(n3)
    ]
    gates = sigmoid(np.asarray(model.theta_path))[:, task]
    stages = [sum(shared[:i]) for i in range(1, n1 + 1)]
    for i in range(1, n2 + 1):
        mixed = (1 - gates[i]) * sum(non[:i]) + gates[i] * sum(out[:i])
        stages.append(sum(shared) + mixed)
    last = stages[-1]
    stages += [last + sum(own[:i]) for i in range(1, n3 + 1)]
    np.testing.assert_allclose(staged, stages, rtol=0, atol=1e-12)
    # Every stage counts: another order of the blocks would be seen.
    assert np.abs(np.diff(stages, axis=0)).max(axis=1).min() > 0.05


def test_a_block_begins_with_what_the_block_before_left():
    x, y, task = data()
    model, staged = fitted()
    n1, n2, _ = COUNTS

    def check(trees, segment, targets, rows):
        tree = DecisionTreeRegressor(max_depth=1, random_state=0)
        want = RATE * tree.fit(x[rows], targets[rows]).predict(x[rows])
        mine = stump(trees, 0, segment, x[rows])
        np.testing.assert_allclose(mine, want, rtol=0, atol=1e-12)

    everyone, gate = np.ones(90, bool), sigmoid(THETA)[task]
    left = y - staged[n1 - 1]
    check(model.outlier, 0, gate * left, everyone)
    check(model.non_outlier, 0, (1 - gate) * left, everyone)
    left = y - staged[n1 + n2 - 1]
    for t in range(3):
        check(model.task_specific, t, left, task == t)


def test_boosting_starts_at_zero_and_theta_near_it():
    number = np.arange(2000)
    x, y = np.zeros((2000, 1)), np.ones(2000)
    options = {"num_tasks": 2000, "theta": None, "key": jax.random.key(0)}
    model = fit(x, y, number, (0, 0, 0), **options)
    assert (np.asarray(boosting.predict(model, x, number)) == 0).all()
    theta = np.asarray(model.theta)
    # 0.1 N(0, 1): mean and deviation of 2,000 draws, within four standard errors.
    assert abs(theta.mean()) < 4 * 0.1 / 2000**0.5
    assert abs(theta.std() / 0.1 - 1) < 4 / 4000**0.5


def test_of_equal_thresholds_the_lowest_and_of_equal_features_the_first():
    x = np.array([0.0, 1, 2, 3], np.float32)[:, None].repeat(2, axis=1)
    y = np.array([2.0, 0, 0, 2])  # after the first row and before the last: alike
    model = fit(x, y, np.zeros(4, int), (1, 0, 0), num_tasks=1, theta=np.zeros(1))
    assert model.shared.feature.item() == 0
    assert model.shared.threshold.item() == 0.5


def test_a_task_of_one_row_gets_its_residual():
    x, y, task = data()
    task = np.where(np.arange(90) == 4, 2, task % 2)
    with jax.enable_x64(True):
        model = fit(x, y, task, COUNTS)
        staged = np.asarray(boosting.staged_predict(model, x, task))[:, 4]
    assert np.isposinf(model.task_specific.threshold[0, 2]).all()
    before, after = y[4] - staged[sum(COUNTS[:2]) - 1 : -1]
    assert abs(before) > 0.01
    assert after == pytest.approx((1 - RATE) * before, abs=1e-12)


def test_a_class_that_a_task_lacks_is_pushed_down():
    x, y, task = data()
    classes = np.digitize(y, [0.5, 1.5])
    x, classes, task = (a[(task != 2) | (classes != 2)] for a in (x, classes, task))
    assert set(classes[task == 0]) == {0, 1, 2}
    model = fit(x, classes, task, (0, 0, 4), num_classes=3, start="zero")
    scores = np.asarray(boosting.decision_function(model, x, task))
    assert (scores[task == 2, 2] < -0.3).all()
    assert (scores[task == 0, 2] > 0).any()


@pytest.mark.slow  # deep trees compile for long
def test_block_two_of_deep_trees_with_equal_thetas_is_pooling_at_half_the_rate():
    x, y, task = data()
    with jax.enable_x64(True):
        options = {"theta": np.zeros(3), "max_depth": 3}
        half = fit(x, y, task, (0, 4, 0), **options)
        pooled = fit(x, y, task, (4, 0, 0), learning_rate=RATE / 2, **options)
        mine, other = (np.asarray(boosting.predict(m, x, task)) for m in (half, pooled))
    np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
    assert mine.std() > 0.2


@pytest.mark.slow  # so do these
def test_trees_of_the_greatest_depth_are_scikit_learns():
    x, y, task = data()
    with jax.enable_x64(True):
        model = fit(x, y, task, (2, 0, 0), max_depth=6)
        mine = np.asarray(boosting.predict(model, x, task))
    said = np.zeros(90)
    for _ in range(2):
        tree = DecisionTreeRegressor(max_depth=6, random_state=0)
        said += RATE * tree.fit(x, y - said).predict(x)
        assert tree.get_depth() == 6
    np.testing.assert_allclose(mine, said, rtol=0, atol=1e-12)


def test_the_program_does_not_grow_with_the_data():
    def equations(rows, num_tasks, count):
        shapes = (
            jax.ShapeDtypeStruct((rows, 5), np.float32),
            jax.ShapeDtypeStruct((rows,), np.float32),
            jax.ShapeDtypeStruct((rows,), np.int32),
        )
        program = jax.make_jaxpr(
            lambda *arrays: fit(
                *arrays,
                (count, count, count),
                num_tasks=num_tasks,
                theta=np.linspace(-1, 1, num_tasks),
            )
        )(*shapes)
        return len(re.findall(r"\s=\s", str(program)))

    small = equations(300, 3, 2)
    assert small > 100
    assert equations(300, 100, 2) == small
    assert equations(300, 3, 200) == small
    assert equations(2000, 3, 2) == small


@pytest.mark.slow
def test_without_outliers_nothing_is_gained_over_pooling():
    """And with them, by the same program and sizes, much is.

    F_out and F_non each move at about half the rate while theta is small, which helps
    stumps by itself: pooling is given the better of both rates. The ratio of errors is
    1.015 (standard error .002) without outliers and .70 (.02) with them.
    """
    sizes = {"num_train": 150, "num_test": 300}
    draws = [scenario(n, seed, **sizes) for n in (1, 4) for seed in range(8)]
    train, test = (
        jax.tree.map(lambda *leaves: np.stack(leaves), *parts)
        for parts in zip(*[(draw.train, draw.test) for draw in draws], strict=True)
    )
    keys = jax.random.split(jax.random.key(0), len(draws))

    def errors(counts, rate):
        def one(repeat):
            train, test, key = repeat
            options = {"num_tasks": 10, "learning_rate": rate, "theta": None}
            model = fit(*train, counts, key=key, **options)
            said = boosting.predict(model, test.features, test.task)
            return jnp.sqrt(jnp.mean((said - test.targets) ** 2))

        return jax.lax.map(one, (train, test, keys)).reshape(2, 8)

    robust = jax.jit(functools.partial(errors, (0, 50, 0)))(1.0)
    pooling = jax.jit(functools.partial(errors, (50, 0, 0)))
    pooled = np.minimum(pooling(1.0), pooling(0.5))
    ratio = np.asarray(robust / pooled)
    alike, outliers = ratio.mean(axis=1)
    assert alike > 0.98, ratio
    assert outliers < 0.85, ratio
