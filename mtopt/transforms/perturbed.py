"""Task gradients at perturbed points: what sharpness-aware minimisation is made of."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mtopt.errors import expect, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.linalg import (
    as_complex,
    as_real,
    divide_or_zero,
    row_norms,
    scale_rows,
    some_rows,
)
from mtopt.options import Number, Numbers, as_array, is_traced, is_zero
from mtopt.passes import PASSES
from mtopt.per_task import PerTask, scale_heads, task_names
from mtopt.points import Point, factor_of
from mtopt.problem import Params, Problem
from mtopt.transforms.resolution import expect_resolved

DEFAULT_RHO = 0.05
Radius = Number | Numbers


@dataclasses.dataclass(frozen=True)
class Ball:
    """The neighbourhood of SAM: radii, and by which norm; see :func:`make_ball`.

    Attributes:
      rho_shared: the radius of the shared parameters, a number or ``[K]``.
      rho_task: the radius of the task's own; None where one ball holds both.
      adaptive: True where every parameter is measured in units of its own size.
      passes: see :func:`mtopt.passes.over_tasks`.
    """

    rho_shared: np.ndarray | Array
    rho_task: np.ndarray | Array | None
    adaptive: bool
    passes: str

    @property
    def is_point(self) -> bool:
        """True where every radius is a plain 0."""
        return is_zero(self.rho_shared) and (
            self.rho_task is None or is_zero(self.rho_task)
        )


def make_ball(
    rho: Radius | None,
    rho_shared: Radius | None,
    rho_task: Radius | None,
    adaptive: bool,
    passes: str,
) -> Ball:
    """A ball from the options of :func:`mtopt.per_task_sam`, checked.

    Raises:
      UserError: for a negative radius, or for one ball and two at once.
    """
    expect_one_of("passes", passes, PASSES)
    separate = (rho_shared, rho_task)
    given = [value is not None for value in (rho, *separate)]
    if given == [False, False, False]:
        rho, given[0] = DEFAULT_RHO, True
    expect(
        given in ([True, False, False], [False, True, True]),
        "(rho, rho_shared, rho_task)",
        (rho, *separate),
        "rho alone (one ball around both), or rho_shared and rho_task (a ball each)",
    )

    def radius(name: str, value: Any) -> np.ndarray | Array:
        array = as_array(value)
        good = array.ndim < 2 and ((array >= 0) & (array < np.inf)).all()
        expect(good, name, value, "a number of at least 0, or one per task")
        return array

    if rho is not None:
        return Ball(radius("rho", rho), None, adaptive, passes)
    shared, own = radius("rho_shared", rho_shared), radius("rho_task", rho_task)
    return Ball(shared, own, adaptive, passes)


def check_ball(ball: Ball, num_tasks: int) -> None:
    """Raises unless a radius per task is one for each of the K tasks.

    Raises:
      UserError: with the number that was found.
    """
    for name, radius in (("rho_shared", ball.rho_shared), ("rho_task", ball.rho_task)):
        if radius is not None:
            name = "rho" if ball.rho_task is None else name
            expected = f"1 number, or {num_tasks}: one per task in sorted order"
            found = radius if is_traced(radius) else radius.tolist()
            expect(radius.shape in ((), (num_tasks,)), name, found, expected)


def perturbations(params: Params, grads: Params, ball: Ball) -> Params:
    r"""The SAM perturbation of every task: steepest ascent to the edge of its ball.

    .. math::
       \epsilon_k = \rho \frac{g_k}{\|g_k\|}, \qquad
       \text{adaptive: } \epsilon_k = \rho
           \frac{\theta^2 \odot g_k}{\big\| |\theta| \odot g_k \big\|}

    In one ball the norm is over the gradients of the shared and of the task's own
    parameters together; in separate ones each has its own. A task without a gradient
    is not moved. In adaptive mode a parameter that is 0 stays 0.

    Args:
      params: ``{"shared": tree, "tasks": PerTask or groups of them}``.
      grads: the gradients of every task, ``{"shared": rows, "tasks": ...}``.
      ball: how far.

    Returns:
      The displacements, in the form of ``grads``.

    Example:
      >>> params = {"shared": jnp.zeros(2), "tasks": PerTask(jnp.zeros((1, 1)), ("a",))}
      >>> grads = {"shared": jnp.array([[3., 4.]]),
      ...          "tasks": PerTask(jnp.array([[12.]]), ("a",))}
      >>> ball = make_ball(13., None, None, False, "vmap")
      >>> moved = perturbations(params, grads, ball)
      >>> print(moved["shared"].astype(int), moved["tasks"]["a"].astype(int))
      [[3 4]] [12]
    """
    measured = _times_size(params, grads) if ball.adaptive else grads
    num_tasks = len(task_names(measured["tasks"]))
    shared_norm = row_norms(some_rows(measured["shared"], num_tasks))
    own_norm = task_norms(measured["tasks"], len(shared_norm))
    rho_shared, rho_task = ball.rho_shared, ball.rho_task
    if rho_task is None:
        shared_norm = own_norm = jnp.hypot(shared_norm, own_norm)
        rho_task = rho_shared
    by_shared = divide_or_zero(jnp.asarray(rho_shared, shared_norm.dtype), shared_norm)
    by_own = divide_or_zero(jnp.asarray(rho_task, own_norm.dtype), own_norm)
    moved = {
        "shared": scale_rows(by_shared, measured["shared"]),
        "tasks": scale_heads(measured["tasks"], by_own),
    }
    return _times_size(params, moved) if ball.adaptive else moved


def check_resolution(evaluation: Evaluation, ball: Ball) -> None:
    """Raises where a model in half precision does not notice a step of these radii.

    Args:
      evaluation: of the unperturbed point.
      ball: how far.

    Raises:
      UserError: see :func:`mtopt.transforms.resolution.expect_resolved`.
    """
    radii = {"rho_shared": ball.rho_shared, "rho_task": ball.rho_task}
    if ball.rho_task is None:
        radii = {"rho": ball.rho_shared}
    expect_resolved(
        evaluation.problem, evaluation.params, radii, adaptive=ball.adaptive
    )


def scaled_gradients(evaluation: Evaluation) -> Params:
    """The gradients of every task, its own parameters' on the scale of its row.

    Transformations scale rows alone, and one ball holds both.

    Args:
      evaluation: whose rows and heads they are.
    """
    factor = factor_of(evaluation.points)
    heads = evaluation.heads
    own = heads if factor is None else scale_heads(heads, factor)
    return {"shared": evaluation.rows, "tasks": own}


def perturbed_point(point: Point, towards: Params, ball: Ball) -> Point:
    """Where every task's loss is worst near a point, with gradients on its scale.

    The perturbation is a constant: it is not differentiated.

    Args:
      point: the unperturbed one, in common to all tasks.
      towards: the gradients whose directions the perturbations take.
      ball: how far.
    """
    params = point.params
    moved = perturbations(params, towards, ball)
    shared = jax.tree.map(lambda p, e: p[None] + e, params["shared"], moved["shared"])
    own = jax.tree.map(jnp.add, params["tasks"], moved["tasks"])
    return Point({"shared": shared, "tasks": own}, point.factor, shared_axis=0)


def gradients_at(
    problem: Problem, point: Point, evaluation: Evaluation, passes: str = "vmap"
) -> Evaluation:
    """The evaluation with the gradients of every task at another point.

    Same batch, same dropout; statistics of BatchNorm are those of the clean pass, which
    the step takes itself.

    Args:
      problem: the batch.
      point: where, and times what.
      evaluation: whose rows and heads are replaced.
      passes: how the K passes run; see :func:`mtopt.passes.over_tasks`.
    """
    _, found = problem.losses_and_grads(
        point.params, shared_axis=point.shared_axis, passes=passes
    )
    rows = found["shared"]
    if point.factor is not None:
        rows = scale_rows(point.factor, rows)
    return evaluation.replace(rows=rows, heads=found["tasks"], points=(point,))


def task_norms(own: Any, num_tasks: int) -> Float[Array, " K"]:
    """The length of every task's entry in a PerTask, or in groups of them.

    Args:
      own: gradients of the tasks' own parameters.
      num_tasks: K.

    Example:
      >>> two = (PerTask(jnp.array([[3., 4.]]), ("b",)),
      ...        PerTask(jnp.array([[2.]]), ("a",)))
      >>> task_norms(two, 2).tolist()
      [2.0, 5.0]
    """
    groups = jax.tree.leaves(own, is_leaf=lambda node: isinstance(node, PerTask))
    groups = [group for group in groups if jax.tree.leaves(group)]
    if not groups:
        return jnp.zeros(num_tasks)
    names = [name for group in groups for name in group.names]
    norms = jnp.concatenate([row_norms(group.values) for group in groups])
    return norms[np.argsort(names)]


def _times_size(params: Params, moves: Params) -> Params:
    """Every entry times the size of its parameter."""

    def times(parameter: Array, move: Array) -> Array:
        return as_complex(jnp.abs(as_real(parameter)) * as_real(move), move)

    shared = jax.tree.map(
        lambda p, m: times(p[None], m), params["shared"], moves["shared"]
    )
    return {
        "shared": shared,
        "tasks": jax.tree.map(times, params["tasks"], moves["tasks"]),
    }
