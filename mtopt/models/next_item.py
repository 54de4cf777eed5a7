"""Which item comes next, by scores against the attributes of each."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtopt.errors import UserError, expect
from mtopt.models.attributes import Attributes, check_vocabulary
from mtopt.models.pure import Factory


class NextItem(nnx.Module):
    """Scores of the items of a catalogue; see :func:`next_item`."""

    def __init__(
        self, attributes: Attributes, vectors: Callable[..., Float[Array, "n d"]]
    ) -> None:
        self.attributes = attributes
        # A function, and not an array: the catalogue is no parameter.
        self.vectors = vectors

    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b n"]:
        """The logits."""
        return z @ self.vectors(self.attributes).T


def next_item(
    catalogue: np.ndarray,
    *,
    vocabulary: tuple[int, ...],
    width: int,
    padding: int | None = 0,
    dtype: DTypeLike = jnp.float32,
) -> Factory:
    r"""A head that says which item comes next, of items known by their attributes.

    .. math:: y_j = z^\top \frac{1}{|A_j|} \sum_{a \in A_j} E_a

    There are as many parameters as attributes have values, not as there are items, and
    an item that was never next in training has the score of what it is made of.

    Args:
      catalogue: the attributes of every item, integers ``[N, A]``; the label of a
        sample is the number of a row.
      vocabulary: the number of values of each of the A columns.
      width: d, the size of the representation.
      padding: what stands for an attribute that an item lacks; None: nothing does.
      dtype: what it computes in.

    Returns:
      What makes a module ``z [b, d] -> logits [b, N]``, a head of ``classification``.

    Raises:
      UserError: for a catalogue of another form, a value outside of a vocabulary, or an
        item without any attribute.

    Example:
      >>> from mtopt.models import functional
      >>> from mtopt.models.transformer import sequence
      >>> sizes = (4, 3)
      >>> catalogue = np.array([[1, 1], [1, 2], [2, 1], [3, 0]])
      >>> model = functional(
      ...     sequence((6, 2), vocabulary=sizes, width=8, causal=True, pooling="last"),
      ...     next_item(catalogue, vocabulary=sizes, width=8),
      ...     ("next",), kind="classification")
      >>> import jax
      >>> params, state = model.init(jax.random.key(0))
      >>> sessions = catalogue[np.array([[0, 1, 3, 2, 2, 1]])]
      >>> model.predict(params, state, sessions).shape
      (1, 1, 4)

    References:
      Shalaby et al., M2TRec: Metadata-aware Multi-task Transformer for Large-scale and
      Cold-start free Session-based Recommendations, RecSys 2022, arXiv 2209.11824.

    Differences from the paper:
      After its abstract: the head's embeddings are its own, not those of the inputs,
      and it reads the last place of a session in place of a token for the next.
    """
    check_vocabulary(vocabulary)
    expect(width >= 1, "width", width, "1 or more")
    items = np.asarray(catalogue)
    if items.ndim != 2 or items.dtype.kind not in "iu" or len(items) < 2:
        raise UserError(
            f"the catalogue is {items.dtype}{list(items.shape)}: expected integers "
            "[items, attributes], of two items or more"
        )
    if items.shape[1] != len(vocabulary):
        raise UserError(
            f"the catalogue has {items.shape[1]} columns: expected {len(vocabulary)}, "
            "one for each entry of vocabulary"
        )
    outside = (items < 0) | (items >= np.array(vocabulary))
    there = np.full(items.shape, True) if padding is None else items != padding
    for wrong, what in (
        ((outside & there).any(axis=1), f"a value outside of vocabulary {vocabulary}"),
        (~there.any(axis=1), "no attribute"),
    ):
        if wrong.any():
            first = int(wrong.argmax())
            raise UserError(
                f"item {first} of the catalogue, {items[first].tolist()}, has {what}: "
                "expected attributes from 0 to below each entry of vocabulary, one or "
                "more of them"
            )

    def vectors(attributes: Attributes) -> Float[Array, "n d"]:
        return attributes(jnp.asarray(items), jnp.asarray(there))

    return lambda rngs: NextItem(
        Attributes(vocabulary, width, dtype=dtype, rngs=rngs), vectors
    )
