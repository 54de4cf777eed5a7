r"""Experts that tasks share, experts of a task's own, and gates that mix them.

:func:`experts` makes several copies of any module, :func:`gated` puts a task's gate in
front of any head: with :math:`f_e(x)` the experts, those of the task's own among them,
and :math:`w_k(x)` its gate,

.. math:: z_k = \sum_e w_{k,e}(x)\, f_e(x)
"""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num

from mtopt.beside import Beside
from mtopt.errors import UserError, expect
from mtopt.models.layers import as_floats
from mtopt.models.noted import gate
from mtopt.models.pure import Factory
from mtopt.models.stack import Stack


class Experts(Stack):
    """Copies of a module on one input; see :func:`experts`."""

    def __call__(self, x: Num[Array, "b ..."]) -> dict[str, Any]:
        """The outputs ``[b, E, ...]``, and beside them what gates read."""
        outputs = super().__call__(x)
        return {"experts": outputs, "gate": Beside(as_floats(x, outputs.dtype))}


class Gated(nnx.Module):
    """A gate over experts, then a head; see :func:`gated`."""

    def __init__(
        self, make: Factory, gate: Factory, own: Factory | None, *, rngs: nnx.Rngs
    ) -> None:
        self.gate = gate(rngs)
        self.head = make(rngs)
        self.own = None if own is None else own(rngs)

    @gate
    def weights(self, x: Float[Array, "b ..."]) -> Float[Array, "b E"]:
        """What the gate gives each expert, the shared ones first."""
        return self.gate(x)

    def __call__(self, z: dict[str, Any]) -> Array:
        """The head on the mixture."""
        shared = z["experts"]
        own = None if self.own is None else self.own(z["gate"])["experts"]
        weights, count = self.weights(z["gate"]), shared.shape[1]
        total = count + (0 if own is None else own.shape[1])
        if weights.shape[1] != total:
            raise UserError(
                f"a gate of {weights.shape[1]} weights for {count} shared experts and "
                f"{total - count} of the task's own: expected {total} weights"
            )
        mixture = mixed(weights[:, :count], shared)
        if own is not None:
            # A sum of two: side by side, all tasks would have copies of the shared.
            mixture = mixture + mixed(weights[:, count:], own)
        return self.head(mixture)


def mixed(
    weights: Float[Array, "b E"], outputs: Float[Array, "b E ..."]
) -> Float[Array, "b ..."]:
    """The weighted sum of what experts say, in their dtype.

    Example:
      >>> mixed(jnp.array([[0.5, 2]]), jnp.array([[[2.0, 4], [1, 0]]])).tolist()
      [[3.0, 2.0]]
    """
    return jnp.einsum("be,be...->b...", weights.astype(outputs.dtype), outputs)


def experts(make: Factory, count: int) -> Factory:
    """Several copies of a module, which start apart from each other.

    Args:
      make: makes one expert, ``x -> [B, ...]``; any NNX module.
      count: E, at least 1.

    Returns:
      What makes a module ``x -> {"experts": [B, E, ...], "gate": x}``, in which the
      input is :class:`mtopt.Beside` the representation. Parameters have a leading axis
      E; every expert drops units of its own.

    Raises:
      UserError: for another count.
    """
    expect(count >= 1, "count", count, "at least 1")
    return lambda rngs: Experts(make, count, rngs)


def gated(head: Factory, gate: Factory, *, own: Factory | None = None) -> Factory:
    r"""A head that first mixes experts by a gate of its task's own.

    .. math:: z_k = \sum_{e=1}^{E} w_{k,e}(x)\, f_e(x)
              + \sum_{e=1}^{E'} w_{k,E+e}(x)\, f_{k,e}(x)

    Args:
      head: makes the part of one task behind the mixture, ``[B, ...] -> outputs``.
      gate: makes the gate, ``x -> weights [B, E + E']``, such as
        :func:`mtopt.models.gates.softmax_gate`. Shared experts stand first.
      own: makes the E' experts that the task has for itself, by :func:`experts`; they
        read what the gate reads. None: it has none.

    Returns:
      What makes a module on the output of :func:`experts`. Gate, own experts and head
      are the task's own.

    Raises:
      UserError: in use, for a gate of another number of weights.

    Example:
      >>> import jax
      >>> from mtopt.models import functional
      >>> from mtopt.models.gates import softmax_gate
      >>> expert = lambda rngs: nnx.Linear(3, 4, rngs=rngs)
      >>> head = lambda rngs: nnx.Linear(4, 2, rngs=rngs)
      >>> heads = gated(head, softmax_gate(3, 5 + 1), own=experts(expert, 1))
      >>> model = functional(experts(expert, 5), heads, ("a", "b"),
      ...                    kind="classification")
      >>> params, model_state = model.init(jax.random.key(0))
      >>> params["shared"]["stack"]["kernel"].shape
      (5, 3, 4)
      >>> own = params["tasks"].values
      >>> own["own"]["stack"]["kernel"].shape, own["gate"]["kernel"].shape
      ((2, 1, 3, 4), (2, 3, 6))
      >>> model.predict(params, model_state, jnp.ones((6, 3))).shape
      (2, 6, 2)
    """
    return lambda rngs: Gated(head, gate, own, rngs=rngs)
