"""What the outputs of a head say: probabilities, and the label that is predicted."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from mtopt.kind import own_kind
from mtopt.metrics.ordinal import median_level
from mtopt.models.ordinal import log_probabilities


def _two(outputs: Float[Array, " n"]) -> Float[Array, "n 2"]:
    """The probabilities of 0 and of 1."""
    return jnp.stack([jax.nn.sigmoid(-outputs), jax.nn.sigmoid(outputs)], axis=-1)


def _levels(kind: str) -> Callable[[Float[Array, "n T"]], Float[Array, "n C"]]:
    return lambda outputs: jnp.exp(log_probabilities(outputs, kind=kind))


PROBABILITIES: Mapping[str, Callable[[Array], Float[Array, "n C"]]] = {
    "classification": jax.nn.softmax,
    "binary": _two,
    "multilabel": jax.nn.sigmoid,
    "ordinal": _levels("ordinal"),
    "ordinal_adjacent": _levels("ordinal_adjacent"),
    "soft": jax.nn.softmax,
    "preference": _two,
    "segmentation": jax.nn.softmax,
}
"""Kind of label to ``outputs -> probabilities``: of C classes or levels, of 0 and 1, of
each label column, of the second and the first of a pair, of each pixel's classes.
Numbers have none."""


def _above_zero(outputs: np.ndarray) -> np.ndarray:
    return (outputs > 0).astype(np.int32)


def _likeliest(outputs: np.ndarray) -> np.ndarray:
    return outputs.argmax(axis=-1).astype(np.int32)


def _median(*, adjacent: bool) -> Callable[[np.ndarray], np.ndarray]:
    return lambda outputs: median_level(outputs, adjacent=adjacent).astype(np.int32)


LABELS: Mapping[str, Callable[[np.ndarray], Num[np.ndarray, "n ..."]]] = {
    "classification": _likeliest,
    "binary": _above_zero,
    "multilabel": _above_zero,
    "regression": lambda outputs: outputs,
    "ordinal": _median(adjacent=False),
    "ordinal_adjacent": _median(adjacent=True),
    "soft": _likeliest,
    "preference": _above_zero,
    "segmentation": _likeliest,
    "depth": lambda outputs: outputs,
    "normals": lambda outputs: outputs,
}
"""Kind of label to ``outputs -> the label predicted``, that which the metrics count:
the likeliest class, 1 where its logit is above 0, the median level, the number; of a
pixel its class, its depth, its unit vector."""


def probabilities_of(kind: str) -> Callable[[Array], Float[Array, "n C"]] | None:
    """What makes probabilities of outputs; None where labels are no classes.

    Args:
      kind: of the labels, :class:`mtopt.Kind` of one's own among them.
    """
    own = own_kind(kind)
    return PROBABILITIES.get(kind) if own is None else own.probabilities


def label_of(kind: str) -> Callable[[np.ndarray], Num[np.ndarray, "n ..."]]:
    """What makes predicted labels of outputs.

    Args:
      kind: as for :func:`probabilities_of`.
    """
    own = own_kind(kind)
    return LABELS[kind] if own is None else own.label
