"""Solves where 0 is in the hull of the gradients: more tasks than directions.

Rows' lengths differ by two decades. What each method promises is judged in float64 on
the gradients themselves, from weights that were found in float32 on their Gramian.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from mtopt.methods.aligned_mtl import aligned_mtl_weights
from mtopt.methods.cagrad import cagrad
from mtopt.methods.conflict_free import conflict_free, conflict_free_weights
from mtopt.methods.dualproj import dualproj_weights
from mtopt.methods.gradcraft import gradcraft_weights
from mtopt.methods.imtl_g import imtl_g_weights
from mtopt.methods.upgrad import upgrad_weights
from mtopt.solvers import (
    bargaining_residual,
    bargaining_weights,
    conflict_averse_weights,
    min_norm_weights,
)
from tests.helpers.updates import direction_and_weights

SHAPES = [(16, 4), (8, 4), (8, 8), (4, 1)]
# A program for each number of tasks.
SHAPES += [pytest.param(shape, marks=pytest.mark.slow) for shape in ((40, 20), (3, 2))]
RADII = [0.1, 0.4, 0.8, 0.99, 1.5]
COUNT = 24
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


@functools.cache
def jacobians(shape):
    rng = np.random.default_rng(0)
    lengths = 10 ** rng.uniform(-1, 1, size=(COUNT, shape[0], 1))
    return (rng.normal(size=(COUNT, *shape)) * lengths).astype("float32")


@functools.cache
def of_all(function):
    """One program for as many tasks, whatever the directions and the options are."""

    def solved(products, arguments):
        return jax.vmap(lambda gramian: function(gramian, *arguments))(products)

    return jax.jit(solved)


def solve(function, shape, *arguments):
    rows = jacobians(shape)
    products = np.einsum("nkd,njd->nkj", rows, rows)
    return np.asarray(of_all(function)(products, arguments))


def best_worst_gain(rows, c):
    """CAGrad's value, in float64, by bisection on how far the hull is looked at.

    The point of the hull nearest to -s g_0 is g_w, by non-negative least squares, and
    d = g_0 + g_w / s; its distance from g_0 falls with s.
    """
    g_0 = rows.mean(0)
    length = np.linalg.norm(g_0)
    rows, g_0 = rows / length, g_0 / length

    def nearest(s):
        weight = 1e4 * max(np.abs(rows).max(), s)
        system = np.vstack([(rows + s * g_0).T, np.full((1, len(rows)), weight)])
        target = np.append(np.zeros(len(g_0)), weight)
        w, _ = scipy.optimize.nnls(system, target, maxiter=100 * len(rows))
        return (w / w.sum()) @ rows / s

    low, high = -14.0, 14.0
    for _ in range(45):
        middle = (low + high) / 2
        if np.linalg.norm(nearest(np.exp(middle))) > c:
            low = middle
        else:
            high = middle
    return (rows @ (g_0 + nearest(np.exp(high)))).min() * length**2


@shapes
def test_cagrad_is_in_its_ball_and_best_there(shape):
    rows = jacobians(shape).astype(float)
    means = rows.mean(1)
    lengths = np.linalg.norm(means, axis=1)
    for c in RADII:
        p = solve(conflict_averse_weights, shape, c)
        assert p.min() >= 0
        added = np.einsum("nk,nkd->nd", p, rows)
        reached = np.linalg.norm(added, axis=1) / (c * lengths)
        assert reached.max() < 1 + 1e-4
        gains = np.einsum("nkd,nd->nk", rows, means + added)
        worst = gains.argmin(1)
        for n in range(4):
            size = lengths[n] * np.linalg.norm(rows[n, worst[n]])
            lacking = best_worst_gain(rows[n], c) - gains[n, worst[n]]
            assert lacking < 3e-4 * size
        if c < 0.9:
            assert reached.min() > 1 - 1e-4
            distance = np.linalg.norm(means + added, axis=1)
            assert (distance > (1 - 1.001 * c) * lengths).all()


def test_a_hull_around_zero_leaves_cagrad_no_direction_from_c_1_on():
    rows = jacobians((16, 4))[:4, :, :3]

    @jax.jit
    def first(c):
        tx = cagrad(16, c=c, rescale="none")
        directions, states = jax.vmap(lambda own: tx.update(own, tx.init(own[0])))(rows)
        return directions, states.weights

    for c in (1.0, 1.5, 10.0):
        for jacobian, direction, weights in zip(rows, *first(c), strict=True):
            jacobian = jacobian.astype(float)
            mean = jacobian.mean(0)
            assert np.linalg.norm(direction) < 1e-4 * np.linalg.norm(mean)
            size = np.linalg.norm(mean) / np.linalg.norm(jacobian, axis=1)
            assert (weights < 100 * (1 + size)).all()


@shapes
def test_the_min_norm_point_is_the_shortest(shape):
    rows = jacobians(shape).astype(float)
    directions = np.einsum("nk,nkd->nd", solve(min_norm_weights, shape), rows)
    squares = (directions**2).sum(1)
    gains = np.einsum("nkd,nd->nk", rows, directions).min(1)
    mean = (rows**2).sum(2).mean(1)
    # |d|^2 exceeds the optimum by at most |d|^2 less the worst gain.
    assert (squares - gains <= 2e-4 * np.sqrt(squares * mean) + 1e-6 * mean).all()


@shapes
def test_projections_harm_no_task_and_lend_only_where_they_touch(shape):
    num_tasks = shape[0]
    rows = jacobians(shape).astype(float)
    share, everyone = (
        np.full(num_tasks, 1 / num_tasks, "float32"),
        np.ones(num_tasks, bool),
    )
    lengths = np.linalg.norm(rows, axis=2)
    for weigh in (dualproj_weights, upgrad_weights):
        weights = solve(weigh, shape, share, everyone)
        lent = (weights - share) * lengths
        assert lent.min() >= -1e-6 * lengths.max()
        gains = np.einsum("nkd,nd->nk", rows, np.einsum("nk,nkd->nd", weights, rows))
        gains = gains / lengths / (lengths * share).sum(1, keepdims=True)
        assert gains.min() > -1e-3
        if weigh is dualproj_weights:
            complement = gains * lent / (lengths * share).sum(1, keepdims=True)
            assert np.abs(complement).max() < 1e-3


def bargain(gramian, alpha):
    """The weights, and how unfair they are."""
    weights = bargaining_weights(gramian, alpha=alpha)
    return jnp.append(weights, bargaining_residual(gramian, weights, alpha=alpha))


@shapes
@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_bargains_are_fair(shape, alpha):
    found = solve(bargain, shape, alpha)
    weights, residuals = found[:, :-1], found[:, -1]
    assert (weights > 0).all()
    norms = np.linalg.norm(jacobians(shape), axis=2)
    v = (weights * norms ** (2 * alpha / (1 + alpha))).max(1)
    # As in test_bargaining.py: what float32 leaves of the residual where v is large.
    noise = 2 * np.finfo("float32").eps * shape[0] * v ** (1 + 1 / alpha)
    assert (residuals <= 5e-5 + noise).all()


@shapes
def test_equal_cosines_are_those_of_least_squares(shape):
    """d is on the line of U^+ 1: no cosines are nearer to equal ones.

    ConFIG's length is the sum of the projections, which turns d where that is negative.
    """
    ones = np.ones(shape[0], "float32")
    smallest = np.sqrt(10 * shape[0] * np.finfo("float32").eps)
    for weigh, known in ((conflict_free_weights, (ones,)), (imtl_g_weights, ())):
        weights = solve(weigh, shape, *known).astype(float)
        for jacobian, own in zip(jacobians(shape).astype(float), weights, strict=True):
            unit = jacobian / np.linalg.norm(jacobian, axis=1, keepdims=True)
            exact = np.linalg.pinv(unit, rcond=smallest) @ np.ones(len(unit))
            found = own @ jacobian
            sizes = np.linalg.norm(found) * np.linalg.norm(exact)
            turned = found @ exact < 0 and weigh is conflict_free_weights
            assert (found @ exact) * (-1 if turned else 1) >= (1 - 1e-4) * sizes - 1e-6


align = functools.partial(aligned_mtl_weights, scale="min")


@shapes
def test_aligned_gradients_are_orthogonal_and_of_one_length(shape):
    ones = np.ones(shape[0], "float32")
    weights = solve(align, shape, ones).astype(float)
    for jacobian, own in zip(jacobians(shape).astype(float), weights, strict=True):
        u, sizes, v = np.linalg.svd(jacobian, full_matrices=False)
        # Of the components that the method counts; float32 knows the square of the
        # smallest to its rounding of the largest.
        eps = np.finfo("float32").eps
        kept = sizes**2 > len(ones) * eps * sizes[0] ** 2
        exact = sizes[kept].min() * (ones @ u[:, kept]) @ v[kept]
        error = np.linalg.norm(own @ jacobian - exact) / np.linalg.norm(exact)
        assert error < 2e-4 + eps * (sizes[0] / sizes[kept].min()) ** 2


craft = functools.partial(gradcraft_weights, tau=0.0, epsilon=0.0)


@shapes
def test_gradcraft_leaves_no_conflict_that_independent_rows_can_lose(shape):
    """What is left of a gradient is normal to all that it conflicts with."""
    num_tasks = shape[0]
    weights = solve(craft, shape, np.ones(num_tasks, "float32")).astype(float)
    for jacobian, own in zip(jacobians(shape).astype(float), weights, strict=True):
        crafted = np.zeros_like(jacobian)
        for k, row in enumerate(jacobian):
            against = jacobian[jacobian @ row < 0]
            basis = np.linalg.svd(against, full_matrices=False)
            kept = basis[2][basis[1] > 1e-4 * basis[1].max(initial=1e-30)]
            crafted[k] = row - (row @ kept.T) @ kept
        exact = crafted.sum(0)
        size = np.linalg.norm(jacobian, axis=1).sum()
        # Its ridge of 10 K roundings is felt along directions that short rows span.
        assert np.linalg.norm(own @ jacobian - exact) < 1e-2 * size


def test_conflict_free_of_a_hull_around_zero_is_finite():
    jacobian = jacobians((16, 4))[0]
    direction, _ = direction_and_weights(conflict_free(16), jacobian)
    assert np.isfinite(direction).all()
