"""Tables as users have them: frames, missing values, tasks that were not fitted."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_score

from mtopt.boosting import (
    MultiTaskBoostingClassifier,
    MultiTaskBoostingRegressor,
    importances,
    predict,
)
from mtopt.boosting import fit as fit_arrays
from mtopt.errors import UserError
from tests.helpers.close import assert_close

OPTIONS = {"num_shared": 4, "num_partition": 3, "num_task_specific": 3}
OPTIONS |= {"learning_rate": 0.5, "random_state": 0}
NAMES = ("north", "south", "west")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 4)).astype(np.float32)
TASK = np.array(NAMES)[RNG.integers(0, 3, 240)]
Y = X[:, 0] + (TASK == "west") * X[:, 1]


def model(**changes):
    return MultiTaskBoostingRegressor(**OPTIONS | changes)


@pytest.fixture(scope="module")
def fitted():
    return model().fit(X, Y, task=TASK)


@pytest.fixture
def frame():
    pd = pytest.importorskip("pandas", reason="pandas is not installed: no frames")
    table = pd.DataFrame(X, columns=list("abcd"))
    table.insert(2, "region", TASK)
    return table


# --- frames ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        "region",
        pytest.param(2, marks=pytest.mark.slow),
        pytest.param(-3, marks=pytest.mark.slow),
    ],
)
def test_the_task_is_a_column_of_a_frame_by_name_or_position(frame, fitted, column):
    by_name = model(task_column=column).fit(frame, Y)
    assert by_name.tasks_.tolist() == list(NAMES)
    assert by_name.feature_names_in_.tolist() == ["a", "b", "region", "c", "d"]
    assert by_name.n_features_in_ == 5
    expected = fitted.predict(X, task=TASK)
    np.testing.assert_array_equal(by_name.predict(frame), expected)
    assert by_name.feature_importances_[2] == 0
    np.testing.assert_array_equal(
        np.delete(by_name.feature_importances_, 2), fitted.feature_importances_
    )
    again = pickle.loads(pickle.dumps(by_name))
    np.testing.assert_array_equal(again.predict(frame), expected)


@pytest.mark.parametrize("kind", ["category", "string"])
def test_a_column_of_tasks_is_of_any_type_of_strings(frame, fitted, kind):
    typed = frame.astype({"region": kind})
    np.testing.assert_array_equal(
        model(task_column="region").fit(typed, Y).predict(typed),
        fitted.predict(X, task=TASK),
    )
    features = typed.drop(columns="region")
    beside = model().fit(features, Y, task=typed["region"])
    np.testing.assert_array_equal(
        beside.predict(features, task=typed["region"]), fitted.predict(X, task=TASK)
    )


def test_columns_with_missing_integers_are_numbers_with_nan(frame):
    counts = np.where(X[:, 0] > 1, np.nan, np.round(10 * X[:, 0]))
    typed = frame.assign(a=counts).astype({"a": "Int64"})
    by_name = model(task_column="region").fit(typed, Y)
    plain = model().fit(np.column_stack([counts, X[:, 1:]]), Y, task=TASK)
    np.testing.assert_array_equal(
        by_name.predict(typed),
        plain.predict(np.column_stack([counts, X[:, 1:]]), task=TASK),
    )


def test_other_columns_than_were_fitted_are_refused(frame):
    by_name = model(task_column="region").fit(frame, Y)
    for other in (
        frame[[*"ba", "region", *"cd"]],
        frame.rename(columns=str.upper),
    ):
        with pytest.raises(
            UserError, match="X: The feature names should match"
        ) as error:
            by_name.predict(other)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="task_column is 'city': expected one of a, b"):
        model(task_column="city").fit(frame, Y)


def test_a_frame_with_categories_among_its_features_is_refused(frame):
    with pytest.raises(UserError, match=r"X: .*'(north|south|west)'.*one-hot columns"):
        model(task_column="a").fit(frame, Y)


def test_another_number_of_columns_is_refused(fitted):
    with pytest.raises(UserError, match=r"X: X has 3 features, but .* is expecting 4"):
        fitted.predict(X[:, :3], task=TASK)


def test_an_array_has_no_column_by_name():
    with pytest.raises(UserError, match="task_column is 'region': expected a position"):
        model(task_column="region").fit(X, Y)
    with pytest.raises(
        UserError, match="task_column is 4: expected a column of X, whi"
    ):
        model(task_column=4).fit(X, Y)


# --- tasks that were not fitted -------------------------------------------------------


def test_a_task_that_was_not_fitted_is_predicted_by_the_shared_block(fitted):
    rows, task = X[:6], np.array(["east", "north", "east", "west", "zoo", "south"])
    with pytest.warns(UserWarning, match=r"\['east', 'zoo'\] was not .* its 3 rows"):
        said = fitted.predict(rows, task=task)
    old = np.isin(task, NAMES)
    np.testing.assert_array_equal(said[old], fitted.predict(rows[old], task=task[old]))
    # The trees of all tasks and no others: those that a fit of block 1 alone has.
    number = np.unique(TASK, return_inverse=True)[1]
    shared = fit_arrays(
        X,
        ((Y - Y.mean()) / Y.std()).astype(np.float32),
        number,
        num_tasks=3,
        num_shared=OPTIONS["num_shared"],
        num_partition=0,
        num_task_specific=0,
        learning_rate=0.5,
    )
    alone = predict(shared, rows, np.zeros(6, int))
    alone = np.asarray(alone) * Y.std() + Y.mean()
    assert_close(said[~old], alone[~old], rtol=1e-5)


def test_a_task_that_was_not_fitted_can_be_refused(fitted):
    strict = clone(fitted).set_params(unseen_task="error").fit(X, Y, task=TASK)
    with pytest.raises(UserError, match=r"\['east'\] was not fitted: .*'shared'"):
        strict.predict(X[:1], task=["east"])
    with pytest.raises(UserError, match="unseen_task is 'skip': expected one of"):
        model(unseen_task="skip").fit(X, Y, task=TASK)


def test_tasks_of_another_type_are_a_mistake(fitted):
    with pytest.raises(
        UserError, match="task is of type int64: expected <U5, as fitted"
    ):
        fitted.predict(X[:2], task=[0, 1])


@pytest.mark.slow
def test_a_fold_without_a_rare_task_has_a_score():
    table = np.column_stack([X, np.where(np.arange(240) < 1, 9, 3)])
    with pytest.warns(UserWarning, match=r"task \[9.0\] was not fitted"):
        scores = cross_val_score(model(task_column=4), table, Y, cv=KFold(3))
    assert np.isfinite(scores).all()


@pytest.mark.slow
def test_classes_of_a_task_that_was_not_fitted():
    classifier = MultiTaskBoostingClassifier(**OPTIONS)
    classifier.fit(X, np.where(X[:, 0] > 0, "yes", "no"), task=TASK)
    with pytest.warns(UserWarning, match="shared block alone"):
        chances = classifier.predict_proba(X[:4], task=["east"] * 4)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-6)
    with pytest.warns(UserWarning, match="shared block alone"):
        said = classifier.predict(X[:4], task=["east"] * 4)
    np.testing.assert_array_equal(said, np.array(["no", "yes"])[chances.argmax(1)])


def test_rows_of_a_task_that_was_not_fitted_start_where_all_rows_do():
    y = (TASK == "west") & (X[:, 0] > 0)
    blocks = {"num_shared": 0, "num_partition": 0, "num_task_specific": 1}
    classifier = MultiTaskBoostingClassifier(**blocks).fit(X, y, task=TASK)
    with pytest.warns(UserWarning, match="shared block alone"):
        chances = classifier.predict_proba(X[:4], task=["east"] * 4)[:, 1]
    np.testing.assert_allclose(chances, y.mean(), rtol=1e-5)


# --- importances ----------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2])  # deeper, few rows tie
def test_importances_are_those_of_scikit_learn_for_one_task(depth):
    """Trees of block 1 on weighted rows, all outputs being one number."""
    weight = RNG.random(240) + 0.1
    ours = model(num_partition=0, num_task_specific=0, num_shared=6, max_depth=depth)
    ours.fit(X, Y, task=np.zeros(240), sample_weight=weight)
    theirs = GradientBoostingRegressor(
        n_estimators=6,
        learning_rate=0.5,
        max_depth=depth,
        init="zero",
        random_state=0,
    ).fit(X, Y, sample_weight=weight)
    # Theirs divides each tree's gains by its rows, ours does not: the same here.
    assert_close(ours.feature_importances_, theirs.feature_importances_, rtol=1e-4)


@pytest.mark.slow
def test_importances_are_the_squared_error_that_splits_took_away():
    """One split a task: what each lowered the sum of squares by, over both tasks."""
    task = np.repeat([0, 1], 20)
    x = np.stack([np.tile([0.0, 1.0], 20), np.repeat([0, 1, 0, 1], 10)], axis=1)
    y = np.where(task == 0, 3 * x[:, 0], 4 * x[:, 1])
    options = {"num_shared": 0, "num_partition": 0, "num_task_specific": 1}
    found = model(**options, learning_rate=0.1).fit(x, y, task=task)
    # 20 rows, half of them 3 or 4 apart: 20 (3/2)^2 = 45 and 20 (4/2)^2 = 80.
    np.testing.assert_allclose(
        found.feature_importances_, [45 / 125, 80 / 125], rtol=1e-5
    )


def test_what_is_not_trained_on_has_no_importance():
    noise = np.where(np.arange(240) < 120, X[:, 0], 50 * X[:, 3])
    weight = (np.arange(240) < 120) * 1.0
    found = model().fit(X, noise, task=TASK, sample_weight=weight).feature_importances_
    assert found[0] > 0.9
    assert found.sum() == pytest.approx(1)
    constant = model().fit(X, np.zeros(240), task=TASK)
    assert constant.feature_importances_.tolist() == [0, 0, 0, 0]


def test_missing_values_go_left_there_too():
    x = np.array([[np.nan], [1.0], [np.nan], [1.0]] * 5)
    ensemble = fit_arrays(
        x,
        np.nan_to_num(x[:, 0]),
        np.zeros(20, int),
        num_tasks=1,
        num_shared=1,
        num_partition=0,
        num_task_specific=0,
        learning_rate=1.0,
    )
    assert importances(ensemble, x, np.zeros(20, int), np.ones(20)).tolist() == [1.0]


# --- what is missing, or no number ----------------------------------------------------

MISSING = np.where(np.arange(240) < 5, np.nan, Y)
OUTPUTS = np.stack([MISSING, Y], axis=1)
CLASSES = np.where(X[:, 0] > 0, "yes", "no").astype(object)
GAPS = CLASSES.copy()
GAPS[:3] = None


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (MISSING, {}, "y has NaN or infinity in 5 of 240 rows: leave these rows out"),
        (Y + np.inf, {}, "y has NaN or infinity in 240 of 240 rows"),
        (OUTPUTS, {}, "5 of 480 places, and a tree .* make each output a task"),
        (CLASSES, {}, "y: could not convert string to float: .*: expected numbers"),
        (Y[:9], {}, r"y.shape is \(9,\): expected \(240,\) or \(240, outputs\)"),
        (Y, {"task": TASK[:9]}, r"task.shape is \(9,\): expected \(240,\)"),
        (Y, {"task": np.where(Y > 1, np.nan, 0.0)}, r"task is missing in \d+ of 240"),
        (Y, {"task": GAPS}, "task is missing in 3 of 240 rows"),
        (Y, {"task": np.array(["a", 1] * 120, object)}, "types int, strings: expected"),
        (Y, {"task": None}, "comes either as task=... or as a column of X"),
        (Y, {"sample_weight": np.ones(9)}, r"sample_weight.shape is \(9,\): expected"),
        (Y, {"sample_weight": ["a"] * 240}, "sample_weight: could not convert"),
        (
            Y,
            {"sample_weight": (TASK != "west") * 1.0},
            r"\['west'\] has rows of weight 0",
        ),
    ],
)
def test_bad_rows_are_one_clear_line(y, options, message):
    with pytest.raises(UserError, match=message) as error:
        model().fit(X, y, **{"task": TASK} | options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (GAPS, "y has no class in 3 of 240 rows: leave these rows out"),
        (MISSING, "y has no class in 5 of 240 rows"),
        (Y, "y: Unknown label type: continuous"),
        (np.stack([CLASSES, CLASSES], 1), r"y.shape is \(240, 2\): expected \(240,\)"),
        (np.array(["a", 1] * 120, object), "y has values of types int, strings"),
        (np.zeros(240, int), r"y is \[0\]: expected two classes at least"),
    ],
)
def test_bad_classes_are_one_clear_line(y, message):
    with pytest.raises(UserError, match=message) as error:
        MultiTaskBoostingClassifier(**OPTIONS).fit(X, y, task=TASK)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(240,), (240, 1)])
def test_a_label_without_weight_may_be_missing(fitted, shape):
    weight = (np.arange(240) >= 5) * 1.0
    other = model().fit(X, MISSING, task=TASK, sample_weight=weight.reshape(shape))
    zero = model().fit(X, np.nan_to_num(MISSING), task=TASK, sample_weight=weight)
    np.testing.assert_array_equal(
        other.predict(X, task=TASK), zero.predict(X, task=TASK)
    )
    classifier = MultiTaskBoostingClassifier(**OPTIONS)
    classifier.fit(X, GAPS, task=TASK, sample_weight=weight.reshape(shape))
    assert classifier.classes_.tolist() == ["no", "yes"]


class Tensor:
    """What a tensor of another library shows NumPy of itself."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)

    def __len__(self):
        return len(self.values)

    @property
    def shape(self):
        return self.values.shape


def test_tensors_of_other_libraries_are_arrays(fitted):
    tensors = model().fit(Tensor(X), Tensor(Y), task=Tensor(TASK))
    np.testing.assert_array_equal(
        tensors.predict(Tensor(X), task=Tensor(TASK)), fitted.predict(X, task=TASK)
    )
