"""The encoder of a model as one function, for pretext tasks on arrays."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num, PRNGKeyArray

from mtopt.errors import UserError
from mtopt.models.functional import Model
from mtopt.models.joint import JointModel


class ArrayEncoder(NamedTuple):
    """The shared part of a model as a function of arrays; made by :func:`encoder_of`.

    Attributes:
      apply: ``(shared, x, key) -> h [b, width]``, in training mode; ``shared`` is
        ``params["shared"]``, ``x`` is ``[b, *shape]``.
      shape: of one input.
      width: the size of a sample's representation, flattened.
    """

    apply: Callable[[Any, Num[Array, "b ..."], PRNGKeyArray], Float[Array, "b width"]]
    shape: tuple[int, ...]
    width: int


def encoder_of(model: Model | JointModel, input_shape: tuple[int, ...]) -> ArrayEncoder:
    """What a pretext task trains: the encoder that a model's own tasks share.

    BatchNorm normalises a view by the moments of all its samples, and neither reads nor
    moves the running statistics, which are those of the model's own tasks.

    Args:
      model: of :func:`mtopt.models.functional`, :data:`mtopt.models.MODELS` or
        :func:`mtopt.models.join`.
      input_shape: the shape of one input, without the batch axis.

    Raises:
      UserError: for statistics that are pooled over tasks, or a representation that is
        no array with the axis of samples first.

    Example:
      >>> from mtopt.models import MODELS
      >>> model = MODELS["mlp"](
      ...     (8, 8), names=("digit",), kind="classification", outputs=10, hidden=(32,))
      >>> encoder = encoder_of(model, (8, 8))
      >>> encoder.shape, encoder.width
      ((8, 8), 32)
      >>> params, _ = model.init(jax.random.key(0))
      >>> x = jnp.ones((5, 8, 8))
      >>> encoder.apply(params["shared"], x, jax.random.key(1)).shape
      (5, 32)
    """
    params, state = jax.eval_shape(model.init, jax.eval_shape(jax.random.key, 0))
    if isinstance(model, JointModel):
        tasks, state = model.tasks.groups[0], state[0]
    else:
        tasks = model.tasks
    if tasks.coupled:
        raise UserError(
            "the statistics of the encoder are pooled over tasks with inputs of their "
            "own: expected statistics='own'"
        )
    encode = tasks.run_encoder
    # With inputs of their own, every task has statistics: leaves [K, ...].
    lead = 0 if tasks.x_axis is None else 1

    def apply(
        shared: Any, x: Num[Array, "b ..."], key: PRNGKeyArray
    ) -> Float[Array, "b width"]:
        if not tasks.stateful:
            return _flat(encode(shared, x, key))
        unread = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape[lead:], leaf.dtype), state
        )
        everyone = jnp.ones(len(x), bool)
        return _flat(encode(shared, x, key, unread, everyone)[0])

    x = jax.ShapeDtypeStruct((2, *input_shape), jnp.float32)
    key = jax.eval_shape(jax.random.key, 0)
    h = jax.eval_shape(apply, params["shared"], x, key)
    return ArrayEncoder(apply, tuple(input_shape), h.shape[1])


def _flat(representation: Any) -> Float[Array, "b width"]:
    if not isinstance(representation, jax.Array):
        raise UserError(
            f"the representation is a {type(representation).__name__}: expected one "
            "array, with the axis of samples first"
        )
    rows = len(representation)
    return representation.reshape(rows, math.prod(representation.shape[1:]))
