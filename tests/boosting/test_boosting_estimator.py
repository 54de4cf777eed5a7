"""R-MTGB as a scikit-learn estimator: categories, missing numbers, tools around it."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mtopt import boosting
from mtopt.boosting import MultiTaskBoostingRegressor

BLOCKS = {"num_shared": 6, "num_partition": 4, "num_task_specific": 3}
OPTIONS = BLOCKS | {"learning_rate": 0.5, "random_state": 0}
PLACES = np.array(["north", "east", "south", "west", "centre", "sea"])
HIGH = ("north", "south", "centre")  # every other one, in order of the alphabet too


def places():
    """A category, a number that says little, and two tasks that disagree."""
    rng = np.random.default_rng(0)
    place, number = rng.choice(PLACES, 240), rng.normal(size=240)
    task = np.array(["a", "b"])[rng.integers(0, 2, 240)]
    y = np.where(np.isin(place, HIGH), 2.0, 0) + np.where(task == "a", 0.5, -0.5)
    table = np.column_stack([place.astype(object), number.astype(object)])
    return table, y + 0.1 * number, task


def encoded(model):
    """The model behind seven columns: six places, one number."""
    encoder = OneHotEncoder(sparse_output=False, handle_unknown="ignore")
    columns = make_column_transformer((encoder, [0]), remainder="passthrough")
    return make_pipeline(columns, model)


@pytest.mark.slow
def test_categories_are_one_hot_columns_in_a_pipeline():
    table, y, task = places()
    pipe = encoded(MultiTaskBoostingRegressor(**OPTIONS))
    pipe.fit(table, y, multitaskboostingregressor__task=task)
    assert pipe[-1].tasks_.tolist() == ["a", "b"]
    # Every other place is high. This leaves .2 of the deviation; the same trees on one
    # column of numbers for the places leave .55.
    assert np.std(pipe.predict(table, task=task) - y) < 0.35 * np.std(y)


@pytest.mark.slow
def test_a_category_never_seen_is_none_of_them():
    table, y, task = places()
    pipe = encoded(MultiTaskBoostingRegressor(**OPTIONS))
    pipe.fit(table, y, multitaskboostingregressor__task=task)
    rows = np.array([["moon", 0.0]], object)
    said = pipe.predict(rows, task=np.array(["a"]))
    inner = pipe[-1].predict(np.zeros((1, 7)), task=np.array(["a"]))
    np.testing.assert_array_equal(said, inner)


def test_the_task_column_passes_by_the_encoder():
    table, y, task = places()
    beside = encoded(MultiTaskBoostingRegressor(**OPTIONS))
    beside.fit(table, y, multitaskboostingregressor__task=task)
    within = encoded(MultiTaskBoostingRegressor(**OPTIONS, task_column=-1))
    whole = np.column_stack([table, task])
    within.fit(whole, y)
    np.testing.assert_array_equal(
        within.predict(whole), beside.predict(table, task=task)
    )


@pytest.mark.slow
def test_a_grid_search_routes_the_task():
    table, y, task = places()
    with sklearn.config_context(enable_metadata_routing=True):
        model = MultiTaskBoostingRegressor(**OPTIONS)
        model.set_fit_request(task=True).set_score_request(task=True)
        search = GridSearchCV(
            encoded(model),
            {"multitaskboostingregressor__learning_rate": [0.01, 0.5]},
            cv=KFold(3, shuffle=True, random_state=0),
            error_score="raise",
        )
        search.fit(table, y, task=task)
    low, high = search.cv_results_["mean_test_score"]
    assert search.best_params_ == {"multitaskboostingregressor__learning_rate": 0.5}
    assert low < 0.3
    assert high > 0.9


def test_nan_is_below_every_number():
    rng = np.random.default_rng(1)
    x, task = rng.normal(size=(240, 7)), rng.integers(0, 2, 240)
    x[rng.random(240) < 0.3, 0] = np.nan
    missing = np.isnan(x[:, 0])
    y = 2.0 * missing + 0.1 * x[:, 1]
    model = MultiTaskBoostingRegressor(**OPTIONS).fit(x, y, task=task)
    below = np.where(np.isnan(x), -100, x)
    other = clone(model).fit(below, y, task=task)
    said = model.predict(x, task=task)
    np.testing.assert_allclose(said, other.predict(below, task=task), atol=1e-5)
    assert model.score(x, y, task=task) > 0.95
    # Neither the mean nor a large number is what stands for it.
    for value in (np.nanmean(x[:, 0]), 100):
        filled = np.where(np.isnan(x), value, x)
        assert model.score(filled, y, task=task) < 0.5


def test_rows_without_weight_teach_nothing():
    rng = np.random.default_rng(2)
    x, task = rng.normal(size=(240, 7)), rng.integers(0, 2, 240)
    y, weight = np.sign(x[:, 0]), rng.integers(0, 2, 240)
    wrong = np.where(weight == 0, 99, y)
    model = MultiTaskBoostingRegressor(**OPTIONS)
    right = clone(model).fit(x, y, task=task, sample_weight=weight)
    model.fit(x, wrong, task=task, sample_weight=weight)
    np.testing.assert_array_equal(
        model.predict(x, task=task), right.predict(x, task=task)
    )
    assert model.score(x, wrong, task=task, sample_weight=weight) > 0.9
    assert model.score(x, wrong, task=task) < 0


@pytest.mark.parametrize(("factor", "offset"), [(1000.0, 5000.0), (1e-6, 1e3)])
def test_units_of_targets_change_neither_theta_nor_the_fit(factor, offset):
    rng = np.random.default_rng(2)
    x, task = rng.normal(size=(240, 7)), rng.integers(0, 3, 240)
    y = np.where(task == 2, -1, 1) * np.sign(x[:, 0]) + 0.1 * x[:, 1]
    weight = rng.integers(0, 2, 240) + 1.0
    model = MultiTaskBoostingRegressor(**OPTIONS).set_params(num_partition=20)
    plain = clone(model).fit(x, y, task=task, sample_weight=weight)
    other = model.fit(x, factor * y + offset, task=task, sample_weight=weight)
    assert np.ptp(plain.outlierness_) > 0.5
    np.testing.assert_allclose(other.outlierness_, plain.outlierness_, atol=1e-4)
    said, expected = (m.predict(x, task=task) for m in (other, plain))
    np.testing.assert_allclose((said - offset) / factor, expected, atol=1e-4)


def test_raw_targets_are_learned_as_the_released_code_does():
    x, y = np.arange(24.0)[:, None], np.repeat([1000.0, 7000.0], 12)
    task = np.arange(24) % 3
    blocks = {"num_shared": 2, "num_partition": 6, "num_task_specific": 1}
    model = MultiTaskBoostingRegressor(**blocks, learning_rate=0.5, random_state=0)
    raw = clone(model).set_params(standardize=False).fit(x, y, task=task)
    np.testing.assert_array_equal(
        raw.predict(x, task=task), boosting.predict(raw.ensemble_, x, task)
    )
    logits = [
        np.abs(m.ensemble_.theta).max() for m in (raw, model.fit(x, y, task=task))
    ]
    assert logits[0] > 100
    assert logits[1] < 6


def test_infinity_is_refused():
    x, y = np.array([[0.0], [np.inf]]), np.zeros(2)
    with pytest.raises(ValueError, match="infinity"):
        MultiTaskBoostingRegressor(**OPTIONS).fit(x, y, task=np.zeros(2, int))


def test_parameters_are_read_set_and_cloned():
    model = MultiTaskBoostingRegressor(**OPTIONS, max_depth=2)
    assert model.get_params()["num_partition"] == 4
    other = clone(model).set_params(
        max_depth=3, max_bins="exact", theta_gradient="mean"
    )
    assert (model.max_depth, other.max_depth) == (2, 3)
    assert other.get_params() == model.get_params() | {
        "max_depth": 3,
        "max_bins": "exact",
        "theta_gradient": "mean",
    }
