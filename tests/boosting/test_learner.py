"""R-MTGB as users call it: rows, seeds, stopping, classes, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from mtopt import boosting
from mtopt.boosting import learner
from mtopt.boosting import losses as boosting_losses
from mtopt.errors import UserError
from tests.helpers import boosting_reference as reference
from tests.helpers.boosting import TASKS, THETA, class_logs, data, fit, targets


def test_any_subset_of_rows_is_predicted_alike():
    x, y, task, _ = data()
    model = fit(x, y, task)
    whole = np.asarray(boosting.predict(model, x, task))
    for rows in (task == 2, np.arange(160) == 5):
        part = boosting.predict(model, x[rows], task[rows])
        np.testing.assert_array_equal(part, whole[rows])


@pytest.mark.parametrize("kind", ["regression", "two"])
def test_the_order_of_rows_changes_no_score(kind):
    x, _, task, _ = data()
    y, classes = targets(kind)
    order = np.random.default_rng(1).permutation(len(x))
    options = {"num_classes": classes, "theta": THETA}
    model = fit(x, y, task, **options)
    other = fit(x[order], y[order], task[order], **options)
    np.testing.assert_allclose(other.theta, model.theta, atol=1e-5)
    np.testing.assert_allclose(
        boosting.predict(other, x, task), boosting.predict(model, x, task), atol=2e-5
    )


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("kind", "x64"),
    [("two", False), pytest.param("three", True, marks=pytest.mark.slow)],
)
def test_classes_and_probabilities(kind, x64):
    x, _, task, train = data()
    y, classes = targets(kind)
    with jax.enable_x64(x64):
        model = fit(x, y, task, num_classes=classes, weights=train * 1.0)
        shares = np.asarray(boosting.predict_proba(model, x, task))
        said = boosting.predict(model, x, task)
        assert boosting.staged_predict(model, x, task).shape == (13, 160)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(said, shares.argmax(axis=1))
    assert np.mean(said == y) > 0.65


@pytest.mark.parametrize("num_classes", [2, 3])
def test_scores_start_at_the_shares_of_each_tasks_classes(num_classes):
    _, _, task, train = data()
    y = np.arange(160) % 7 % num_classes
    y[task == 1] = 0  # one class alone
    weights = np.where(train, 3.0, 0.0).astype(np.float32)
    encoded = boosting_losses.encode(jnp.asarray(y), num_classes)
    start = jax.jit(boosting_losses.log_odds, static_argnums=(3, 4))
    found = start(encoded, task, weights, TASKS, num_classes)
    want = class_logs(y, task, train, num_classes)
    whole = class_logs(y, np.zeros(160, int), train, num_classes)
    want = np.concatenate([want, whole])
    if num_classes == 2:
        want = want[:, 1:] - want[:, :1]
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


def test_probabilities_of_a_rare_class_are_those_of_its_rows():
    x, _, task, _ = data()
    y = (np.arange(160) % 40 == 7).astype(int)
    rate = np.bincount(task, y) / np.bincount(task)
    assert 0 <= rate.min() < rate.max() < 0.06
    constant = np.maximum(rate, 1e-9)[task]
    lost = {}
    for start, option in (("log_odds", {}), ("zero", {"start": "zero"})):
        model = fit(x, y, task, num_classes=2, weights=np.ones(160), **option)
        chance = np.asarray(boosting.predict_proba(model, x, task))[:, 1]
        lost[start] = log_loss(y, chance), chance.mean()
    assert lost["log_odds"][0] < log_loss(y, constant)
    assert abs(lost["log_odds"][1] - y.mean()) < 0.005
    assert lost["zero"][1] > 3 * y.mean()


def test_rows_held_out_do_not_tell_where_scores_start(monkeypatch):
    x, _, task, train = data()
    y = np.where(train, np.arange(160) % 8 == 0, 1)
    seen = []

    class Seen(Exception):
        pass

    def fit_blocks(*arrays):
        seen.append(arrays[5])
        raise Seen

    monkeypatch.setattr(learner, "fit_blocks", fit_blocks)
    with pytest.raises(Seen):
        fit(x, y, task, num_classes=2, validation=~train, patience=1)
    want = class_logs(y, task, train, 2)
    want = want[:, 1] - want[:, 0]
    np.testing.assert_allclose(seen[0][:-1, 0], want, rtol=0, atol=1e-5)


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
        ({"start": "mean"}, "start is 'mean'"),
        ({"max_depth": 7}, "1 to 6"),
        ({"max_bins": 256}, "max_bins is 256: expected 2 to 255, 'exact' or None"),
        ({"max_bins": 1}, "2 to 255"),
        ({"max_bins": "auto"}, "'exact' or None"),
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


def test_nothing_is_written_into_the_callers_arrays():
    x, y, task, _ = data()
    given = [array.copy() for array in (x, y, task)]
    boosting.predict(fit(*given), given[0], given[2])
    for array, before in zip(given, (x, y, task), strict=True):
        np.testing.assert_array_equal(array, before)
