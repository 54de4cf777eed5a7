"""Auto-lambda: the weights that make the next step best for the primary tasks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect, expect_number
from mtopt.evaluation import Evaluation
from mtopt.linalg import steepest
from mtopt.memory import learned
from mtopt.options import Number, Numbers, as_array
from mtopt.registry import method
from mtopt.scaled_problem import on_scale_of_rows


@method(family="batches")
def auto_lambda(
    num_tasks: int,
    *,
    primary: Numbers | None = None,
    lookahead: Number = 0.1,
    learning_rate: Number = 1e-4,
    initial: Number = 0.1,
    heads: str = "weighted",
) -> Aggregator:
    r"""Learns the weights on a validation half, through one step on the other.

    .. math::
       \theta' = \theta - \eta \sum_k w_k \nabla L_k(\theta), \qquad
       \frac{\partial}{\partial w_k} \sum_{p \in P} L_p^{val}(\theta')
           = -\eta \Big\langle \nabla L_k(\theta),
                 \sum_{p \in P} \nabla L_p^{val}(\theta') \Big\rangle, \qquad
       d = \sum_k w_k g_k

    A task is raised while its gradient points the way the primary tasks P have to go
    on samples it was not taken from. With some tasks primary the others are
    auxiliary: they are trained for what they do for P. The halves are those of the
    step's batch; theta are the shared and the tasks' own parameters.

    Args:
      num_tasks: K, at least 1.
      primary: P, the indices of the primary tasks among the sorted names; None: all.
      lookahead: :math:`\eta`, the length of the step looked at, above 0. The authors'
        is the learning rate of the model, 0.1 with SGD.
      learning_rate: of the weights' Adam, above 0: 1e-4 for NYUv2, 3e-5 for Cityscapes.
      initial: the weight of every task at first, above 0.
      heads: ``"weighted"``: differentiates the weighted loss, as in the released code;
        ``"plain"``: leaves a head its own gradient.

    Returns:
      An aggregator. It needs a problem with at least two samples, and a model that
      can be differentiated forward.

    Raises:
      UserError: for an option out of range, and (on update) a batch too small.

    Example:
      >>> import mtopt
      >>> jacobian = jnp.array([[2., 0.], [1., 1.], [-1., 0.]])
      >>> problem, params = mtopt.linear_problem(jacobian, jnp.ones(3))
      >>> seen = problem.evaluate(params)
      >>> tx = auto_lambda(3, primary=(0,), learning_rate=0.01)
      >>> _, state = jax.jit(tx.update)(
      ...     seen.gradients, tx.init(params), params, evaluation=seen)
      >>> [round(float(weight), 3) for weight in state.weights]
      [0.11, 0.11, 0.09]

    Nothing to balance:
      one task: along its gradient; equal losses: as any others; a zero gradient:
      left out; all zero: d = 0.

    References:
      Liu et al., Auto-λ: Disentangling Dynamic Task Relationships, 2022,
      arXiv 2202.03091.

    Differences from released code:
      The derivative is exact: all K inner products are one forward derivative of the
      training losses along the validation gradient, where the authors take finite
      differences of the model at two more points. Their look-ahead adds the momentum
      and the weight decay of SGD, their validation batch is drawn beside the training
      batch, and d is the gradient of the latter; here d uses both halves. Weights
      stay at zero or above. An absent task keeps its weight.
    """
    is_primary = np.ones(num_tasks, bool)
    if primary is not None:
        hits = as_array(primary).reshape(-1, 1) == np.arange(num_tasks)[None]
        expect(
            hits.any() & hits.any(axis=1).all(),
            "primary",
            primary,
            f"at least one index from 0 to {num_tasks - 1}",
        )
        is_primary = hits.any(axis=0)
    expect_number("lookahead", lookahead, above=0)
    expect_number("learning_rate", learning_rate, above=0)
    expect_number("initial", initial, above=0)
    adam = learned.bounded_adam(learning_rate)

    def start(shared: Any) -> learned.Learned:
        return learned.start(adam, num_tasks, initial, shared)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        problem, params = on_scale_of_rows(evaluation), evaluation.params
        weights = memory.values
        train, validation = problem.split(2)
        leading = is_primary & evaluation.present

        def primary_loss(params: Any) -> Float[Array, ""]:
            return jnp.sum(jnp.where(leading, validation.losses(params), 0))

        taken = jnp.where(evaluation.present, weights, 0)
        ahead = train.look_ahead(params, taken, lookahead)
        uphill = steepest(jax.grad(primary_loss)(ahead))
        products = jax.jvp(train.losses, (params,), (uphill,))[1]

        judged = evaluation.present & leading.any()
        memory = learned.learn(adam, memory, -lookahead * products, judged)
        memory = memory._replace(values=jnp.maximum(memory.values, 0))
        return memory.values, memory

    return weighting(num_tasks, weigh, heads=heads, memory=start)
