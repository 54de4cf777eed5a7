r"""R-MTGB's gate between what the majority and what the outliers share.

With theta a parameter of every task, :math:`p_k = (1 - \sigma(\theta_k)) F_{non}
+ \sigma(\theta_k) F_{out}`: :func:`branches` makes the two F of any encoder,
:func:`gated` puts the gate in front of any head.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num

from mtopt.models.functional import Factory

SPREAD = 0.1  # of theta at first, as in R-MTGB


class Branches(nnx.Module):
    """Two modules on the same input, their outputs stacked; see :func:`branches`."""

    def __init__(self, make: Factory, rngs: nnx.Rngs) -> None:
        self.majority = make(rngs)
        self.outliers = make(rngs)

    def __call__(self, x: Num[Array, "b ..."]) -> Float[Array, "b 2 ..."]:
        """Both outputs, on a new axis 1."""
        return jnp.stack([self.majority(x), self.outliers(x)], axis=1)


class Gated(nnx.Module):
    """A gate, then a head; see :func:`gated`."""

    def __init__(self, make: Factory, rngs: nnx.Rngs) -> None:
        theta = SPREAD * jax.random.normal(rngs.params(), ())
        self.outlier_logit = nnx.Param(theta)
        self.head = make(rngs)

    def __call__(self, pair: Float[Array, "b 2 ..."]) -> Array:
        """The head on the mean of the pair that the gate weighs."""
        share = jax.nn.sigmoid(self.outlier_logit[...]).astype(pair.dtype)
        return self.head((1 - share) * pair[:, 0] + share * pair[:, 1])


def branches(encoder: Factory) -> Factory:
    """Two copies of an encoder: for the majority of the tasks, and for outliers.

    Args:
      encoder: makes the shared part, ``x -> representation [B, ...]``.

    Returns:
      What makes a module ``x -> [B, 2, ...]``. The copies start apart from each other,
      and cost twice the encoder.
    """
    return lambda rngs: Branches(encoder, rngs)


def gated(head: Factory) -> Factory:
    r"""A head that first mixes two branches by how much of an outlier its task is.

    .. math:: z_k = (1 - \sigma(\theta_k)) z_{non} + \sigma(\theta_k) z_{out}

    Args:
      head: makes the part of one task, ``representation -> outputs``.

    Returns:
      What makes a module on the output of :func:`branches`. Theta is one of the task's
      own parameters: it starts at 0.1 N(0, 1), moves by the task's own gradient in
      every method, and is read as
      ``optax.tree.get(params, "outlier_logit")``, ``[K]``. Which of the two branches
      the outliers end in is open, as in R-MTGB: it is the smaller group.

    Example:
      >>> import optax
      >>> from mtopt.models import functional
      >>> model = functional(
      ...     branches(lambda rngs: nnx.Linear(3, 4, rngs=rngs)),
      ...     gated(lambda rngs: nnx.Linear(4, 2, rngs=rngs)),
      ...     ("a", "b", "c"), kind="classification")
      >>> params, model_state = model.init(jax.random.key(0))
      >>> optax.tree.get(params, "outlier_logit").shape
      (3,)
      >>> model.predict(params, model_state, jnp.ones((5, 3))).shape
      (3, 5, 2)

    References:
      Emami et al., Robust-Multi-Task Gradient Boosting, 2025, arXiv 2507.11411.

    Differences from the paper:
      It mixes two ensembles of trees, each fitted to residuals scaled by its own share;
      here both branches and theta descend the tasks' losses, so that the chain rule
      scales them likewise. Whatever stands before the branches is its first block,
      and the head its third.
    """
    return lambda rngs: Gated(head, rngs)
