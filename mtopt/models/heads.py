"""Task heads, and the loss and prediction for each kind of label."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Num

from mtopt.batch import narrowed
from mtopt.errors import UserError, expect, nearest
from mtopt.kind import own_kind
from mtopt.models.layers import dense
from mtopt.models.ordinal import ORDINAL, Thresholds, adjacent_loss, cumulative_loss
from mtopt.models.pixels import PIXEL_LOSSES, pixel_predictions
from mtopt.pixels import NORMALS, PIXELS, SEGMENTATION, has_label


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


def soft_cross_entropy(
    outputs: Float[Array, "b C"], targets: Float[Array, "b C"]
) -> Float[Array, " b"]:
    """Softmax cross-entropy of C logits with a distribution over C classes, in nats.

    Its least value is the entropy of the distribution; of one-hot rows it is
    :func:`cross_entropy`. Rows of ``targets`` sum to 1: a teacher's softmax, at any
    temperature, shares of annotators, pseudo-labels.
    """
    return optax.softmax_cross_entropy(outputs, targets.astype(outputs.dtype))


def preference_loss(
    outputs: Float[Array, " b"], targets: Num[Array, " b"]
) -> Float[Array, " b"]:
    r"""Cross-entropy of who wins a pair, from its difference of scores, in nats.

    .. math:: -t \log \sigma(s_1 - s_2) - (1 - t) \log \sigma(s_2 - s_1)

    with t = 1 where the first wins, 0 where the second does, 1/2 for a tie. A tie's
    least loss is ln 2. Scores in [-1, 1], as behind a tanh, cannot get below
    :math:`\ln(1 + e^{-2}) = 0.127` where one wins.

    References:
      Bradley and Terry, Rank analysis of incomplete block designs, Biometrika 39,
      1952. As an auxiliary task of a classifier: Kim, Shin and Chun, Prefer to
      Classify: Improving Text Classifiers via Auxiliary Preference Learning, 2023,
      arXiv 2306.04925, whose scores end in a tanh.
    """
    return binary_cross_entropy(outputs, targets)


LOSSES: dict[str, Callable[..., Float[Array, "b ..."]]] = {
    "classification": cross_entropy,
    "binary": binary_cross_entropy,
    "multilabel": multilabel_cross_entropy,
    "regression": squared_error,
    "ordinal": cumulative_loss,
    "ordinal_adjacent": adjacent_loss,
    "soft": soft_cross_entropy,
    "preference": preference_loss,
    **PIXEL_LOSSES,
}
"""Kind of label to ``(outputs, targets) -> losses [b]``, or ``[b, h, w]`` of pixels."""

ONE_OUTPUT = ("binary", "regression", "preference")
INTEGERS = ("classification", SEGMENTATION, *ORDINAL)
PAIRED = ("preference",)
"""Kinds whose samples are pairs of inputs; see :func:`mtopt.models.pairs.pairs`."""


def predictions(outputs: Float[Array, "b ... C"], kind: str) -> Float[Array, "b ..."]:
    """A head's output as losses and metrics of its kind read it: float32 or wider.

    Args:
      outputs: what the head computed, in any float dtype.
      kind: an entry of :data:`LOSSES`.

    Returns:
      ``[b, C]`` logits for classification, multilabel and soft labels, ``[b, C - 1]``
      for ordinal ones (see :mod:`mtopt.models.ordinal`), ``[b]`` (one logit, one
      number) for binary, regression and preference; of pixels logits
      ``[b, h, w, C]``, depths ``[b, h, w]`` and unit vectors ``[b, h, w, 3]``.

    Raises:
      UserError: where the number of outputs does not fit the kind.

    Example:
      >>> predictions(jnp.ones((2, 1), jnp.bfloat16), "binary")
      Array([1., 1.], dtype=float32)
    """
    count = outputs.shape[-1]
    outputs = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
    own = own_kind(kind)
    if kind in ONE_OUTPUT or (own is not None and own.columns == 1):
        if count != 1:
            raise UserError(
                f"the head of a {kind} task has {count} outputs: expected 1; several "
                "columns make a multilabel task, or several tasks"
            )
        return outputs[:, 0]
    if kind in ("classification", "soft") and count < 2:
        raise UserError(
            f"the head of a {kind} task has 1 output: expected one per class; "
            "two classes with a single logit are kind='binary'"
        )
    if kind in PIXELS:
        return pixel_predictions(_of_pixels(outputs, kind), kind)
    return outputs


def _of_pixels(outputs: Float[Array, "b ... C"], kind: str) -> Float[Array, "b h w C"]:
    """The outputs, where they are those of a kind of pixels."""
    count = outputs.shape[-1]
    wanted = {SEGMENTATION: max(count, 2), NORMALS: 3}.get(kind, 1)
    if outputs.ndim != 4 or count != wanted:
        raise UserError(
            f"the head of a {kind} task put out {list(outputs.shape)}: expected "
            f"[b, h, w, {'classes' if kind == SEGMENTATION else wanted}], as models of "
            "pixels do, such as segnet"
        )
    return outputs


def label_losses(
    outputs: Float[Array, "b ..."], targets: Num[Array, "b ..."], kind: str
) -> Float[Array, "b ..."]:
    """The loss of every label, after checking that outputs and labels fit.

    Args:
      outputs: what :func:`predictions` returns.
      targets: integer classes ``[b]`` for classification, ``[b, h, w]`` for
        segmentation, integer levels ``[b]`` for ordinal labels, else labels or numbers
        of the shape of ``outputs``.
      kind: an entry of :data:`LOSSES`.

    Returns:
      One of each sample, ``[b]``; of pixels one of each, ``[b, h, w]``, whatever it is
      where :func:`label_mask` has no label.

    Raises:
      UserError: for labels of another shape, classes that are not integers, or losses
        of a kind of one's own that are not one of each sample.
    """
    own = own_kind(kind)
    if own is not None:
        losses = own.loss(outputs, targets)
        if jnp.shape(losses) != outputs.shape[:1]:
            raise UserError(
                f"the loss of {kind} gave {list(jnp.shape(losses))} for outputs "
                f"{list(outputs.shape)}: expected one of each sample, "
                f"{list(outputs.shape[:1])}"
            )
        return losses
    classes = kind in INTEGERS
    lead = 3 if kind == SEGMENTATION else 1
    expected = outputs.shape[:lead] if classes else outputs.shape
    if targets.shape != expected or (
        classes and not jnp.issubdtype(targets.dtype, jnp.integer)
    ):
        raise UserError(
            f"labels of a {kind} task are {targets.dtype}{list(targets.shape)}: "
            f"expected {'integer' if classes else 'float'}{list(expected)} for "
            f"outputs {list(outputs.shape)}"
        )
    return LOSSES[kind](outputs, targets)


def label_mask(
    targets: Num[Array, "b ..."],
    mask: Bool[Array, " b"] | Float[Array, " b"],
    kind: str,
) -> Bool[Array, "b ..."] | Float[Array, "b ..."]:
    """Which labels are real, or what they weigh: those of pixels each for itself.

    Args:
      targets: as of :func:`label_losses`.
      mask: of the samples.
      kind: an entry of :data:`LOSSES`.
    """
    if kind not in PIXELS:
        return mask
    return narrowed(mask[:, None, None], has_label(targets, kind))


def check_kind(kind: str) -> None:
    """Raises unless ``kind`` is an entry of :data:`LOSSES`.

    Raises:
      UserError: with the nearest known kind.
    """
    if own_kind(kind) is None and kind not in LOSSES:
        raise UserError(f"no kind of task {kind!r}: {nearest(kind, list(LOSSES))}")


def columns(kind: str, outputs: int) -> int:
    """How many columns the last linear layer of a head has.

    Args:
      kind: an entry of :data:`LOSSES`.
      outputs: classes, levels, label columns, or 1.

    Example:
      >>> columns("classification", 5), columns("ordinal", 5)
      (5, 1)
    """
    own = own_kind(kind)
    if own is not None:
        return own.columns or outputs
    return 1 if kind in ORDINAL else outputs


def linear_head(
    features: int, outputs: int, *, kind: str, dtype: DTypeLike = jnp.float32
) -> Callable[[nnx.Rngs], nnx.Module]:
    """One linear layer from the representation to the outputs.

    That of ordinal labels is one score without a bias, and behind it
    :class:`mtopt.models.ordinal.Thresholds`.

    Args:
      features: the size of the representation.
      outputs: classes, levels, label columns, or 1.
      kind: an entry of :data:`LOSSES`.
      dtype: what it computes in.
    """
    if kind not in ORDINAL:
        own = columns(kind, outputs)
        return lambda rngs: dense(features, own, dtype=dtype, rngs=rngs)
    return lambda rngs: nnx.Sequential(
        dense(features, 1, dtype=dtype, rngs=rngs, use_bias=False),
        Thresholds(outputs, kind=kind),
    )


def mlp_head(
    features: int,
    hidden: int,
    outputs: int,
    *,
    kind: str,
    dtype: DTypeLike = jnp.float32,
) -> Callable[[nnx.Rngs], nnx.Module]:
    """A hidden layer with relu, then :func:`linear_head`.

    Args:
      features: the size of the representation.
      hidden: the width of the hidden layer.
      outputs: classes, levels, label columns, or 1.
      kind: an entry of :data:`LOSSES`.
      dtype: what it computes in.
    """
    last = linear_head(hidden, outputs, kind=kind, dtype=dtype)
    return lambda rngs: nnx.Sequential(
        dense(features, hidden, dtype=dtype, rngs=rngs), jax.nn.relu, last(rngs)
    )


def tower_head(
    features: int,
    tower: int,
    outputs: int,
    *,
    kind: str,
    dtype: DTypeLike = jnp.float32,
) -> Callable[[nnx.Rngs], nnx.Module]:
    """:func:`mlp_head`, or :func:`linear_head` where the tower has no width.

    Args:
      features: the size of the representation.
      tower: the width of the hidden layer, or 0 for none.
      outputs: classes, levels, label columns, or 1.
      kind: an entry of :data:`LOSSES`.
      dtype: what it computes in.

    Raises:
      UserError: for a width below 0.
    """
    expect(tower >= 0, "tower", tower, "a width, or 0 for none")
    of_head = {"kind": kind, "dtype": dtype}
    if tower == 0:
        return linear_head(features, outputs, **of_head)
    return mlp_head(features, tower, outputs, **of_head)
