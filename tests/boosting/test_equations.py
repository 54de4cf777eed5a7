"""R-MTGB: the published learner's arithmetic, line by line."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from mtopt import boosting
from tests.helpers import boosting_reference as reference
from tests.helpers.boosting import ALL, TASKS, THETA, data, expected, fit, targets


@pytest.mark.parametrize(
    ("kind", "x64"),
    [
        ("regression", True),
        pytest.param("outputs", True, marks=pytest.mark.slow),
        pytest.param("two", True, marks=pytest.mark.slow),
        pytest.param("three", True, marks=pytest.mark.slow),
        ("two", False),
        # More programs to compile.
        pytest.param("regression", False, marks=pytest.mark.slow),
        pytest.param("outputs", False, marks=pytest.mark.slow),
        pytest.param("three", False, marks=pytest.mark.slow),
    ],
)
def test_the_equations_line_by_line(kind, x64):
    x, _, task, train = data()
    y, classes = targets(kind)
    # One program: where scores start is an array that it is given.
    for start in ("log_odds", "zero") if classes else ("zero",):
        want = expected(kind, start)
        options = {"num_classes": classes, "weights": train * 1.0, "start": start}
        with jax.enable_x64(x64):
            model = fit(x, y, task, **options)
            scores = np.asarray(boosting.decision_function(model, x, task))
        exact = want.scores
        if kind == "two":
            exact = exact[:, 1] - exact[:, 0]
        clear = ~want.tied
        assert clear.mean() > 0.9
        tolerance = (1e-9 if x64 else 1e-5) * max(1, np.abs(y).max())
        apart = scores[clear] - exact.reshape(scores.shape)[clear]
        np.testing.assert_allclose(apart, 0, rtol=0, atol=tolerance)
        np.testing.assert_allclose(
            model.theta_path, want.thetas, rtol=0, atol=tolerance
        )


def test_rows_of_integers_and_equal_columns():
    x, y, task, train = data()
    x = np.round(4 * x)
    x[:, 2] = x[:, 0]
    want = reference.boost(x, y, task, train, THETA, *ALL, 0.5)
    with jax.enable_x64(True):
        model = fit(x, y, task, weights=train * 1.0)
        said = np.asarray(boosting.predict(model, x, task))
    clear = ~want.tied
    assert clear.mean() > 0.9
    np.testing.assert_allclose(said[clear], want.scores[clear, 0], rtol=0, atol=1e-9)
    for trees in (model.shared, model.outlier, model.task_specific):
        assert (np.asarray(trees.feature) < 2).all()


def test_staged_predictions_are_those_of_the_fit():
    x, y, task, train = data()
    want = expected("regression")
    with jax.enable_x64(True):
        model = fit(x, y, task, weights=train * 1.0)
        staged = np.asarray(boosting.staged_predict(model, x, task))
        last = np.asarray(boosting.predict(model, x, task))
    clear = ~want.tied
    np.testing.assert_allclose(
        staged[:, clear], want.staged[:, clear, 0], rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(staged[-1], last, rtol=0, atol=1e-12)
    assert staged.shape == (13, 160)
    loss = ((staged - y)[:, train] ** 2).mean(axis=1)
    for block in (loss[:4], loss[8:]):
        assert (np.diff(block) <= 1e-12).all()


def test_three_steps_of_the_published_trace():
    y, x = np.array([1.0, 1.0, -1.0]), np.zeros((3, 1))
    theta = np.array([0.1, 0.1, -0.1])
    with jax.enable_x64(True):
        model = fit(
            x, y, np.arange(3), (0, 3, 0), num_tasks=3, theta=theta, learning_rate=1.0
        )
        staged = np.asarray(boosting.staged_predict(model, x, np.arange(3)))
    out = np.cumsum(np.asarray(model.outlier.value)[:, 0, 0, 0])
    non = np.cumsum(np.asarray(model.non_outlier.value)[:, 0, 0, 0])
    np.testing.assert_allclose(out, [0.1916459, 0.2983315, 0.3652970], atol=6e-8)
    np.testing.assert_allclose(non, [0.1416875, 0.2012525, 0.2169699], atol=6e-8)
    np.testing.assert_allclose(staged[0], [0.167915, 0.167915, 0.165419], atol=6e-7)
    path = [[0.1, 0.1, -0.1], [0.1, 0.1, -0.1], [0.110366, 0.110366, -0.114519]]
    path.append([0.128454, 0.128454, -0.144685])
    np.testing.assert_allclose(model.theta_path, path, atol=1e-6)
    assert np.isposinf(model.outlier.threshold).all()


def test_equal_thetas_are_a_saddle():
    x, y, task, _ = data()
    half = fit(x, y, task, (0, 8, 0), theta=np.zeros(TASKS), learning_rate=1.0)
    assert (half.theta == 0).all()
    everyone = np.ones(160, bool)
    pooled = reference.boost(x, y, task, everyone, THETA, 8, 0, 0, 0.5).scores[:, 0]
    np.testing.assert_allclose(boosting.predict(half, x, task), pooled, atol=2e-6)


def test_labels_of_the_groups_switch_with_the_sign():
    x, y, task, _ = data()
    one = fit(x, y, task)
    other = fit(x, y, task, theta=-THETA)
    np.testing.assert_allclose(one.theta, -other.theta, atol=1e-6)
    np.testing.assert_allclose(one.outlier.value, other.non_outlier.value, atol=1e-6)
    np.testing.assert_allclose(
        boosting.predict(one, x, task), boosting.predict(other, x, task), atol=1e-6
    )


def test_theta_steps_down_the_gradient():
    x, y, task, train = data()
    with jax.enable_x64(True):
        model = fit(x, y, task, weights=train * 1.0)
        parts = {
            "outlier": model.outlier,
            "non_outlier": model.non_outlier,
            "task_specific": model.task_specific,
        }
        kept = {"outlier": 3, "non_outlier": 3, "task_specific": 0}
        three = {
            name: jax.tree.map(lambda leaf, n=kept[name]: leaf[:n], trees)
            for name, trees in parts.items()
        }
        start = model.theta_path[3]

        def loss(theta):
            at = dataclasses.replace(model, **three, theta_path=theta[None])
            error = y - boosting.decision_function(at, x, task)
            return 0.5 * jnp.sum(train * error**2)

        step = 1e-5 * np.eye(TASKS)
        slope = [(loss(start + e) - loss(start - e)) / 2e-5 for e in step]
        assert np.abs(slope).min() > 1e-4
        want = start - 0.5 * jnp.stack(slope)
        np.testing.assert_allclose(model.theta_path[4], want, rtol=0, atol=1e-8)


def test_the_mean_gradient_has_its_own_step():
    x, y, task, _ = data()
    whole = fit(x, y, task).theta_path[2] - THETA
    mean = fit(x, y, task, theta_gradient="mean", theta_learning_rate=3.0)
    mean = mean.theta_path[2] - THETA
    size = np.bincount(task)
    assert np.abs(whole).max() > 1e-3
    np.testing.assert_allclose(mean / 3, whole / 0.5 / size, atol=1e-7)


def sklearn_boosting(x, y, task, counts, depth, weight, rate=0.5):
    """Pooled and then single-task boosting from zero by scikit-learn's trees."""
    said = np.zeros(len(y))
    everyone = [np.arange(len(y))]
    alone = [np.flatnonzero(task == number) for number in range(TASKS)]
    for groups in [everyone] * counts[0] + [alone] * counts[2]:
        for rows in groups:
            tree = DecisionTreeRegressor(max_depth=depth, random_state=0)
            tree.fit(x[rows], (y - said)[rows], weight[rows])
            said[rows] += rate * tree.predict(x[rows])
    return said


@pytest.mark.parametrize(
    ("counts", "depth"),
    [
        ((4, 0, 4), 1),
        pytest.param((0, 0, 5), 2, marks=pytest.mark.slow),
        pytest.param((5, 0, 0), 3, marks=pytest.mark.slow),
    ],
)
def test_pooled_and_single_task_boosting_are_scikit_learns(counts, depth):
    x, y, task, _ = data()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    with jax.enable_x64(True):
        model = fit(x, y, task, counts, max_depth=depth, weights=weight)
        mine = boosting.predict(model, x, task)
    want = sklearn_boosting(x, y, task, counts, depth, weight)
    np.testing.assert_allclose(mine, want, rtol=0, atol=1e-9)
