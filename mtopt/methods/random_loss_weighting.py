"""Random loss weighting: draw new weights in every step."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.errors import expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.memory.count import no_updates
from mtopt.registry import method

DISTRIBUTIONS = (
    "normal",
    "uniform",
    "dirichlet",
    "bernoulli",
    "constrained_bernoulli",
)
TRIES = 64


@method(family="losses", traits=("mean-like", "random"))
def random_loss_weighting(
    num_tasks: int, *, distribution: str = "normal", heads: str = "weighted"
) -> Aggregator:
    r"""Weighs the losses at random, anew in every step (RLW).

    .. math::
       w = \mathrm{softmax}(z), \qquad z_k \sim N(0, 1)

    over the tasks present in the batch. The expected direction is that of equal
    weighting. The paper finds that the noise helps to leave local minima, and sets it
    as the bar that a weighting by rule must pass.

    Args:
      num_tasks: K, at least 1.
      distribution: of the weights, which sum to 1 in all of them. ``"normal"`` and
        ``"uniform"`` on [0, 1]: the softmax of independent draws; ``"dirichlet"``:
        uniform on the simplex; ``"bernoulli"``: equal weights on a random non-empty
        subset of the tasks; ``"constrained_bernoulli"``: a single task.
      heads: ``"weighted"`` differentiates the scalarised loss (the authors' code);
        ``"plain"`` leaves a head its own gradient.

    Returns:
      An aggregator. It draws from ``key``, or without one from a key of its own.

    Raises:
      UserError: for an unknown distribution or head rule.

    Example:
      >>> import mtopt
      >>> import jax, jax.numpy as jnp
      >>> tx = random_loss_weighting(2, distribution="constrained_bernoulli")
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> known = mtopt.Evaluation(key=jax.random.key(0))
      >>> _, state = tx.update(jacobian, tx.init(jnp.zeros(3)), evaluation=known)
      >>> sorted(state.weights.tolist())
      [0.0, 1.0]

    Nothing to balance:
      one task: its gradient; equal losses: as any others; a zero gradient:
      another length of d; all zero: d = 0.

    References:
      Lin et al., Reasonable Effectiveness of Random Weighting: A Litmus Test for
      Multi-Task Learning, 2022, arXiv 2111.10603.

    Differences from released code:
      nash-mtl multiplies the weights by K: ``optax.scale(K)`` after it does the same.
    """
    expect_one_of("distribution", distribution, DISTRIBUTIONS)

    def weigh(count: Any, evaluation: Evaluation) -> Weighed:
        present = evaluation.present
        return draw(evaluation.random_key(count), present, distribution), count + 1

    return weighting(num_tasks, weigh, heads=heads, reduction="mean", memory=no_updates)


def draw(
    key: Array, present: Bool[Array, " K"], distribution: str
) -> Float[Array, " K"]:
    """Random weights on the present tasks that sum to 1.

    Args:
      key: a typed key.
      present: which tasks take part, ``[K]``.
      distribution: see :func:`random_loss_weighting`.
    """
    size = present.shape
    if distribution == "bernoulli":
        subsets = jax.random.bernoulli(key, 0.5, (TRIES, *size)) & present[None]
        chosen = subsets[jnp.argmax(subsets.any(1))].astype(jnp.float32)
        return chosen / jnp.maximum(chosen.sum(), 1)
    if distribution == "constrained_bernoulli":
        ranks = jnp.where(present, jax.random.uniform(key, size, jnp.float32), -1)
        return jax.nn.one_hot(jnp.argmax(ranks), *size, dtype=jnp.float32)
    if distribution == "normal":
        logits = jax.random.normal(key, size, jnp.float32)
    elif distribution == "uniform":
        logits = jax.random.uniform(key, size, jnp.float32)
    else:
        logits = jnp.log(jax.random.exponential(key, size, jnp.float32))
    return jax.nn.softmax(logits, where=present)
