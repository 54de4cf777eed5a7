"""Gramians of every family that breaks a solver."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mtopt.solvers.dense import correlation


def ill_conditioned(rng, rows):
    """Singular values from 1 to 1e-4: a Gramian of condition 1e8."""
    u, _, v = np.linalg.svd(rows, full_matrices=False)
    return u * np.logspace(0, -4, len(rows)) @ v


WELL_POSED = {
    "random": lambda rng, j: j,
    "correlated": lambda rng, j: j[:1] + j,
    "duplicates": lambda rng, j: j[np.arange(len(j)) % ((len(j) + 1) // 2)],
    "decades_4": lambda rng, j: j * 10 ** rng.uniform(-2, 2, size=(len(j), 1)),
    "decades_10": lambda rng, j: j * 10 ** rng.uniform(-5, 5, size=(len(j), 1)),
    "scale_1e-10": lambda rng, j: 1e-10 * j,
    "scale_1e15": lambda rng, j: 1e15 * j,
}


# A convex combination of the rows is zero, or nearly.
STATIONARY = {
    "conflict": lambda rng, j: j - (0.999 if len(j) > 1 else 0) * j.mean(0),
    "condition_1e8": ill_conditioned,
    "half_rank": lambda rng, j: (
        rng.normal(size=(len(j), (len(j) + 1) // 2)) @ j[: (len(j) + 1) // 2]
    ),
    "opposed": lambda rng, j: rng.normal(size=(len(j), 1)) * j[:1],
    "stationary": lambda rng, j: (
        j - rng.dirichlet(np.ones(len(j))) @ j if len(j) > 1 else j
    ),
}


FAMILIES = WELL_POSED | STATIONARY


SIZES = [1, 2, 8, 40]


@functools.cache
def gramians(k: int, dtype: str) -> np.ndarray:
    """One Gramian a family: ``[families, K, K]``."""
    stack = []
    for family in FAMILIES.values():
        rng = np.random.default_rng(k)
        rows = family(rng, rng.normal(size=(k, max(8, 3 * k))))
        stack.append((rows @ rows.T).astype(dtype))
    return np.stack(stack)


def solve(function, k, dtype):
    """One function on all families of one size, jitted and vmapped."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(function))(jnp.asarray(gramians(k, dtype))))


def check_by_family(errors, well_posed, stationary):
    for name, error in zip(FAMILIES, errors, strict=True):
        assert error <= (well_posed if name in WELL_POSED else stationary), name


# The projections.
def unit_rows(gramian):
    return correlation(gramian, jnp.ones(len(gramian), bool))[0]
