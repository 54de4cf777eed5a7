"""MoDo: MGDA without the bias of a batch, by drawing two more."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Weighed, gradients_of, weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation, split
from mtopt.linalg import task_numbers
from mtopt.options import Number
from mtopt.registry import method
from mtopt.scaled_problem import on_scale_of_rows
from mtopt.simplex import project_simplex, share_of


@method(family="batches", traits=("mean-like",))
def modo(
    num_tasks: int, *, gamma: Number = 0.1, rho: Number = 0.1, heads: str = "plain"
) -> Aggregator:
    r"""Multi-objective gradient with double sampling: one step of the weights a step.

    .. math::
       \lambda \leftarrow \Pi_\Delta \big( \lambda - \gamma (J_1 J_2^\top \lambda
           + \rho \lambda) \big), \qquad d = J_3^\top \lambda

    with the gradients J of three independent batches: :math:`J_1 J_2^\top` estimates
    the Gramian without bias, where that of one batch is too long by its noise. The
    three are parts of the step's batch. No matrix is formed:
    :math:`J_2^\top \lambda` and d are backward passes, :math:`J_1 v` is a forward one,
    so that the cost does not grow with K.

    Args:
      num_tasks: K, at least 1.
      gamma: the step of the weights, at least 0, in units of 1 / (squared gradient).
        The authors' code and TorchJD have 0.1, LibMTL 0.001.
      rho: the ridge that draws the weights to uniform, at least 0.
      heads: ``"plain"``: a head moves along its own gradient, that of the whole batch
        (the mean of the three, as in LibMTL); ``"weighted"``: along lambda_k times it.

    Returns:
      An aggregator. It needs a problem with at least three samples, and a model that
      can be differentiated forward. Behind a transformation of rows its weights are
      those of the parts' own gradients, on the scale of the rows, which are summed.

    Raises:
      UserError: for an option out of range, and (on update) a batch too small.

    Example:
      >>> import mtopt
      >>> jacobian = jnp.array([[2., 0.], [0., 1.]])
      >>> problem, params = mtopt.linear_problem(jacobian, jnp.ones(2))
      >>> seen = problem.evaluate(params)
      >>> tx = modo(2, rho=0.)
      >>> _, state = jax.jit(tx.update)(
      ...     seen.gradients, tx.init(params), params, evaluation=seen)
      >>> [round(float(weight), 3) for weight in state.weights]
      [0.425, 0.575]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient:
      another d; all zero: d = 0. A solved task holds the others back; see
      :func:`mtopt.without_stationary`.

    References:
      Chen et al., Three-Way Trade-Off in Multi-Objective Learning: Optimization,
      Generalization and Conflict-Avoidance, 2023, arXiv 2305.20057.

    Differences from released code:
      The authors' draws two batches and descends along the sum of their gradients;
      here as in the paper and LibMTL. A task with fewer than three labels has one of
      them in several parts. The present tasks move within the share of the simplex
      that they hold.
    """
    expect_number("gamma", gamma, at_least=0)
    expect_number("rho", rho, at_least=0)

    def start(shared: Any) -> Float[Array, " K"]:
        return task_numbers(shared, num_tasks, 1 / num_tasks)

    def weigh(weights: Any, evaluation: Evaluation) -> Weighed:
        problem, params = on_scale_of_rows(evaluation), evaluation.params
        first, second, _ = problem.split(3)
        present = evaluation.present
        shares, total = share_of(weights, present)
        along = second.pullback(params, shares)
        shared, own = split(params)

        def losses(shared: Any) -> Float[Array, " K"]:
            return first.losses({"shared": shared, "tasks": own})

        slope = jax.jvp(losses, (shared,), (along,))[1].astype(shares.dtype)
        shares = project_simplex(shares - gamma * (slope + rho * shares), present)
        return shares, jnp.where(present, total * shares, weights)

    third = gradients_of(lambda problem: problem.split(3)[2])
    return weighting(
        num_tasks, weigh, heads=heads, reduction="mean", memory=start, gradients=third
    )
