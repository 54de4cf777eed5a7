"""R-MTGB as a scikit-learn estimator in searches, with labels of any kind."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from mtopt import boosting
from mtopt.errors import UserError
from tests.helpers.boosting import ALL, TASKS, blocks, data, targets

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
    with pytest.raises(UserError, match="give one of them"):
        model.predict(x[:1])
    table = np.column_stack([x.astype(object), names.astype(object)])
    same = clone(model).set_params(task_column=3).fit(table, labels)
    np.testing.assert_array_equal(same.predict(table), model.predict(x, task=names))


@pytest.mark.slow
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
