"""Task heads, and the loss and prediction for each kind of label."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from mtopt.errors import UserError, nearest
from mtopt.models.layers import dense


def cross_entropy(
    outputs: Float[Array, "b C"], targets: Int[Array, " b"]
) -> Float[Array, " b"]:
    """Softmax cross-entropy of C logits with an integer class, in nats."""
    return optax.softmax_cross_entropy_with_integer_labels(outputs, targets)


def binary_cross_entropy(
    outputs: Float[Array, " b"], targets: Num[Array, " b"]
) -> Float[Array, " b"]:
    """Sigmoid cross-entropy of one logit with a label 0 or 1, in nats."""
    return optax.sigmoid_binary_cross_entropy(outputs, targets.astype(outputs.dtype))


def multilabel_cross_entropy(
    outputs: Float[Array, "b L"], targets: Num[Array, "b L"]
) -> Float[Array, " b"]:
    """The mean over L label columns of :func:`binary_cross_entropy`."""
    columns = optax.sigmoid_binary_cross_entropy(outputs, targets.astype(outputs.dtype))
    return columns.mean(axis=1)


def squared_error(
    outputs: Float[Array, " b"], targets: Num[Array, " b"]
) -> Float[Array, " b"]:
    """The squared difference, without the factor 1/2."""
    return (outputs - targets) ** 2


LOSSES: dict[str, Callable[..., Float[Array, " b"]]] = {
    "classification": cross_entropy,
    "binary": binary_cross_entropy,
    "multilabel": multilabel_cross_entropy,
    "regression": squared_error,
}
"""Kind of label to ``(outputs, targets) -> per-sample losses [b]``."""


def predictions(outputs: Float[Array, "b C"], kind: str) -> Float[Array, "b ..."]:
    """A head's output as the losses and metrics of its kind read it, in float32.

    Args:
      outputs: what the head computed, in any float dtype.
      kind: an entry of :data:`LOSSES`.

    Returns:
      ``[b, C]`` logits for classification and multilabel, ``[b]`` (one logit, one
      number) for binary and regression.

    Raises:
      UserError: where the number of outputs does not fit the kind.

    Example:
      >>> predictions(jnp.ones((2, 1), jnp.bfloat16), "binary")
      Array([1., 1.], dtype=float32)
    """
    count = outputs.shape[-1]
    outputs = outputs.astype(jnp.float32)
    if kind in ("binary", "regression"):
        if count != 1:
            raise UserError(
                f"the head of a {kind} task has {count} outputs: expected 1; several "
                "columns make a multilabel task, or several tasks"
            )
        return outputs[:, 0]
    if kind == "classification" and count < 2:
        raise UserError(
            "the head of a classification task has 1 output: expected one per class; "
            "two classes with a single logit are kind='binary'"
        )
    return outputs


def per_sample_loss(
    outputs: Float[Array, "b ..."], targets: Num[Array, "b ..."], kind: str
) -> Float[Array, " b"]:
    """The loss of every sample, after checking that outputs and labels fit.

    Args:
      outputs: what :func:`predictions` returns.
      targets: integer classes ``[b]`` for classification, else labels or numbers of
        the shape of ``outputs``.
      kind: an entry of :data:`LOSSES`.

    Raises:
      UserError: for labels of another shape, or classes that are not integers.
    """
    classes = kind == "classification"
    expected = outputs.shape[:1] if classes else outputs.shape
    if targets.shape != expected or (
        classes and not jnp.issubdtype(targets.dtype, jnp.integer)
    ):
        raise UserError(
            f"labels of a {kind} task are {targets.dtype}{list(targets.shape)}: "
            f"expected {'integer' if classes else 'float'}{list(expected)} for "
            f"outputs {list(outputs.shape)}"
        )
    return LOSSES[kind](outputs, targets)


def check_kind(kind: str) -> None:
    """Raises unless ``kind`` is an entry of :data:`LOSSES`.

    Raises:
      UserError: with the nearest known kind.
    """
    if kind not in LOSSES:
        raise UserError(f"no kind of task {kind!r}: {nearest(kind, list(LOSSES))}")


def linear_head(
    features: int, outputs: int, *, dtype: DTypeLike = jnp.float32
) -> Callable[[nnx.Rngs], nnx.Module]:
    """One linear layer from the representation to the outputs.

    Args:
      features: the size of the representation.
      outputs: classes, label columns, or 1.
      dtype: what it computes in.
    """
    return lambda rngs: dense(features, outputs, dtype=dtype, rngs=rngs)


def mlp_head(
    features: int, hidden: int, outputs: int, *, dtype: DTypeLike = jnp.float32
) -> Callable[[nnx.Rngs], nnx.Module]:
    """A hidden layer with relu, then a linear one; see :func:`linear_head`.

    Args:
      features: the size of the representation.
      hidden: the width of the hidden layer.
      outputs: classes, label columns, or 1.
      dtype: what it computes in.
    """
    return lambda rngs: nnx.Sequential(
        dense(features, hidden, dtype=dtype, rngs=rngs),
        jax.nn.relu,
        dense(hidden, outputs, dtype=dtype, rngs=rngs),
    )
