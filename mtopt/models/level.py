"""A level of experts of tasks, or of groups of them, beside experts that all use."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtopt.models.experts import mixed
from mtopt.models.gates import softmax_gate
from mtopt.models.pure import Factory
from mtopt.models.stack import Stack


class Level(nnx.Module):
    """Experts that all tasks' losses reach, and the gates between them.

    Args:
      expert: makes one of them.
      features: the numbers that each reads, and its gates.
      counts: the owners, tasks or groups; the experts of each owner; the shared ones.
      dtype: what the gates compute in.
      rngs: of the parameters.
    """

    def __init__(
        self,
        expert: Factory,
        features: int,
        counts: tuple[int, int, int],
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        owners, own, shared = counts

        def between(count: int) -> Factory:
            return softmax_gate(features, count, dtype=dtype)

        self.own = Stack(lambda rngs: Stack(expert, own, rngs), owners, rngs)
        self.shared = Stack(expert, shared, rngs)
        self.gates = Stack(between(own + shared), owners, rngs)
        self.shared_gate = between(owners * own + shared)(rngs)

    def of_one(
        self,
        index: Array,
        read: Float[Array, "b features"],
        own: Float[Array, "b K n width"],
        shared: Float[Array, "b m width"],
    ) -> Float[Array, "b width"]:
        """What an owner's gate mixes of its own experts and of the shared ones."""
        every = jnp.concatenate([own[:, index], shared], axis=1)
        return mixed(self.gates.at(index, read), every)

    def of_all(
        self,
        read: Float[Array, "b features"],
        own: Float[Array, "b K n width"],
        shared: Float[Array, "b m width"],
    ) -> Float[Array, "b width"]:
        """What the shared gate mixes of all experts."""
        every = [own.reshape(own.shape[0], -1, own.shape[-1]), shared]
        return mixed(self.shared_gate(read), jnp.concatenate(every, axis=1))
