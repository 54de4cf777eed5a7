"""The linear program on the simplex, against HiGHS."""

import jax
import numpy as np
import pytest

from mtopt.solvers.linear_program import maximise_on_simplex
from tests.helpers.linear_programs import best

solve = jax.jit(maximise_on_simplex)


def programs(num_tasks, size, count):
    """Balance-like and descent-like programs of random Gramians, feasible ones."""
    rng = np.random.default_rng(num_tasks * size)
    while count:
        rows = rng.normal(size=(num_tasks, size)) + rng.uniform()
        gramian = rows @ rows.T
        matrix = gramian / np.abs(gramian).max(axis=1, keepdims=True)
        slopes = matrix @ rng.normal(size=num_tasks)
        bounds = np.where(slopes > 0, -2, slopes)
        bounds[rng.integers(num_tasks)] = 0
        for program in (
            (slopes, matrix, bounds),
            (gramian.sum(axis=0), matrix, np.zeros(num_tasks)),
        ):
            if best(*program) is not None:
                count -= 1
                yield program


# Random Gramians give 6e-4 in float32 at worst: near the end of the central path the
# normal equations of a degenerate program have the square of its conditioning.
@pytest.mark.parametrize(
    ("num_tasks", "size", "dtype"),
    [
        *((2, 2, "float32"), (10, 4, "float32"), (5, 3, "float64")),
        pytest.param(5, 3, "float32", marks=pytest.mark.slow),
        pytest.param(2, 2, "float64", marks=pytest.mark.slow),
        pytest.param(10, 4, "float64", marks=pytest.mark.slow),
    ],
)
def test_linear_programs_match_highs(num_tasks, size, dtype):
    accuracy = {"float32": 2e-3, "float64": 1e-9}[dtype]
    with jax.enable_x64(dtype == "float64"):
        present = np.ones(num_tasks, bool)
        for objective, matrix, bounds in programs(num_tasks, size, 12):
            reference = best(objective, matrix, bounds)
            found = solve(
                *(part.astype(dtype) for part in (objective, matrix, bounds)),
                present,
            )
            assert found.dtype == dtype
            found = np.asarray(found, float)
            scale = np.abs(objective - objective.mean()).max()
            assert found.min() >= 0
            assert found.sum() == pytest.approx(1, abs=1e-6)
            assert (matrix @ found - bounds).min() > -accuracy
            assert abs(objective @ (found - reference)) < accuracy * scale


def test_an_infeasible_program_has_a_finite_answer():
    """Both entries at least 0.8: they end at 0.5, or beyond one of the bounds."""
    program = np.array([1.0, 0.0]), np.eye(2), np.array([0.8, 0.8])
    found = solve(*(part.astype("float32") for part in program), np.ones(2, bool))
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1)
