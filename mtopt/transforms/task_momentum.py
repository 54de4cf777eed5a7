"""Momentum for every task, before the aggregator: M-ConFIG's first half."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation, split
from mtopt.linalg import as_complex, as_real, where_present, zero_rows
from mtopt.options import Number
from mtopt.transforms.row_transformation import row_transformation


class MomentumState(NamedTuple):
    """State of :func:`task_momentum`.

    Attributes:
      counts: the batches that every task was in, ``[K]``, int32.
      first: the running means of the rows, leaves ``[K, ...]``.
      second: those of their squares, or empty.
    """

    counts: Int[Array, " K"]
    first: Any
    second: Any


def task_momentum(
    num_tasks: int,
    *,
    beta: Number = 0.9,
    beta2: Number | None = None,
    epsilon: Number = 1e-8,
) -> optax.GradientTransformationExtraArgs:
    r"""Replaces every task's gradient by its bias-corrected running mean.

    .. math::
       m_k \leftarrow \beta m_k + (1 - \beta) g_k, \qquad
       \hat m_k = \frac{m_k}{1 - \beta^{t_k}}

    so that the aggregator weighs what the tasks want over many batches instead of the
    noise of one. With ``beta2`` each task is scaled by its own second moment, as if it
    had an Adam of its own:

    .. math::
       v_k \leftarrow \beta_2 v_k + (1 - \beta_2) g_k^2, \qquad
       g_k \leftarrow \frac{\hat m_k}{\sqrt{\hat v_k} + \epsilon}

    Momentum *after* the aggregator is plain optax: ``optax.trace``, ``optax.adam``.
    M-ConFIG is ``mtopt.chain(task_momentum(K), conflict_free(K), undo_momentum(),
    optax.adam(lr))``; see :func:`undo_momentum`.

    Args:
      num_tasks: K, at least 1.
      beta: in [0, 1), the decay of the mean.
      beta2: in [0, 1), the decay of the mean of squares; None scales by nothing.
      epsilon: above 0, in units of the gradient; used with ``beta2`` only.

    Returns:
      A transformation from rows to rows. It holds K (with ``beta2``, 2K) copies of the
      shared parameters, in float32 at least. :math:`t_k` counts the batches that task k
      is in; an absent task's mean and count stay. The tasks' own parameters keep their
      gradients.

    Raises:
      UserError: for an option out of range, or (on update) rows of other shapes.

    Example:
      >>> tx = task_momentum(1, beta=0.5)
      >>> state = tx.init(jnp.zeros(2))
      >>> for row in ([1., 0.], [0., 1.]):
      ...     rows, state = tx.update(jnp.array([row]), state)
      >>> [round(float(m), 3) for m in rows[0]]
      [0.333, 0.667]

    References:
      Liu et al., ConFIG: Towards Conflict-free Training of Physics Informed Neural
      Networks, 2024, arXiv 2408.11104.

    Differences from released code:
      M-ConFIG computes one loss per step in turn, and aggregates the means of all
      tasks, stale ones included; here the tasks of the batch are updated, and only
      they take part. Its ``SeparateMomentumOperator``, the variant with ``beta2``, does
      not run as released, and its authors advise against it.
    """
    expect_number("beta", beta, at_least=0, below=1)
    if beta2 is not None:
        expect_number("beta2", beta2, at_least=0, below=1)
    expect_number("epsilon", epsilon, above=0)

    def init(shared: Any) -> MomentumState:
        first = zero_rows(as_real(shared), num_tasks)
        second = () if beta2 is None else jax.tree.map(jnp.zeros_like, first)
        return MomentumState(jnp.zeros((num_tasks,), jnp.int32), first, second)

    def change(
        evaluation: Evaluation, state: MomentumState
    ) -> tuple[Evaluation, MomentumState]:
        rows, present = as_real(evaluation.rows), evaluation.present
        counts = state.counts + present

        def mean(decay: Number, values: Any, old: Any) -> Any:
            new = jax.tree.map(
                lambda v, o: decay * o + (1 - decay) * v.astype(o.dtype), values, old
            )
            return where_present(present, new, old)

        def corrected(decay: Number, leaf: Array) -> Array:
            share = 1 - jnp.asarray(decay, leaf.dtype) ** jnp.maximum(counts, 1)
            return leaf / share.reshape(-1, *(1,) * (leaf.ndim - 1))

        first, second = mean(beta, rows, state.first), state.second
        moved = jax.tree.map(lambda leaf: corrected(beta, leaf), first)
        if beta2 is not None:
            squares = jax.tree.map(lambda m, g: g.astype(m.dtype) ** 2, first, rows)
            second = mean(beta2, squares, second)
            spread = jax.tree.map(functools.partial(corrected, beta2), second)
            moved = jax.tree.map(
                lambda m, v: m / (jnp.sqrt(v) + epsilon), moved, spread
            )
        moved = jax.tree.map(lambda new, row: new.astype(row.dtype), moved, rows)
        moved = as_complex(moved, evaluation.rows)
        return evaluation.replace(rows=moved), MomentumState(counts, first, second)

    return row_transformation(num_tasks, change, init)


class UndoneState(NamedTuple):
    """State of :func:`undo_momentum`.

    Attributes:
      count: the number of updates so far, int32.
      momentum: the last direction, without its bias correction.
    """

    count: Int[Array, ""]
    momentum: Any


def undo_momentum(*, beta: Number = 0.9) -> optax.GradientTransformation:
    r"""The gradient of which a direction is the bias-corrected momentum.

    .. math::
       \tilde m^t = (1 - \beta^t) d^t, \qquad
       \tilde g^t = \frac{\tilde m^t - \beta \tilde m^{t-1}}{1 - \beta}

    An aggregator of momenta returns a momentum. An Adam of the same ``beta`` behind
    this one has it as its first moment again, and takes its second moment from
    :math:`\tilde g`: M-ConFIG's shared second moment.

    Args:
      beta: in [0, 1), that of :func:`task_momentum` and of the optimizer's b1.

    Returns:
      An ordinary optax transformation, to stand after an aggregator behind
      :func:`task_momentum`. The tasks' own parameters keep their gradients.

    Raises:
      UserError: for a beta out of range.

    Example:
      >>> tx = undo_momentum(beta=0.5)
      >>> state = tx.init(jnp.zeros(1))
      >>> for direction in (1., 0.5):
      ...     gradient, state = tx.update(jnp.array([direction]), state)
      >>> print(gradient)
      [0.25]

    References:
      Liu et al., ConFIG: Towards Conflict-free Training of Physics Informed Neural
      Networks, 2024, arXiv 2408.11104: the pseudo gradient of its algorithm 1.
    """
    expect_number("beta", beta, at_least=0, below=1)

    def init(params: Any) -> UndoneState:
        def zeros(leaf: Any) -> Array:
            return jnp.zeros(leaf.shape, jnp.promote_types(leaf.dtype, jnp.float32))

        momentum = jax.tree.map(zeros, split(params)[0])
        return UndoneState(jnp.zeros((), jnp.int32), momentum)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, UndoneState]:
        del params
        direction, head_grads = split(updates)
        count = state.count + 1

        def with_bias(leaf: Array, old: Array) -> Array:
            share = 1 - jnp.asarray(beta, old.dtype) ** count
            return leaf.astype(old.dtype) * share

        def gradient(leaf: Array, new: Array, old: Array) -> Array:
            return ((new - beta * old) / (1 - beta)).astype(leaf.dtype)

        momentum = jax.tree.map(with_bias, direction, state.momentum)
        direction = jax.tree.map(gradient, direction, momentum, state.momentum)
        if head_grads is not None:
            direction = {"shared": direction, "tasks": head_grads}
        return direction, UndoneState(count, momentum)

    return optax.GradientTransformation(init, update)
