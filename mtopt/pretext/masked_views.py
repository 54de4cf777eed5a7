"""Two views of a sample that lack different fields, and find each other."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from mtopt.batch import masked_mean
from mtopt.errors import UserError, expect, expect_one_of
from mtopt.models.layers import as_floats
from mtopt.pretext.array_encoder import ArrayEncoder
from mtopt.pretext.pretext import Pretext, unit_rows

PICKS = ("correlated", "complement", "random")


def masked_views(
    encoder: ArrayEncoder,
    *,
    fields: Sequence[int] | None = None,
    information: npt.ArrayLike | None = None,
    temperature: float | int = 0.1,
    pick: str = "correlated",
) -> Pretext:
    r"""Finds every sample of one masked view among those of the other.

    Of F fields one view lacks a set W of F // 2, the other view another. With c the
    cosines of the encodings of a batch of B samples,

    .. math::
       L = -\frac{1}{B} \sum_i \log
           \frac{e^{c_{ii} / \tau}}{\sum_j e^{c_{ij} / \tau}}

    ============= ==================================== ==================
    pick          W, what the first view lacks         the second lacks
    ============= ==================================== ==================
    correlated    a random field and those that say    the rest
                  most of it
    complement    random fields                        the rest
    random        random fields                        others at random
    ============= ==================================== ==================

    Masked at random, a field is often seen through one that nearly repeats it; masked
    together, the encoder has to learn more than that. W is drawn in every step, one for
    the whole batch: sets of their own would tell samples apart by what they lack. With
    ``micro_batches`` a sample is looked for in its part of the batch alone.

    Args:
      encoder: what is trained, on inputs ``[b, D]``; there is no head. See
        :func:`mtopt.pretext.encoder_of`.
      fields: the field of each of the D columns, 0 to F - 1, as one category takes
        several columns; every column a field of its own unless given. A field that a
        view lacks is zero.
      information: how much fields say of one another, ``[F, F]``, such as
        :func:`mtopt.pretext.mutual_information`; for ``"correlated"``.
      temperature: tau, above 0.
      pick: which fields, as above.

    Raises:
      UserError: for an option out of range, fewer than two fields, or ``information``
        of another shape, missing, or without use.

    Example:
      >>> from mtopt.models import MODELS
      >>> from mtopt.pretext import encoder_of
      >>> model = MODELS["mlp"](
      ...     (6,), names=("a",), kind="regression", outputs=1, hidden=(8,))
      >>> task = masked_views(encoder_of(model, (6,)), pick="complement")
      >>> x, key = jnp.ones((4, 6)), jax.random.key(1)
      >>> views = task.encode(model.init(key)[0]["shared"], x, key)
      >>> loss = task.loss(task.init(key), views, jnp.ones(4, bool), key)
      >>> round(float(loss), 3)  # log 4: of equal samples none is found
      1.386

    References:
      Yao et al., Self-supervised Learning for Large-scale Item Recommendations, 2020,
      arXiv 2007.12865.

    Differences from the paper:
      It masks categories before their embeddings, and drops entries of a field with
      several; here whole columns of the input. There W has F / 2 fields beside the
      random one, here with it, so that both views lack as much.
    """
    expect(temperature > 0, "temperature", temperature, "a number above 0")
    expect_one_of("pick", pick, PICKS)
    of_column = _fields(encoder.shape, fields)
    count = int(of_column.max()) + 1
    said = _information(information, count, pick)

    def init(key: PRNGKeyArray) -> dict[str, Any]:
        del key
        return {}

    def encode(
        shared: Any, x: Num[Array, "b D"], key: PRNGKeyArray
    ) -> dict[str, Array]:
        x = as_floats(x, jnp.float32)
        pick_key, *view_keys = jax.random.split(key, 3)

        def view(lacks: Bool[Array, " F"], key: PRNGKeyArray) -> Float[Array, "b D"]:
            return encoder.apply(shared, jnp.where(lacks[of_column][None], 0, x), key)

        first, second = map(view, _lacking(pick_key, count, pick, said), view_keys)
        return {"first": first, "second": second}

    def loss(
        head: Any, representation: Any, mask: Bool[Array, " b"], key: PRNGKeyArray
    ) -> Float[Array, ""]:
        del head, key
        first, second = representation["first"], representation["second"]
        return info_nce(first, second, mask, temperature)

    return Pretext(init, encode, loss)


def info_nce(
    first: Float[Array, "B D"],
    second: Float[Array, "B D"],
    mask: Bool[Array, " B"],
    temperature: float | int,
) -> Float[Array, ""]:
    """The loss of :func:`masked_views`, on encodings.

    Args:
      first: of one view.
      second: of the other.
      mask: False for padding, which is none of the samples to choose from either.
      temperature: tau.

    Example:
      >>> same = jnp.ones((8, 3))
      >>> round(float(info_nce(same, same, jnp.arange(8) < 5, 0.1)), 4)  # log 5
      1.6094
    """
    cosines = unit_rows(first) @ unit_rows(second).T / temperature
    among = jax.nn.logsumexp(jnp.where(mask[None], cosines, -jnp.inf), axis=1)
    return masked_mean(among - jnp.diagonal(cosines), mask)


def _lacking(
    key: PRNGKeyArray, count: int, pick: str, said: Float[np.ndarray, "F F"]
) -> tuple[Bool[Array, " F"], Bool[Array, " F"]]:
    """Which fields either view lacks."""
    first_key, second_key = jax.random.split(key)
    if pick == "correlated":
        seed = jax.random.randint(first_key, (), 0, count)
        first = _highest(jnp.asarray(said)[seed].at[seed].set(jnp.inf))
        return first, ~first
    first = _highest(jax.random.uniform(first_key, (count,)))
    if pick == "complement":
        return first, ~first
    return first, _highest(jax.random.uniform(second_key, (count,)))


def _highest(scores: Float[Array, " F"]) -> Bool[Array, " F"]:
    """True for half of the fields, rounded down."""
    _, chosen = jax.lax.top_k(scores, len(scores) // 2)
    return jnp.zeros(len(scores), bool).at[chosen].set(True)


def _fields(shape: tuple[int, ...], fields: Sequence[int] | None) -> np.ndarray:
    """The field of each column, ``[D]``, checked."""
    if len(shape) != 1:
        raise UserError(
            f"inputs of masked views have shape {shape}: expected columns, (D,)"
        )
    if fields is None:
        fields = range(shape[0])
    found = np.asarray(fields)
    whole = np.issubdtype(found.dtype, np.integer) and found.shape == shape
    known = np.unique(found)
    if not whole or len(known) < 2 or (known != np.arange(len(known))).any():
        raise UserError(
            f"fields are {found.tolist()}: expected an integer for each of {shape[0]} "
            "columns, of fields 0 to F - 1, two or more"
        )
    return found


def _information(
    information: npt.ArrayLike | None, count: int, pick: str
) -> Float[np.ndarray, "F F"]:
    """What fields say of one another, checked; zeros where it is not asked for."""
    given = "given" if information is not None else "not given"
    wanted = pick == "correlated"
    if wanted != (information is not None):
        raise UserError(
            f"information is {given} with pick={pick!r}: expected it with "
            "pick='correlated', and with no other"
        )
    if information is None:
        return np.zeros((count, count), np.float32)
    found = np.asarray(information, np.float32)
    if found.shape != (count, count):
        raise UserError(
            f"information has shape {found.shape}: expected {(count, count)}, of every "
            "two fields"
        )
    return found
