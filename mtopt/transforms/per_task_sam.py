"""Sharpness-aware minimisation (SAM) of each task: one ascent step a task."""

from typing import Any

import jax
import optax
from jaxtyping import Array, Float

from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import combine
from mtopt.options import Number
from mtopt.per_task import scale_heads
from mtopt.points import Point, factor_of
from mtopt.problem import Params
from mtopt.simplex import uniform_over
from mtopt.transforms.perturbed import (
    Radius,
    check_ball,
    check_resolution,
    gradients_at,
    make_ball,
    perturbed_point,
    scaled_gradients,
)
from mtopt.transforms.row_transformation import row_transformation


def per_task_sam(
    num_tasks: int,
    *,
    rho: Radius | None = None,
    rho_shared: Radius | None = None,
    rho_task: Radius | None = None,
    adaptive: bool = False,
    beta: Number = 1.0,
    passes: str = "vmap",
) -> optax.GradientTransformationExtraArgs:
    r"""Sharpness-aware minimisation of each task on its own: rows in, SAM rows out.

    .. math::
       \hat g_k = \nabla L_k(\theta + \epsilon_k^{sh}, \theta_k + \epsilon_k^{ns}),
       \qquad \epsilon_k = \rho\, g_k / \|g_k\|

    for the shared and the task's own parameters. Whatever stands after it in the chain
    aggregates gradients that lead to flat regions of every task; that is the "direct"
    form of F-MTL, see :func:`mtopt.flat_regions` for the paper's own. It costs K more
    forward and backward passes.

    Args:
      num_tasks: K, at least 1.
      rho: the radius of one ball around the shared and the task's own parameters, at
        least 0; or one per task. None: 0.05, that of the SAM paper and of F-MTL's NYUv2
        runs. The authors have 2 with ``adaptive`` on Multi-MNIST, and 0.0025 without on
        Cityscapes: always sweep it.
      rho_shared: in place of ``rho``, together with ``rho_task``: the radius of a ball
        around the shared parameters, as in the paper.
      rho_task: the radius of a ball around the task's own parameters.
      adaptive: measure every parameter in units of its size (ASAM).
      beta: in [0, 1], the share of the task's own gradient in the direction of its
        perturbation; the rest is the mean over the tasks. 1/2 is SAMO's joint
        global-local perturbation.
      passes: ``"vmap"``, ``"unroll"`` or ``"map"``: the K passes at once, or one after
        another; see :func:`mtopt.passes.over_tasks`.

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
      >>> tx = mtopt.chain(per_task_sam(2, rho=0.05), mtopt.mgda(2), optax.sgd(0.05))
      >>> state = mtopt.TrainState.create(params, tx, jax.random.key(0))
      >>> batch = mtopt.Batch.shared(
      ...     jnp.eye(3), {"a": jnp.ones(3), "b": jnp.array([1., 2., 3.])})
      >>> state, metrics = mtopt.make_train_step(tasks, tx)(state, batch)
      >>> [round(float(w), 3) for w in optax.tree.get(state.opt_state, "weights")]
      [1.0, 0.0]

    References:
      Phan et al., Beyond Losses Reweighting: Empowering Multi-Task Learning via the
      Generalization Perspective, 2022, arXiv 2211.13723.
      Foret et al., Sharpness-Aware Minimization for Efficiently Improving
      Generalization, 2020, arXiv 2010.01412.
      Kwon et al., ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant
      Learning of Deep Neural Networks, 2021, arXiv 2102.11600.
      Ban et al., SAMO: A Lightweight Sharpness-Aware Approach for Multi-Task
      Optimization with Joint Global-Local Perturbation, 2025, ICCV.

    Differences from released code:
      F-MTL's adds 1e-12 to the norm; here a task without a gradient is not moved. ASAM
      adds 0.01 to the sizes of the weights, F-MTL's code and this do not. SAMO
      estimates the task's own gradient from forward passes; here it is the row.
    """
    expect_number("beta", beta, at_least=0, at_most=1)
    ball = make_ball(rho, rho_shared, rho_task, adaptive, passes)
    check_ball(ball, num_tasks)

    def change(evaluation: Evaluation, state: Any) -> tuple[Evaluation, Any]:
        problem, params = evaluation.problem, evaluation.params
        if ball.is_point:
            return evaluation, state
        check_resolution(evaluation, ball)
        shares = uniform_over(evaluation.present)
        towards = _towards_mean(scaled_gradients(evaluation), beta, shares)
        here = Point(params, factor_of(evaluation.points))
        there = perturbed_point(here, towards, ball)
        return gradients_at(problem, there, evaluation, ball.passes), state

    return row_transformation(num_tasks, change)


def _towards_mean(grads: Params, beta: Number, shares: Float[Array, " K"]) -> Params:
    """Every task's gradient mixed with that of the mean loss."""
    mean = combine(shares, grads["shared"])
    mixed = jax.tree.map(
        lambda m, row: ((1 - beta) * m[None] + beta * row).astype(row.dtype),
        mean,
        grads["shared"],
    )
    own = scale_heads(grads["tasks"], beta + (1 - beta) * shares)
    return {"shared": mixed, "tasks": own}
