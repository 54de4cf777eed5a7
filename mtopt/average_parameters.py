"""A running average of the parameters, to be evaluated in their place."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from mtopt.errors import UserError, expect_number
from mtopt.evaluation import Evaluation
from mtopt.options import Number
from mtopt.per_head import select_present
from mtopt.per_task import is_stack, task_names


class AveragedParameters(NamedTuple):
    """State of :func:`average_parameters`.

    Attributes:
      updates: how many there were, int32.
      updates_of_tasks: in how many of them each task took part, int32 ``[K]``.
      averaged_params: the average, a tree like the parameters, in float32 at least; the
        parameters themselves before the first update.
    """

    updates: Int[Array, ""]
    updates_of_tasks: Int[Array, " K"]
    averaged_params: Any


def average_parameters(decay: Number) -> optax.GradientTransformationExtraArgs:
    r"""Keeps an exponential average of the parameters, and leaves updates as they are.

    .. math::
       \bar\theta_t = \bar\theta_{t-1}
           + \frac{1 - \beta}{1 - \beta^t} (\theta_t - \bar\theta_{t-1})

    which is the average of ``optax.ema`` with its debiasing, at every step. Parameters
    go to and fro under the noise of batches, and so do the weights of most methods;
    their average lies in between, and often scores better.

    A task's own parameters have a t of their own: in a batch without the task, their
    average stands still. Training goes on from :math:`\theta_t`; what reads
    ``state.evaluated_params`` gets the average, as validation and the chosen model of
    :func:`mtopt.training.fit.fit` do.

    Args:
      decay: beta, in [0, 1), per step; 0 is the last parameters, 0.999 an average over
        some 1000 steps. A run should be several times as long.

    Returns:
      A transformation that stands in the chain behind the aggregator. Its state is in
      the optimizer's, and in checkpoints.

    Raises:
      UserError: for a decay out of range, or (on update) without the parameters.

    Example:
      >>> import mtopt
      >>> tx = mtopt.chain(
      ...     mtopt.equal_weighting(2), optax.sgd(1.0), average_parameters(0.5))
      >>> params = jnp.zeros(2)
      >>> state = tx.init(params)
      >>> for _ in range(2):  # at (-1, 0) and at (-2, 0)
      ...     updates, state = tx.update(jnp.array([[1., 0.], [1., 0.]]), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> average = optax.tree.get(state, "averaged_params")
      >>> [round(float(x), 3) for x in average]
      [-1.667, 0.0]

    References:
      Polyak and Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992,
      SIAM Journal on Control and Optimization; with a decay, Izmailov et al., Averaging
      Weights Leads to Wider Optima and Better Generalization, 2018, arXiv 1803.05407,
      compares averages of networks.

    Differences from the paper:
      Running statistics, as of BatchNorm, are not averaged: they follow the parameters
      of the last batches, and an average that lags far behind has other ones.
    """
    expect_number("decay", decay, at_least=0, below=1)

    def init(params: Any) -> AveragedParameters:
        tasks = len(task_names(params))
        average = jax.tree.map(_wide, params)
        count = jnp.zeros((), jnp.int32)
        return AveragedParameters(count, jnp.zeros(tasks, jnp.int32), average)

    def share(updates: Int[Array, "..."]) -> Float[Array, "..."]:
        """What the newest parameters count for among so many."""
        past = -jnp.expm1(jnp.maximum(updates, 1) * jnp.log(jnp.asarray(decay, float)))
        return (1 - decay) / past

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        evaluation: Evaluation | None = None,
        **others: Any,
    ) -> tuple[Any, AveragedParameters]:
        del others
        if params is None:
            raise UserError(
                "average_parameters got no parameters: expected update(updates, state, "
                "params)"
            )
        leaves_chain = updates
        if evaluation is not None and evaluation.after is not None:
            leaves_chain = evaluation.after(updates)
        new = optax.apply_updates(params, leaves_chain)
        present = None if evaluation is None else evaluation.present
        if present is None:
            present = jnp.ones(state.updates_of_tasks.shape, bool)
        count, counts = state.updates + 1, state.updates_of_tasks + present
        names = task_names(params)

        def move(old: Any, fresh: Any) -> Any:
            if not is_stack(old):
                return _towards(old, fresh, share(count))
            own = share(counts[np.array([names.index(name) for name in old.names])])
            return jax.tree.map(lambda a, b: _towards(a, b, own), old, fresh)

        old = state.averaged_params
        moved = jax.tree.map(move, old, new, is_leaf=is_stack)
        moved = select_present(present, names, moved, old)
        return updates, AveragedParameters(count, counts, moved)

    return optax.GradientTransformationExtraArgs(init, update)


def _wide(leaf: Any) -> Array:
    """A copy in float32 at least, where it is a float: a long average needs it."""
    leaf = jnp.array(leaf)
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return leaf
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))


def _towards(old: Array, new: Array, share: Float[Array, "..."]) -> Array:
    """The old one moved by a share of the way, each task's by its own."""
    if not jnp.issubdtype(old.dtype, jnp.inexact):
        return new
    weight = share.reshape(share.shape + (1,) * (old.ndim - share.ndim))
    return old + weight.astype(old.dtype) * (new.astype(old.dtype) - old)
