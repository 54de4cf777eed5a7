"""The scenarios of planted outliers are what they are called."""

import numpy as np
import pytest

from mtopt.data.tables.boosting_scenarios import scenario


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
