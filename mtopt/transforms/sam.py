"""Sharpness-aware minimisation of the mean loss, as one loss."""

from typing import Any

import jax
import optax

from mtopt.evaluation import Evaluation
from mtopt.linalg import combine
from mtopt.options import Number
from mtopt.per_task import scale_heads
from mtopt.points import Point, factor_of
from mtopt.simplex import uniform_over
from mtopt.transforms.perturbed import (
    check_ball,
    check_resolution,
    gradients_at,
    make_ball,
    perturbations,
    scaled_gradients,
)
from mtopt.transforms.row_transformation import row_transformation


def sam(
    num_tasks: int, *, rho: Number = 0.05, adaptive: bool = False
) -> optax.GradientTransformationExtraArgs:
    r"""The gradients of all tasks at one point, the worst for their mean loss.

    .. math::
       \hat g_k = \nabla L_k(\theta + \epsilon), \qquad
       \epsilon = \rho\, \bar g / \|\bar g\|, \qquad \bar g = \nabla \tfrac1K \sum_j L_j

    with theta all parameters, shared and of the tasks. Before equal weighting it is SAM
    as for a single loss: the control that tells whether a method of flat regions per
    task did more than that. It costs one more forward pass, and K backward.

    Args:
      num_tasks: K, at least 1.
      rho: the radius of the ball, at least 0; 0.05 in the paper.
      adaptive: measure every parameter in units of its size (ASAM).

    Returns:
      A transformation of rows; it needs a problem.

    Raises:
      UserError: for an option out of range, rows without the task axis, or, in half
        precision, a radius that it does not resolve.

    Example:
      >>> import jax.numpy as jnp, mtopt
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b"), lambda shared, x, key: x @ shared, head_loss)
      >>> params = {"shared": 0.1 * jnp.ones((3, 4)),
      ...           "tasks": mtopt.PerTask(jnp.ones((2, 4)), tasks.names)}
      >>> tx = mtopt.chain(sam(2, rho=0.05), mtopt.equal_weighting(2), optax.sgd(0.05))
      >>> state = mtopt.TrainState.create(params, tx, jax.random.key(0))
      >>> batch = mtopt.Batch.shared(
      ...     jnp.eye(3), {"a": jnp.ones(3), "b": jnp.array([1., 2., 3.])})
      >>> step = mtopt.make_train_step(tasks, tx)
      >>> for _ in range(3):
      ...     state, metrics = step(state, batch)
      >>> bool((metrics["losses"] < 3).all())
      True

    References:
      Foret et al., Sharpness-Aware Minimization for Efficiently Improving
      Generalization, 2020, arXiv 2010.01412.
      Kwon et al., ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant
      Learning of Deep Neural Networks, 2021, arXiv 2102.11600.
    """
    ball = make_ball(rho, None, None, adaptive, "vmap")
    check_ball(ball, 1)

    def change(evaluation: Evaluation, state: Any) -> tuple[Evaluation, Any]:
        problem, params = evaluation.problem, evaluation.params
        if ball.is_point:
            return evaluation, state
        check_resolution(evaluation, ball)
        shares = uniform_over(evaluation.present)
        gradients = scaled_gradients(evaluation)
        mean = {
            "shared": combine(shares, gradients["shared"]),
            "tasks": scale_heads(gradients["tasks"], shares),
        }
        # One loss has one row, and all parameters are shared by it.
        row = {"shared": jax.tree.map(lambda leaf: leaf[None], mean), "tasks": ()}
        moved = perturbations({"shared": params, "tasks": ()}, row, ball)["shared"]
        worst = jax.tree.map(lambda p, m: p + m[0], params, moved)
        there = Point(worst, factor_of(evaluation.points))
        return gradients_at(problem, there, evaluation), state

    return row_transformation(num_tasks, change)
