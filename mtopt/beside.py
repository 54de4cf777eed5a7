"""What an encoder hands to the heads that is no part of the representation."""

import dataclasses
from typing import Any

import jax


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Beside:
    """Arrays that ``encode`` hands to the heads beside the representation.

    A gate reads the input, and the input is no representation: nothing is
    differentiated with respect to it, it has no saliency, and inner products of
    representation gradients leave it out. Heads get the arrays without this around
    them, and no gradient goes back through them.

    Args:
      value: any tree of arrays.

    Example:
      >>> import jax.numpy as jnp, mtopt
      >>> def encode(shared, x, key):
      ...     return {"features": jnp.tanh(x @ shared), "x": mtopt.Beside(x)}
      >>> def head_loss(head, z, y, mask, key):
      ...     gate = jax.nn.sigmoid(z["x"] @ head["gate"])
      ...     outputs = gate * (z["features"] @ head["w"])
      ...     return mtopt.masked_mean((outputs - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a",), encode, head_loss)
      >>> heads = {"gate": jnp.zeros((1, 3)), "w": jnp.ones((1, 4))}
      >>> params = {"shared": jnp.ones((3, 4)), "tasks": mtopt.PerTask(heads, ("a",))}
      >>> batch = mtopt.Batch.shared(jnp.eye(3), {"a": jnp.zeros(3)})
      >>> z = tasks.problem(batch, jax.random.key(0)).representation(params)
      >>> z["features"].shape, z["x"]
      ((3, 4), None)
    """

    value: Any
