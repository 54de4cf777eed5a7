"""UPGrad and DualProj: projections on one cone, of every row and of the mean."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.methods.dualproj import dualproj
from mtopt.methods.upgrad import upgrad
from tests.helpers.gradients import normal_rows
from tests.helpers.updates import GOLDEN, direction_and_weights


@pytest.mark.parametrize(
    ("tx", "direction", "atol"),
    [
        # TorchJD's values come from a Gramian with 1e-4 of its trace added to the
        # diagonal, which is why they are not 10/9, 15/19 and 11/18, 1/2.
        (upgrad(2), [0.2929, 1.9004, 1.9004], 8e-4),
        (dualproj(2), [0.5563, 1.1109, 1.1109], 8e-4),
    ],
    ids=[
        "upgrad",
        "dualproj",
    ],
)
def test_golden_values(tx, direction, atol):
    np.testing.assert_allclose(
        direction_and_weights(tx, GOLDEN)[0], direction, atol=atol
    )


def test_exact_values_of_the_projections():
    np.testing.assert_allclose(
        direction_and_weights(upgrad(2), GOLDEN)[1], [10 / 9, 15 / 19], rtol=1e-6
    )
    np.testing.assert_allclose(
        direction_and_weights(dualproj(2), GOLDEN)[1], [11 / 18, 0.5], rtol=1e-6
    )


def projection(jacobian, vector):
    """The nearest x with J x >= 0, over all sets of binding rows, in float64."""
    best = None
    for size in range(len(jacobian) + 1):
        for binding in itertools.combinations(range(len(jacobian)), size):
            active = jacobian[list(binding)]
            x = vector - np.linalg.pinv(active) @ (active @ vector) if size else vector
            if (jacobian @ x).min() < -1e-9:
                continue
            if best is None or ((x - vector) ** 2).sum() < ((best - vector) ** 2).sum():
                best = x
    return best


@pytest.mark.parametrize("preference", [None, (1.0, 0.0, 2.0, 0.5)])
def test_projections_as_written_in_the_papers(preference):
    jacobian = normal_rows(4, 6, seed=3).astype("float64") * [[1], [10], [0.1], [1]]
    p = np.full(4, 0.25) if preference is None else np.array(preference)
    expected = sum(
        share * projection(jacobian, row)
        for share, row in zip(p, jacobian, strict=True)
    )
    single = jacobian.astype("float32")
    found, weights = direction_and_weights(upgrad(4, preference=preference), single)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (weights >= p - 1e-6).all()
    found, weights = direction_and_weights(dualproj(4, preference=preference), single)
    np.testing.assert_allclose(found, projection(jacobian, p @ jacobian), atol=1e-4)
    assert (weights >= p - 1e-6).all()


@pytest.mark.parametrize("k", [8, 40])
@pytest.mark.parametrize("method", [upgrad, dualproj], ids=lambda m: m.__name__)
def test_projections_harm_no_task(method, k):
    jacobian = normal_rows(k, k + 3)
    direction, _ = jax.jit(lambda j: solve_traced(method(k), j))(jnp.asarray(jacobian))
    gains = jacobian @ np.asarray(direction)
    sizes = np.linalg.norm(jacobian, axis=1) * np.linalg.norm(direction)
    assert (gains >= -1e-4 * sizes).all()


def solve_traced(tx, jacobian):
    params = jnp.zeros(jacobian.shape[1:])
    return tx.update(jacobian, tx.init(params), params)


def test_upgrad_is_linear_in_the_scale_of_each_gradient():
    jacobian = normal_rows(4, 5)
    first, second = (
        np.float32(np.random.default_rng(s).uniform(0, 1, (4, 1))) for s in (1, 2)
    )
    parts = [
        direction_and_weights(upgrad(4), jacobian * scale)[0]
        for scale in (first, second)
    ]
    both, _ = direction_and_weights(upgrad(4), jacobian * (first + 2 * second))
    np.testing.assert_allclose(both, parts[0] + 2 * parts[1], atol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: upgrad(2, preference=(1.0,)), r"preference is \(1.0,\): expected 2"),
        (lambda: dualproj(2, preference=(1.0, -1.0)), "expected 2 finite numbers"),
    ],
)
def test_bad_options_are_told(build, message):
    with pytest.raises(UserError, match=message):
        build()
