"""FairGrad: its equation, its scale and its clipping."""

import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.methods.fairgrad import fairgrad
from mtopt.methods.nash_mtl import nash_mtl
from tests.helpers.close import assert_close
from tests.helpers.gradients import normal_rows
from tests.helpers.updates import GOLDEN, direction_and_weights


@pytest.mark.parametrize(
    ("tx", "direction", "atol"),
    [
        (fairgrad(2, alpha=1.0), [0.0766, 0.9985, 0.9985], 1e-4),
    ],
    ids=[
        "fairgrad",
    ],
)
def test_golden_values(tx, direction, atol):
    np.testing.assert_allclose(
        direction_and_weights(tx, GOLDEN)[0], direction, atol=atol
    )


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_fairgrad_solves_its_equation(alpha):
    jacobian = normal_rows(4, 8)
    direction, weights = direction_and_weights(fairgrad(4, alpha=alpha), jacobian)
    np.testing.assert_allclose(jacobian @ direction, weights ** (-1 / alpha), rtol=1e-4)
    larger, _ = direction_and_weights(fairgrad(4, alpha=alpha), 3 * jacobian)
    degree = (1 - alpha) / (1 + alpha)
    np.testing.assert_allclose(larger, 3**degree * direction, rtol=1e-4, atol=1e-6)


def test_fairgrad_scales_then_clips():
    jacobian = normal_rows(3, 6)
    plain, _ = direction_and_weights(fairgrad(3), jacobian)
    scaled, _ = direction_and_weights(fairgrad(3, scale=3.0), jacobian)
    clipped, _ = direction_and_weights(fairgrad(3, scale=3.0, max_norm=0.1), jacobian)
    assert_close(scaled, 3 * plain, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(clipped), 0.1, rtol=1e-5)
    nash, _ = direction_and_weights(nash_mtl(3), jacobian)
    same, _ = direction_and_weights(fairgrad(3, alpha=1.0, max_norm=1.0), jacobian)
    np.testing.assert_allclose(same, nash, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fairgrad(2, alpha=0.0), "alpha is 0.0: expected a number above 0"),
        (lambda: fairgrad(2, scale=-1.0), "scale is -1.0"),
    ],
)
def test_bad_options_are_told(build, message):
    with pytest.raises(UserError, match=message):
        build()
