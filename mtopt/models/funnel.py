"""Funnels: events of which each can happen behind the one before it alone."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import UserError
from mtopt.models.functional import Model, functional
from mtopt.models.layers import dense
from mtopt.models.mlp import mlp_encoder
from mtopt.per_task import in_words
from mtopt.task import Task


class Funnel(nnx.Module):
    """The conditional probabilities of all events, multiplied; see :func:`funnel`."""

    def __init__(
        self,
        network: nnx.Module,
        width: int,
        places: tuple[int, ...],
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.network = network
        self.steps = dense(width, len(places), dtype=dtype, rngs=rngs)
        self.places = places

    def __call__(self, x: Num[Array, "b ..."], task: Task) -> Float[Array, "b 1"]:
        """The log-odds that the task's event happens."""
        logits = self.steps(self.network(x))
        logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        reached = jnp.cumsum(jax.nn.log_sigmoid(logits), axis=1)
        before = jnp.pad(reached[:, :-1], ((0, 0), (1, 0)))
        # In place of log(1 - P), whose argument rounds to 0 for a likely event.
        ended = jax.lax.cumlogsumexp(before + jax.nn.log_sigmoid(-logits), axis=1)
        place = jnp.asarray(np.array(self.places, np.int32))[task.index]
        return (reached - ended)[:, place][:, None]


class Nothing(nnx.Module):
    """A head without parameters."""

    def __call__(self, z: Array) -> Array:
        """The representation, which is the log-odds already."""
        return z


def funnel(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    order: tuple[str, ...] | None = None,
    hidden: tuple[int, ...] = (128, 128),
    dropout: float = 0.0,
) -> Model:
    r"""Events in a row, each of which the one before it makes possible.

    With :math:`p_j` the probability of event j where event j - 1 happened,

    .. math:: P(y_k = 1) = \prod_{j \le k} p_j

    as from an impression to a click to a sale. All are trained on all impressions, not
    on those alone where the event before happened; an event is never predicted more
    likely than the one before it. The loss of an event reaches the layers of all that
    come before, so that these are shared parameters: tasks have none of their own.

    Args:
      input_shape: the shape of one input, without the batch axis; it is flattened.
        uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: ``"binary"``.
      outputs: 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; probabilities, parameters, losses and gradients
        are float32.
      order: the names, the event first that comes first. None: as sorted.
      hidden: the widths of the hidden layers, at least one.
      dropout: the share of hidden units set to zero in training, in [0, 1).

    Returns:
      The model; it predicts the log-odds of :math:`P(y_k = 1)`.

    Raises:
      UserError: for labels of another kind, an order of other names, or an option out
        of range.

    Example:
      >>> model = funnel((8,), names=("buy", "click"), kind="binary", outputs=1,
      ...                order=("click", "buy"))
      >>> params, model_state = model.init(jax.random.key(0))
      >>> buy, click = model.predict(params, model_state, jnp.ones((5, 8)))
      >>> bool((buy <= click).all())
      True

    References:
      Ma et al., Entire Space Multi-Task Model: An Effective Approach for Estimating
      Post-Click Conversion Rate, SIGIR 2018, arXiv 1804.07931.

    Differences from the paper:
      One network makes all conditional probabilities, where the paper has one for each
      on common embeddings, and two events.
    """
    order = names if order is None else order
    if kind != "binary" or outputs != 1:
        raise UserError(
            f"a funnel of {kind} labels with {outputs} outputs: expected binary ones, "
            "an event that happened or did not"
        )
    if sorted(order) != list(names):
        raise UserError(
            f"order is {order}: expected the tasks {in_words(names)}, each once, the "
            "event first that comes first"
        )
    make, width, _ = mlp_encoder(
        input_shape, dtype=dtype, hidden=hidden, dropout=dropout
    )
    places = tuple(order.index(name) for name in names)

    def encoder(rngs: nnx.Rngs) -> Funnel:
        return Funnel(make(rngs), width, places, dtype=dtype, rngs=rngs)

    return functional(
        encoder, lambda rngs: Nothing(), names, kind=kind, x_axis=x_axis, per_task=True
    )
