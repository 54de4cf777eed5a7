"""The dual-cone solve, judged in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from mtopt.solvers import (
    dual_cone_projections,
    nonnegative_qp_residual,
)
from tests.helpers.gramians import FAMILIES, SIZES, check_by_family, solve, unit_rows


@pytest.mark.parametrize(
    ("k", "dtype"),
    [
        *((k, "float32") for k in SIZES),
        (8, "float64"),
        pytest.param(40, "float64", marks=pytest.mark.slow),
        pytest.param(128, "float32", marks=pytest.mark.slow),
    ],
)
def test_dual_cone_residual(k, dtype):
    def residual(gramian):
        matrix = unit_rows(gramian)
        found = dual_cone_projections(matrix)
        each = jax.vmap(nonnegative_qp_residual, (None, 0, 0))(matrix, -matrix, found)
        return jnp.max(each)

    single = dtype == "float32"
    errors = solve(residual, k, dtype)
    check_by_family(errors, 1e-6 if single else 1e-14, 5e-4 if single else 1e-8)
    settled = [e for n, e in zip(FAMILIES, errors, strict=True) if n != "stationary"]
    assert max(settled) <= (5e-6 if single else 1e-9)


def test_dual_cone_against_nnls():
    """min |J^T (e_k + u)| over u >= 0 is a non-negative least-squares problem."""
    rows = np.random.default_rng(3).normal(size=(6, 9))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = jax.jit(dual_cone_projections)((rows @ rows.T).astype("float32"))
    for row, u in zip(rows, found, strict=True):
        exact, _ = scipy.optimize.nnls(rows.T, -row)
        np.testing.assert_allclose(u, exact, atol=5e-6)
