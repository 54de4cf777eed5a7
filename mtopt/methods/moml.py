"""MOML: the weights that make the next step good for every task alike."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number, expect_one_of
from mtopt.evaluation import Evaluation, split
from mtopt.linalg import (
    cross_gramian,
    divide_or_zero,
    gramian,
    row_norms,
    scale_rows,
    some_rows,
)
from mtopt.memory import learned
from mtopt.options import Number
from mtopt.registry import method
from mtopt.scaled_problem import on_scale_of_rows
from mtopt.solvers import min_norm_weights


@method(family="batches", traits=("mean-like",))
def moml(
    num_tasks: int,
    *,
    lookahead: Number = 1e-4,
    learning_rate: Number = 1e-3,
    normalize: str = "l2",
    heads: str = "weighted",
) -> Aggregator:
    r"""Multi-objective meta learning: validation losses after a step, kept apart.

    .. math::
       w = \operatorname{softmax}(a), \qquad
       \theta' = \theta - \eta \sum_k w_k \nabla L_k(\theta), \qquad
       u_i = \nabla_a L_i^{val}(\theta')
           = -\eta\, S\, \big( \langle \nabla L_k(\theta),
                               \nabla L_i^{val}(\theta') \rangle \big)_k

    with :math:`S = \operatorname{diag}(w) - w w^\top`. Where Auto-lambda adds up the
    validation losses, here each has its own gradient :math:`u_i` with respect to the
    logits; MGDA weighs them, and Adam moves a along :math:`\sum_i \gamma_i u_i`. The
    direction is :math:`d = \sum_k w_k g_k` with the new weights. The halves are those
    of the step's batch; theta are the shared and the tasks' own parameters.

    Args:
      num_tasks: K, at least 1.
      lookahead: :math:`\eta`, the length of the step looked at, above 0. The authors
        have 1e-4, the learning rate of the model, LibMTL 0.1.
      learning_rate: of the logits' Adam, above 0: 1e-3 for Office, 1e-4 for NYUv2.
      normalize: what u_i is divided by for MGDA's solve. ``"l2"``: its norm (the
        authors' on Office, LibMTL); ``"loss"``: its validation loss (theirs on NYUv2).
      heads: ``"weighted"``: differentiates the weighted loss, as in the released code;
        ``"plain"``: leaves a head its own gradient.

    Returns:
      An aggregator. It needs a problem with at least two samples, and a model that
      can be differentiated forward.

    Raises:
      UserError: for an option out of range, and (on update) a batch too small.

    Example:
      >>> import mtopt
      >>> jacobian = jnp.array([[2., 0.], [1., 1.], [0., 0.5]])
      >>> problem, params = mtopt.linear_problem(jacobian, jnp.ones(3))
      >>> seen = problem.evaluate(params)
      >>> tx = moml(3, learning_rate=0.1)
      >>> _, state = jax.jit(tx.update)(
      ...     seen.gradients, tx.init(params), params, evaluation=seen)
      >>> [round(float(weight), 2) for weight in state.weights]
      [0.35, 0.35, 0.29]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient:
      another length of d; all zero: d = 0.

    References:
      Ye et al., Multi-Objective Meta Learning, 2021, arXiv 2102.07121.

    Differences from released code:
      The step is differentiated by its inner products, exactly, where the authors keep
      a copy of the model and its graph; MGDA is solved to rounding. Their training and
      validation batches are drawn from two fixed parts of the data, and d from the
      whole; here both are halves of the batch of d. Among the tasks of a batch only
      the present ones share the softmax, and the others keep logit and moments.
    """
    expect_number("lookahead", lookahead, above=0)
    expect_number("learning_rate", learning_rate, above=0)
    expect_one_of("normalize", normalize, ("l2", "loss"))
    adam = learned.bounded_adam(learning_rate)

    def start(shared: Any) -> learned.Learned:
        return learned.start(adam, num_tasks, 1 / num_tasks, shared)

    def weigh(logits: Any, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        problem, params = on_scale_of_rows(evaluation), evaluation.params
        train, validation = problem.split(2)
        weights = _softmax(logits.values, present)

        ahead = train.look_ahead(params, weights, lookahead)
        losses, uphill = validation.losses_and_grads(ahead)
        products = _inner_products(train, params, uphill).astype(weights.dtype)
        centred = products - (products @ weights)[:, None]
        upper = -lookahead * centred * weights[None]

        scale = row_norms(upper) if normalize == "l2" else jnp.abs(losses)
        inverse = divide_or_zero(1.0, scale)
        scaled = scale_rows(inverse.astype(upper.dtype), upper)
        largest = jnp.max(jnp.abs(scaled))
        scaled = scaled / jnp.where(largest > 0, largest, 1)
        slope = min_norm_weights(gramian(scaled), present) @ upper

        logits = learned.learn(adam, logits, slope, present)
        return _softmax(logits.values, present), logits

    least = 0.0 if normalize == "loss" else None
    return weighting(
        num_tasks,
        weigh,
        heads=heads,
        reduction="mean",
        memory=start,
        least_losses=least,
    )


def _softmax(
    logits: Float[Array, " K"], present: Bool[Array, " K"]
) -> Float[Array, " K"]:
    """The softmax over the present tasks; zeros where nobody is."""
    logits = jnp.where(present | ~present.any(), logits, -jnp.inf)
    return jnp.where(present, jax.nn.softmax(logits), 0)


def _inner_products(train: Any, params: Any, uphill: Any) -> Float[Array, "K K"]:
    """``[i, k]``: the gradient of validation loss i times that of training loss k.

    A task's own parameters meet only their own gradient, on the diagonal: all of it is
    one forward derivative, since no loss depends on another task's.
    """
    rows, own = split(uphill)
    shared, _ = split(train.losses_and_grads(params)[1])
    still = jax.tree.map(lambda row: jnp.zeros_like(row[0]), rows)
    along_own = {"shared": still, "tasks": own}
    own_products = jax.jvp(train.losses, (params,), (along_own,))[1]
    some = (some_rows(each, len(own_products)) for each in (rows, shared))
    return cross_gramian(*some) + jnp.diag(own_products)
