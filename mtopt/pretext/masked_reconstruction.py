"""Masked reconstruction: what the entries that are seen say of those that are not."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from mtopt.batch import masked_mean
from mtopt.errors import expect
from mtopt.models.layers import as_floats
from mtopt.pretext.array_encoder import ArrayEncoder
from mtopt.pretext.pretext import Pretext, apply_linear, init_linear


def masked_reconstruction(
    encoder: ArrayEncoder, *, masked: float | int = 0.5, hidden: int | None = None
) -> Pretext:
    r"""Hides a share of the entries of an input, and reconstructs them.

    With m drawn for every entry of every sample in every step, and f the encoder,

    .. math::
       \hat x = \mathrm{head}\big(f((1 - m) \odot x)\big), \qquad
       L = \frac{\sum_{b,i} m_{bi} (\hat x_{bi} - x_{bi})^2}{\sum_{b,i} m_{bi}}

    A hidden entry is zero, the mean of a standardised column. Entries that are seen
    have no part in the loss: copying them would be learned first.

    Args:
      encoder: what is trained; see :func:`mtopt.pretext.encoder_of`.
      masked: the probability of an entry to be hidden, in (0, 1).
      hidden: the width of a hidden layer with relu in the head; None for a linear head.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> from mtopt.models import MODELS
      >>> from mtopt.pretext import encoder_of
      >>> model = MODELS["mlp"](
      ...     (6,), names=("a",), kind="regression", outputs=1, hidden=(8,))
      >>> task = masked_reconstruction(encoder_of(model, (6,)))
      >>> x, key = jnp.ones((4, 6)), jax.random.key(1)
      >>> seen = task.encode(model.init(key)[0]["shared"], x, key)
      >>> loss = task.loss(task.init(key), seen, jnp.ones(4, bool), key)
      >>> seen["h"].shape, loss.shape
      ((4, 8), ())

    References:
      He et al., Masked Autoencoders Are Scalable Vision Learners, 2021,
      arXiv 2111.06377, for the error of hidden entries alone; after Vincent et al.,
      Extracting and Composing Robust Features with Denoising Autoencoders, ICML 2008.

    Differences from the paper:
      It hides patches of an image, 75 % of them, and leaves them out of the encoder's
      input; an encoder of vectors has no place without a number.
    """
    expect(0 < masked < 1, "masked", masked, "a share in (0, 1)")
    expect(hidden is None or hidden >= 1, "hidden", hidden, "None, or 1 or more")
    entries = math.prod(encoder.shape)

    def init(key: PRNGKeyArray) -> dict[str, Any]:
        if hidden is None:
            return {"last": init_linear(key, encoder.width, entries)}
        first_key, last_key = jax.random.split(key)
        return {
            "first": init_linear(first_key, encoder.width, hidden),
            "last": init_linear(last_key, hidden, entries),
        }

    def encode(
        shared: Any, x: Num[Array, "b ..."], key: PRNGKeyArray
    ) -> dict[str, Array]:
        mask_key, encoder_key = jax.random.split(key)
        x = as_floats(x, jnp.float32)
        hide = jax.random.bernoulli(mask_key, masked, x.shape)
        h = encoder.apply(shared, jnp.where(hide, 0, x), encoder_key)
        rows = len(x), entries
        return {"h": h, "x": x.reshape(rows), "hidden": hide.reshape(rows)}

    def loss(
        head: Any, representation: Any, mask: Bool[Array, " b"], key: PRNGKeyArray
    ) -> Float[Array, ""]:
        del key
        h = representation["h"]
        if hidden is not None:
            h = jax.nn.relu(apply_linear(head["first"], h))
        errors = (apply_linear(head["last"], h) - representation["x"]) ** 2
        return masked_mean(errors, representation["hidden"] & mask[:, None])

    return Pretext(init, encode, loss)
