"""The methods that solve a convex problem on the Gramian."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from mtopt.errors import UserError
from mtopt.methods.cagrad import cagrad
from mtopt.methods.dualproj import dualproj
from mtopt.methods.fairgrad import fairgrad
from mtopt.methods.imgrad import imgrad
from mtopt.methods.nash_mtl import nash_mtl
from mtopt.methods.upgrad import upgrad

METHODS = (cagrad, dualproj, fairgrad, imgrad, nash_mtl, upgrad)
GOLDEN = jnp.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])

every_method = pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)


def solve(tx, jacobian, **extra):
    jacobian = jnp.asarray(jacobian)
    params = jnp.zeros(jacobian.shape[1:], jacobian.dtype)
    direction, state = tx.update(jacobian, tx.init(params), params, **extra)
    return np.asarray(direction), np.asarray(state.weights)


def rows(num_tasks, size, seed=0):
    return np.random.default_rng(seed).normal(size=(num_tasks, size)).astype("float32")


@pytest.mark.parametrize(
    ("tx", "direction", "atol"),
    [
        (nash_mtl(2), [0.0542, 0.7061, 0.7061], 1e-4),
        (fairgrad(2, alpha=1.0), [0.0766, 0.9985, 0.9985], 1e-4),
        (cagrad(2, c=0.5, rescale="none"), [0.1835, 1.2041, 1.2041], 1e-4),
        # TorchJD's values come from a Gramian with 1e-4 of its trace added to the
        # diagonal, which is why they are not 10/9, 15/19 and 11/18, 1/2.
        (upgrad(2), [0.2929, 1.9004, 1.9004], 8e-4),
        (dualproj(2), [0.5563, 1.1109, 1.1109], 8e-4),
    ],
    ids=["nash_mtl", "fairgrad", "cagrad", "upgrad", "dualproj"],
)
def test_golden_values(tx, direction, atol):
    np.testing.assert_allclose(solve(tx, GOLDEN)[0], direction, atol=atol)


def test_exact_values_of_the_projections():
    np.testing.assert_allclose(
        solve(upgrad(2), GOLDEN)[1], [10 / 9, 15 / 19], rtol=1e-6
    )
    np.testing.assert_allclose(solve(dualproj(2), GOLDEN)[1], [11 / 18, 0.5], rtol=1e-6)


@every_method
def test_one_task_descends_its_gradient(method):
    row = jnp.array([[3.0, -4.0]])
    direction, weights = solve(method(1), row)
    assert weights[0] > 0
    np.testing.assert_allclose(direction, weights[0] * row[0], rtol=1e-6)
    if method in (upgrad, dualproj):
        np.testing.assert_allclose(direction, row[0], rtol=1e-6)


@every_method
def test_absent_tasks_do_not_take_part(method):
    jacobian = rows(4, 6)
    present = np.array([True, False, True, True])
    direction, weights = solve(method(4), jacobian, present=jnp.asarray(present))
    alone, _ = solve(method(3), jacobian[present])
    assert weights[1] == 0
    np.testing.assert_allclose(direction, alone, rtol=1e-4, atol=1e-5)
    nobody, _ = solve(method(4), jacobian, present=jnp.zeros(4, bool))
    np.testing.assert_array_equal(nobody, 0)


@every_method
def test_awkward_rows_stay_finite(method):
    jacobian = rows(4, 6)
    for awkward in (
        0 * jacobian,
        jacobian * [[0], [1], [1], [1]],
        jacobian[[0, 0, 1, 1]],
        np.stack([jacobian[0], -jacobian[0], jacobian[1], -jacobian[1]]),
        1e-10 * jacobian,
        1e15 * jacobian,
    ):
        direction, weights = solve(method(4), awkward.astype("float32"))
        assert np.isfinite(direction).all()
        assert np.isfinite(weights).all()


@every_method
def test_float64_is_used(method):
    with jax.enable_x64(True):
        double = rows(3, 5).astype("float64")
        direction, weights = solve(method(3), double)
        assert direction.dtype == weights.dtype == np.float64
        order = np.array([2, 0, 1])
        permuted, _ = solve(method(3), double[order])
        np.testing.assert_allclose(permuted, direction, rtol=1e-7, atol=1e-9)


# Nash-MTL and FairGrad.


@pytest.mark.parametrize("k", [1, 2, 5, 16])
def test_nash_directions_have_the_length_sqrt_k(k):
    unclipped, _ = solve(nash_mtl(k, max_norm=None), rows(k, 20))
    np.testing.assert_allclose(np.linalg.norm(unclipped), np.sqrt(k), rtol=1e-5)
    clipped, _ = solve(nash_mtl(k), rows(k, 20))
    np.testing.assert_allclose(np.linalg.norm(clipped), 1, rtol=1e-5)
    np.testing.assert_allclose(clipped, unclipped / np.sqrt(k), atol=1e-5)


def test_nash_ignores_the_scale_of_a_task():
    jacobian, scales = rows(5, 9), np.float32([1e-3, 1, 10, 1e4, 7])[:, None]
    plain, _ = solve(nash_mtl(5), jacobian)
    scaled, _ = solve(nash_mtl(5), jacobian * scales)
    np.testing.assert_allclose(scaled, plain, atol=1e-5)


def test_nash_for_two_tasks_is_the_bisector():
    jacobian = rows(2, 6)
    direction, weights = solve(nash_mtl(2, max_norm=None), jacobian)
    norms = np.linalg.norm(jacobian, axis=1)
    ratio = norms[0] / norms[1]
    first = (norms[0] ** 2 + jacobian[0] @ jacobian[1] * ratio) ** -0.5
    np.testing.assert_allclose(weights, [first, first * ratio], rtol=1e-5)
    bisector = (jacobian / norms[:, None]).sum(0)
    cosine = direction @ bisector / np.linalg.norm(bisector) / np.linalg.norm(direction)
    np.testing.assert_allclose(cosine, 1, rtol=1e-6)


def test_nash_stays_bounded_where_it_has_no_solution():
    opposed = np.stack([rows(1, 4)[0], -2 * rows(1, 4)[0]])
    direction, weights = solve(nash_mtl(2), opposed)
    assert np.linalg.norm(direction) <= 1.01
    assert weights.max() < 2e3


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_fairgrad_solves_its_equation(alpha):
    jacobian = rows(4, 8)
    direction, weights = solve(fairgrad(4, alpha=alpha), jacobian)
    np.testing.assert_allclose(jacobian @ direction, weights ** (-1 / alpha), rtol=1e-4)
    larger, _ = solve(fairgrad(4, alpha=alpha), 3 * jacobian)
    degree = (1 - alpha) / (1 + alpha)
    np.testing.assert_allclose(larger, 3**degree * direction, rtol=1e-4, atol=1e-6)


def test_fairgrad_scales_then_clips():
    jacobian = rows(3, 6)
    plain, _ = solve(fairgrad(3), jacobian)
    scaled, _ = solve(fairgrad(3, scale=3.0), jacobian)
    clipped, _ = solve(fairgrad(3, scale=3.0, max_norm=0.1), jacobian)
    np.testing.assert_allclose(scaled, 3 * plain, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(clipped), 0.1, rtol=1e-5)
    nash, _ = solve(nash_mtl(3), jacobian)
    same, _ = solve(fairgrad(3, alpha=1.0, max_norm=1.0), jacobian)
    np.testing.assert_allclose(same, nash, atol=1e-6)


# CAGrad and IMGrad.


def simplex_minimum(function, k):
    """The least of SLSQP runs on the simplex, in float64."""
    starts = [np.full(k, 1 / k), *np.eye(k)]
    found = [
        scipy.optimize.minimize(
            function,
            0.9 * start + 0.1 / k,
            method="SLSQP",
            bounds=[(0, 1)] * k,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        for start in starts
    ]
    return min(found, key=lambda result: result.fun).x


@pytest.mark.parametrize("c", [0.4, 1.5])
@pytest.mark.parametrize("method", [cagrad, imgrad], ids=lambda m: m.__name__)
def test_conflict_aversion_as_written_in_the_papers(method, c):
    jacobian = rows(4, 6, seed=3).astype("float64")
    gramian, mean = jacobian @ jacobian.T, np.full(4, 0.25)
    g_0 = mean @ jacobian
    length = np.linalg.norm(g_0)
    kappa = 1.0
    if method is imgrad:
        shortest = simplex_minimum(lambda w: w @ gramian @ w, 4) @ jacobian
        kappa = shortest @ g_0 / np.linalg.norm(shortest) / length
    factor = 1.5 - kappa if method is imgrad else 1

    def dual(w):
        norm = np.sqrt(w @ gramian @ w)
        return factor * (w @ gramian @ mean) + kappa * c * length * norm

    g_w = simplex_minimum(dual, 4) @ jacobian
    expected = g_0 + c * length * g_w / np.linalg.norm(g_w)
    found, _ = solve(method(4, c=c, rescale="none"), jacobian.astype("float32"))
    np.testing.assert_allclose(found, expected, atol=2e-3 * length)
    for rescale, divisor in (("1+c^2", 1 + c**2), ("1+c", 1 + c)):
        divided, _ = solve(method(4, c=c, rescale=rescale), jacobian.astype("float32"))
        np.testing.assert_allclose(divided, found / divisor, rtol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_cagrad_harms_no_task_from_c_1_on(seed):
    jacobian = rows(5, 6, seed)
    direction, _ = solve(cagrad(5, c=1.0), jacobian)
    assert (jacobian @ direction).min() >= -1e-4


def test_a_task_at_rest_does_not_bind_cagrad():
    jacobian = rows(3, 5) * np.float32([[1], [0], [1]])
    direction, weights = solve(cagrad(3, rescale="none"), jacobian)
    g_0 = jacobian.mean(0)
    np.testing.assert_allclose(
        np.linalg.norm(direction - g_0), 0.5 * np.linalg.norm(g_0), rtol=1e-4
    )
    np.testing.assert_allclose(weights[1], 1 / 3, rtol=1e-6)


# UPGrad and DualProj.


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
    jacobian = rows(4, 6, seed=3).astype("float64") * [[1], [10], [0.1], [1]]
    p = np.full(4, 0.25) if preference is None else np.array(preference)
    expected = sum(
        share * projection(jacobian, row)
        for share, row in zip(p, jacobian, strict=True)
    )
    single = jacobian.astype("float32")
    found, weights = solve(upgrad(4, preference=preference), single)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (weights >= p - 1e-6).all()
    found, weights = solve(dualproj(4, preference=preference), single)
    np.testing.assert_allclose(found, projection(jacobian, p @ jacobian), atol=1e-4)
    assert (weights >= p - 1e-6).all()


@pytest.mark.parametrize("k", [8, 40])
@pytest.mark.parametrize("method", [upgrad, dualproj], ids=lambda m: m.__name__)
def test_projections_harm_no_task(method, k):
    jacobian = rows(k, k + 3)
    direction, _ = jax.jit(lambda j: solve_traced(method(k), j))(jnp.asarray(jacobian))
    gains = jacobian @ np.asarray(direction)
    sizes = np.linalg.norm(jacobian, axis=1) * np.linalg.norm(direction)
    assert (gains >= -1e-4 * sizes).all()


def solve_traced(tx, jacobian):
    params = jnp.zeros(jacobian.shape[1:])
    return tx.update(jacobian, tx.init(params), params)


def test_upgrad_is_linear_in_the_scale_of_each_gradient():
    jacobian = rows(4, 5)
    first, second = (
        np.float32(np.random.default_rng(s).uniform(0, 1, (4, 1))) for s in (1, 2)
    )
    parts = [solve(upgrad(4), jacobian * scale)[0] for scale in (first, second)]
    both, _ = solve(upgrad(4), jacobian * (first + 2 * second))
    np.testing.assert_allclose(both, parts[0] + 2 * parts[1], atol=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fairgrad(2, alpha=0.0), "alpha is 0.0: expected a number above 0"),
        (lambda: fairgrad(2, scale=-1.0), "scale is -1.0"),
        (lambda: nash_mtl(2, max_norm=0.0), "max_norm is 0.0"),
        (lambda: cagrad(2, c=0.0), r"c is 0.0: .*equal_weighting"),
        (lambda: imgrad(2, rescale="1+c2"), "rescale is '1\\+c2'"),
        (lambda: upgrad(2, preference=(1.0,)), r"preference is \(1.0,\): expected 2"),
        (lambda: dualproj(2, preference=(1.0, -1.0)), "expected 2 finite numbers"),
        (lambda: nash_mtl(2, space="rep"), "space is 'rep'"),
    ],
)
def test_bad_options_are_told(build, message):
    with pytest.raises(UserError, match=message):
        build()
