"""Smooth Tchebycheff after a warm-up: a soft maximum of relative log losses."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_number
from mtopt.evaluation import Evaluation
from mtopt.memory import epoch_mean
from mtopt.options import Integer, Number
from mtopt.registry import method

EPSILON = 1e-20


@method(
    family="losses",
    example=lambda num_tasks: {"steps_per_epoch": 1, "warmup_epochs": 1},
)
def smooth_tchebycheff_warmup(
    num_tasks: int,
    *,
    steps_per_epoch: Integer,
    warmup_epochs: Integer = 4,
    mu: Number = 1.0,
    heads: str = "weighted",
) -> Aggregator:
    r"""Descends log losses first, then a soft maximum of them (STCH as released).

    .. math::
       L_{\text{warm-up}} = \sum_k \log L_k,
       \qquad L = |P| \, \mu \log \sum_{k \in P} \exp \frac{\log (L_k / n_k)}{\mu}

    over the tasks P present in the batch, with :math:`n_k` the mean loss of the last
    warm-up epoch, which the authors call the nadir. With :math:`\mu = 1` the second
    is :math:`|P| \log \sum_k L_k / n_k`.

    Args:
      num_tasks: K, at least 1.
      steps_per_epoch: steps in an epoch, at least 1.
      warmup_epochs: how many epochs come before the one that is averaged, which is
        still trained on log losses; at least 0.
      mu: the smoothness, above 0.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It reads the losses, which must not be negative: a negative loss
      is weighed like one of 0. A task that is absent from the averaged epoch takes
      its first loss after it as its mean.
      Losses below zero: see :func:`mtopt.offset_losses`.

    Raises:
      UserError: for a number out of its range.

    Example:
      >>> import mtopt
      >>> import jax.numpy as jnp
      >>> tx = smooth_tchebycheff_warmup(2, steps_per_epoch=1, warmup_epochs=0)
      >>> rows, state = jnp.ones((2, 3)), tx.init(jnp.zeros(3))
      >>> update = jax.jit(tx.update)
      >>> for losses in ([1., 2.], [1., 6.]):
      ...     known = mtopt.Evaluation(losses=jnp.array(losses))
      ...     _, state = update(rows, state, evaluation=known)
      ...     print([round(float(w), 3) for w in state.weights])
      [1.0, 0.5]
      [0.5, 0.25]

    Nothing to balance:
      one task: its gradient; equal losses: equal weights; a zero gradient: left
      out; all zero: d = 0.

    References:
      Lin et al., Smooth Tchebycheff Scalarization for Multi-Objective Optimization,
      2024, arXiv 2402.19078. This is its multi-task code, also in LibMTL; the scalar
      function of the paper is
      :func:`mtopt.methods.smooth_tchebycheff.smooth_tchebycheff`.

    Differences from released code:
      It counts steps, where theirs is told the epoch, and reports the weights of the
      losses, where theirs reports ones.
    """
    expect_number("steps_per_epoch", steps_per_epoch, at_least=1)
    expect_number("warmup_epochs", warmup_epochs, at_least=0)
    expect_number("mu", mu, above=0)

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        losses, present = evaluation.losses, evaluation.present
        losses = jnp.maximum(losses, EPSILON)
        memory, after = epoch_mean.observe(
            memory,
            losses,
            present,
            epoch=warmup_epochs,
            steps_per_epoch=steps_per_epoch,
        )
        nadir = jnp.where(after, jnp.maximum(memory.mean, EPSILON), 1)
        warm = 1 / losses
        smooth = jax.grad(relative_loss)(losses, nadir, mu, present)
        return jnp.where(after, smooth, warm), memory

    memory = functools.partial(epoch_mean.start, num_tasks)
    return weighting(num_tasks, weigh, heads=heads, memory=memory, least_losses=0.0)


def relative_loss(
    losses: Float[Array, " K"],
    nadir: Float[Array, " K"],
    mu: Number,
    present: Bool[Array, " K"],
) -> Float[Array, ""]:
    """The soft maximum of the logarithms of the losses in units of the nadir.

    Args:
      losses: ``[K]``, above 0.
      nadir: n, ``[K]``, above 0.
      mu: the smoothness, above 0.
      present: the tasks that count, ``[K]``.
    """
    logs = jnp.log(losses) - jnp.log(nadir)
    return present.sum() * mu * jax.nn.logsumexp(logs / mu, where=present)
