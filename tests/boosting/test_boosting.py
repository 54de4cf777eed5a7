"""R-MTGB: the published learner's arithmetic, and what users do with it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.tree import DecisionTreeRegressor

from mtopt import boosting
from mtopt.boosting.trees import midpoint
from mtopt.data.tables.boosting_scenarios import scenario
from mtopt.errors import UserError
from tests.helpers import boosting_reference as reference

TASKS = 4
THETA = np.array([0.12, -0.05, 0.2, -0.1])


# Most tests run one of few programs: the same shapes, iterations and options.
ALL = (4, 5, 4)


def blocks(n1, n2, n3):
    return {"num_shared": n1, "num_partition": n2, "num_task_specific": n3}


def fit(x, y, task, counts=ALL, **options):
    options = {"num_tasks": TASKS, "learning_rate": 0.5, "theta": THETA} | options
    return boosting.fit(x, y, task, **blocks(*counts), **options)


@functools.cache
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 3)).astype(np.float32)
    task = rng.integers(0, TASKS, 160)
    y = np.sin(2 * x[:, 0]) * np.where(task == 3, -1, 1) + 0.3 * x[:, 1] * task
    return x, y, task, rng.random(160) < 0.7


def targets(kind):
    x, y, _, _ = data()
    return {
        "regression": (y, None),
        "outputs": (np.stack([y, x[:, 2] ** 2], axis=1), None),
        "two": ((y > 0).astype(int), 2),
        "three": (np.digitize(y, [-0.5, 0.5]), 3),
    }[kind]


@functools.cache
def expected(kind):
    x, _, task, train = data()
    y, classes = targets(kind)
    return reference.boost(x, y, task, train, THETA, *ALL, 0.5, classes)


@pytest.mark.parametrize(
    ("kind", "x64"),
    [
        ("regression", True),
        ("outputs", True),
        ("two", True),
        ("three", True),
        ("regression", False),
        ("two", False),
        # Two more programs to compile.
        pytest.param("outputs", False, marks=pytest.mark.slow),
        pytest.param("three", False, marks=pytest.mark.slow),
    ],
)
def test_the_equations_line_by_line(kind, x64):
    x, _, task, train = data()
    y, classes = targets(kind)
    want = expected(kind)
    with jax.enable_x64(x64):
        model = fit(x, y, task, num_classes=classes, weights=train * 1.0)
        scores = np.asarray(boosting.decision_function(model, x, task))
    exact = want.scores
    if kind == "two":
        exact = exact[:, 1] - exact[:, 0]
    clear = ~want.tied
    assert clear.mean() > 0.9
    tolerance = (1e-9 if x64 else 1e-5) * max(1, np.abs(y).max())
    exact = exact.reshape(scores.shape)
    np.testing.assert_allclose(scores[clear], exact[clear], rtol=0, atol=tolerance)
    np.testing.assert_allclose(model.theta_path, want.thetas, rtol=0, atol=tolerance)


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


def test_any_subset_of_rows_is_predicted_alike():
    x, y, task, _ = data()
    model = fit(x, y, task)
    whole = np.asarray(boosting.predict(model, x, task))
    for rows in (task == 2, np.arange(160) == 5):
        part = boosting.predict(model, x[rows], task[rows])
        np.testing.assert_array_equal(part, whole[rows])


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
    [((4, 0, 4), 1), ((5, 0, 0), 3), ((0, 0, 5), 2)],
)
def test_pooled_and_single_task_boosting_are_scikit_learns(counts, depth):
    x, y, task, _ = data()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    with jax.enable_x64(True):
        model = fit(x, y, task, counts, max_depth=depth, weights=weight)
        mine = boosting.predict(model, x, task)
    want = sklearn_boosting(x, y, task, counts, depth, weight)
    np.testing.assert_allclose(mine, want, rtol=0, atol=1e-9)


def test_thresholds_divide_float32_as_the_middle_in_float64():
    rng = np.random.default_rng(0)
    low = rng.normal(size=5000).astype(np.float32)
    steps = rng.integers(1, 6, 5000)
    high = low
    for step in range(5):
        high = np.where(step < steps, np.nextafter(high, np.float32(9)), high)
    exact = (low.astype(float) + high.astype(float)) / 2
    found = np.asarray(jax.jit(midpoint)(jnp.asarray(low), jnp.asarray(high)))
    assert found.dtype == np.float32
    assert (found <= exact).all()
    assert (np.nextafter(found, np.float32(9)) > exact).all()


def test_nan_goes_left_as_below_every_number():
    x, y, task, _ = data()
    x = x.copy()
    x[::3, 0] = np.nan
    below = np.where(np.isnan(x), np.float32(-100), x)
    y = y + 3 * np.isnan(x[:, 0])
    model, other = fit(x, y, task), fit(below, y, task)
    said = boosting.predict(model, x, task)
    np.testing.assert_allclose(said, boosting.predict(other, below, task), atol=1e-6)
    assert np.isneginf(model.shared.threshold).any()
    # A NaN where training had none is below all that training had.
    unseen = boosting.predict(other, x, task)
    np.testing.assert_array_equal(unseen, boosting.predict(other, below, task))


def test_many_seeds_and_rates_at_once():
    x, y, task, _ = data()
    keys, rates = jax.random.split(jax.random.key(1), 2), jnp.array([0.3, 0.8])

    def one(key, rate):
        return fit(x, y, task, theta=None, key=key, learning_rate=rate)

    over_rates = jax.vmap(one, in_axes=(None, 0))
    models = jax.jit(jax.vmap(over_rates, in_axes=(0, None)))(keys, rates)
    assert models.theta.shape == (2, 2, TASKS)
    for i, j in ((0, 1), (1, 0)):
        alone = one(keys[i], rates[j])
        mine = jax.tree.map(lambda leaf, at=(i, j): leaf[at], models)
        np.testing.assert_allclose(
            boosting.predict(mine, x, task), boosting.predict(alone, x, task), atol=1e-5
        )
        np.testing.assert_allclose(mine.theta, alone.theta, atol=1e-5)
    assert not np.allclose(models.theta[0], models.theta[1])


def test_subsamples_are_drawn_afresh():
    y = np.random.default_rng(0).normal(3, 1, 4000)
    zeros = np.zeros(4000, int)
    options = {"num_tasks": 1, "theta": np.zeros(1), "learning_rate": 1.0}
    options |= {"subsample": 0.25}

    def means(seed):
        key = jax.random.key(seed)
        model = fit(zeros[:, None], y, zeros, (60, 0, 0), key=key, **options)
        # Each leaf is its subsample's mean of what the one before left over.
        return np.cumsum(np.asarray(model.shared.value)[:, 0, 0, 0])

    one = means(0)
    # The mean of a quarter of the rows has the variance 3 / 4000 around that of all.
    # Were masks to pile up, nothing would be left after a few iterations.
    assert np.abs(one - y.mean()).max() < 5 * (3 / 4000) ** 0.5
    assert 0.7 < one[-30:].std() / (3 / 4000) ** 0.5 < 1.3
    assert not np.array_equal(one, means(1))


def test_early_stopping_keeps_the_best_iteration_of_every_block():
    x, y, task, train = data()
    y = y + np.random.default_rng(0).normal(0, 0.7, len(y))
    counts, options = (12, 12, 12), {"learning_rate": 0.7}
    stopped = fit(x, y, task, counts, validation=~train, patience=3, **options)
    kept = stopped.kept.tolist()
    assert max(kept) > 0
    assert min(kept) < 12
    # What it kept is what a fit of as many iterations makes.
    short = fit(x, y, task, tuple(kept), weights=train * 1.0, **options)
    said = boosting.predict(stopped, x, task)
    np.testing.assert_allclose(said, boosting.predict(short, x, task), atol=2e-5)
    np.testing.assert_allclose(stopped.theta, short.theta, atol=2e-5)

    # Block 1: the lowest validation loss before three in a row that are not lower.
    full = reference.boost(x, y, task, train, THETA, 12, 0, 0, 0.7)
    staged = full.staged[..., 0]
    loss = [(y[~train] ** 2).mean(), *((staged - y)[:, ~train] ** 2).mean(axis=1)]
    best = 0
    for number, value in enumerate(loss):
        if value < loss[best]:
            best = number
        if number - best >= 3:
            break
    assert kept[0] == best


def test_no_split_is_a_mean():
    x, y, task, _ = data()
    constant = fit(np.ones_like(x), y, task)
    assert np.isposinf(constant.shared.threshold).all()
    assert np.isposinf(constant.task_specific.threshold).all()
    first = constant.shared.value[0, 0, :, 0]
    np.testing.assert_allclose(first, [0.5 * y.mean(), 0], atol=1e-6)


def test_classes_and_probabilities():
    x, _, task, train = data()
    for kind, x64 in (("two", False), ("three", True)):
        y, classes = targets(kind)
        with jax.enable_x64(x64):
            model = fit(x, y, task, num_classes=classes, weights=train * 1.0)
            shares = np.asarray(boosting.predict_proba(model, x, task))
            said = boosting.predict(model, x, task)
            assert boosting.staged_predict(model, x, task).shape == (13, 160)
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(said, shares.argmax(axis=1))
        assert np.mean(said == y) > 0.65


def test_the_task_as_a_feature():
    x, _, task, _ = data()
    wide = boosting.append_task(x, task, TASKS)
    model = fit(wide, 1.0 * task, 0 * task, (9, 0, 0), num_tasks=1, theta=np.zeros(1))
    assert set(model.shared.feature.ravel().tolist()) <= {3, 4, 5, 6}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": np.full(160, 4)}, "task has 4"),
        ({"task": np.arange(160) % 3}, r"task \[3\] has no row"),
        ({"weights": (np.arange(160) % 4 != 1) * 1.0}, r"task \[1\] has no row"),
        ({"weights": np.full(160, -1.0)}, "weights has negative"),
        ({"y": np.full(160, np.nan)}, "targets has NaN"),
        ({"num_classes": 2}, "classes as integers"),
        ({"max_depth": 7}, "1 to 6"),
        ({"theta": None}, "key"),
        ({"theta": np.zeros(3)}, "theta.shape"),
        ({"subsample": 0.5}, "key"),
        ({"patience": 3}, "validation go together"),
        ({"theta_gradient": "max"}, "one of"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"counts": (1, -1, 1)}, "num_partition"),
    ],
)
def test_errors_say_what_to_do(change, message):
    x, y, _, _ = data()
    with pytest.raises(UserError, match=message):
        fit(**{"x": x, "y": y, "task": np.arange(160) % 4} | change)


def test_no_task_gets_another_tasks_model():
    x, y, task, _ = data()
    model = fit(x, y, task)
    for wrong in (-1, TASKS):
        with pytest.raises(UserError, match=rf"task has {wrong}"):
            boosting.predict(model, x[:1], np.array([wrong]))
    predict = jax.jit(boosting.predict)
    assert np.isnan(predict(model, x[:2], np.array([-1, TASKS]))).all()
    with pytest.raises(UserError, match=r"features\.shape"):
        boosting.predict(model, x[:, :2], task)
    with pytest.raises(UserError, match="regression has no classes"):
        boosting.predict_proba(model, x, task)


SMALL = blocks(*ALL) | {"random_state": 0}


def test_the_estimator_in_a_grid_search_with_the_task_as_a_column():
    x, y, task, _ = data()
    table = np.column_stack([x, task])
    model = boosting.MultiTaskBoostingRegressor(task_column=-1, **SMALL)
    search = GridSearchCV(
        model, {"learning_rate": [0.01, 0.5]}, cv=KFold(3, shuffle=True, random_state=0)
    )
    search.fit(table, y)
    assert search.best_params_ == {"learning_rate": 0.5}
    assert search.cv_results_["mean_test_score"][1] > 0.3
    best = search.best_estimator_
    direct = clone(best).set_params(task_column=None).fit(x, y, task=task)
    np.testing.assert_array_equal(
        direct.predict(x[7:8], task=task[7:8]), best.predict(table[7:8])
    )
    assert best.outlierness_.shape == (TASKS,)


def test_the_classifier_with_labels_of_any_kind():
    x, y, task, _ = data()
    names = np.array(["north", "south", "east", "west"])[task]
    labels = np.where(y > 0, "up", "down")
    model = boosting.MultiTaskBoostingClassifier(**SMALL, learning_rate=0.5)
    model.fit(x, labels, task=names)
    assert model.classes_.tolist() == ["down", "up"]
    assert model.tasks_.tolist() == ["east", "north", "south", "west"]
    assert model.score(x, labels, task=names) > 0.8
    assert model.predict_proba(x[:1], task=names[:1]).shape == (1, 2)
    part = names == "west"
    np.testing.assert_array_equal(
        model.predict(x[part], task=names[part]), model.predict(x, task=names)[part]
    )
    with pytest.raises(UserError, match="'centre'"):
        model.predict(x[:1], task=np.array(["centre"]))
    with pytest.raises(UserError, match="give one of them"):
        model.predict(x[:1])
    table = np.column_stack([x.astype(object), names.astype(object)])
    same = clone(model).set_params(task_column=3).fit(table, labels)
    np.testing.assert_array_equal(same.predict(table), model.predict(x, task=names))


def test_the_estimator_stops_early_and_fits_outputs():
    x, _, task, _ = data()
    y, _ = targets("outputs")
    noisy = y + np.random.default_rng(0).normal(0, 1, y.shape)
    model = boosting.MultiTaskBoostingRegressor(
        **blocks(0, 0, 30), patience=2, learning_rate=0.9, random_state=0
    )
    model.fit(x, noisy, task=task)
    assert model.ensemble_.kept[2] < 30
    assert model.predict(x, task=task).shape == y.shape


def test_nothing_is_written_into_the_callers_arrays():
    x, y, task, _ = data()
    given = [array.copy() for array in (x, y, task)]
    boosting.predict(fit(*given), given[0], given[2])
    for array, before in zip(given, (x, y, task), strict=True):
        np.testing.assert_array_equal(array, before)


BASELINES = {
    "R-MTGB": (0, 50, 0),
    "MTGB": (30, 0, 20),
    "STL": (0, 0, 30),
    "pooling": (50, 0, 0),
}


@pytest.mark.slow  # four programs to compile: half a minute on two cores
def test_planted_outliers_are_found_and_cost_nothing():
    draws = [scenario(4, seed) for seed in range(20)]
    train, test = (
        jax.tree.map(lambda *a: np.stack(a), *[getattr(draw, part) for draw in draws])
        for part in ("train", "test")
    )
    keys = jax.random.split(jax.random.key(0), 20)
    error = {}
    for name, counts in BASELINES.items():

        def one(train, test, key, counts=counts):
            model = fit(
                *train, counts, num_tasks=10, learning_rate=1.0, theta=None, key=key
            )
            said = boosting.predict(model, test.features, test.task)
            return jnp.sqrt(jnp.mean((said - test.targets) ** 2)), model.theta

        error[name], theta = jax.jit(jax.vmap(one))(train, test, keys)
        if name == "R-MTGB":
            regular, outliers = theta[:, :8], theta[:, 8:]
            above = outliers.min(axis=1) > regular.max(axis=1)
            below = outliers.max(axis=1) < regular.min(axis=1)
            assert (above | below).sum() >= 19
    errors = np.array([error[name] for name in BASELINES])
    assert (errors.argmin(axis=0) == 0).sum() >= 18
    ratio = errors[0].mean() / errors.mean(axis=1)
    assert ratio[1] <= 0.94
    assert ratio[2] <= 0.93
    assert ratio[3] <= 0.75


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_scenarios_are_what_they_are_called(number, kind):
    draw = scenario(number, 0, kind=kind, num_train=400, num_test=10)
    again = scenario(number, 0, kind=kind, num_train=400, num_test=10)
    np.testing.assert_array_equal(draw.train.targets, again.train.targets)
    assert draw.outliers == ((8, 9) if number == 4 else ())
    assert np.abs(draw.train.features).max() <= 1
    assert np.bincount(draw.test.task).tolist() == [10] * 10
    y = draw.train.targets.reshape(10, 400)
    if kind == "classification":
        assert set(np.unique(y)) == {0, 1}
        assert np.minimum(y.mean(axis=1), 1 - y.mean(axis=1)).min() >= 0.08
    else:
        assert 0.3 < y.std() < 1.5
