"""What gates do: which experts a task is made of, and which experts do nothing."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.errors import UserError
from mtopt.linalg import divide_or_zero

SILENT = 0.9
"""A unit that is zero for so many of the samples is dead, as in HoME."""


class Gates(NamedTuple):
    """What :func:`gates` finds.

    Attributes:
      mass: what each expert weighs in each task, the mean over samples, ``[K, E]``;
        rows sum to 1.
      entropy: of a sample's weights, the mean over samples, ``[K]`` in nats: 0 where
        one expert has all the weight, log E where all have as much.
      agreement: of every two tasks, how often the same expert weighs most, ``[K, K]``.
    """

    mass: Float[Array, "K E"]
    entropy: Float[Array, " K"]
    agreement: Float[Array, "K K"]


class Silence(NamedTuple):
    """What :func:`silence` finds.

    Attributes:
      units: the share of the experts' output units that are dead: zero for nine samples
        of ten, or more.
      zeros: of each expert, the share of zeros among its outputs, ``[E]``.
      experts: which experts are dead, bool ``[E]``: nine of ten of their outputs are
        zero, or more.
    """

    units: Float[Array, ""]
    zeros: Float[Array, " E"]
    experts: Bool[Array, " E"]


def gates(
    weights: Float[Array, "..."],
    counted: Bool[Array, "K B"] | None = None,
    *,
    same_samples: bool = True,
) -> Gates:
    r"""What the gates of several tasks do with the same experts.

    .. math::
       \text{mass}_{ke} &= \frac{1}{B} \sum_b w_{kbe}, \qquad
       \text{entropy}_k = -\frac{1}{B} \sum_{be} w_{kbe} \log w_{kbe} \\
       \text{agreement}_{kl} &= \frac{1}{B} \sum_b
       [\arg\max_e w_{kbe} = \arg\max_e w_{lbe}]

    Tasks that agree always need no gates of their own; a task of low entropy is made of
    one expert; a mass of 0 in every row is an expert that nobody asks.

    Args:
      weights: what task k gives expert e on sample b, ``[K, B, E]``, 0 or more, with
        sum 1 over experts; of a model, an entry of what ``mixtures`` finds.
      counted: the samples that count, those with a label; None: all. Two tasks agree or
        not on samples that count for both; a task without any has mass 0.
      same_samples: False where sample b of one task is another one than sample b of
        the next: agreement is then that of samples drawn independently.

    Returns:
      The numbers; pure, for ``jax.jit``.

    Raises:
      UserError: for weights of another number of axes.

    Example:
      >>> weights = jnp.array([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [1.0, 0.0]]])
      >>> found = gates(weights)
      >>> found.mass.tolist()
      [[0.75, 0.25], [0.5, 0.5]]
      >>> [f"{nats:.3f}" for nats in found.entropy]
      ['0.347', '0.000']
      >>> float(found.agreement[0, 1])
      0.5
    """
    if jnp.ndim(weights) != 3:
        raise UserError(
            f"weights have shape {jnp.shape(weights)}: expected [K, B, E], those of K "
            "tasks on B samples for E experts"
        )
    tasks, samples, count = weights.shape
    kept = jnp.ones((tasks, samples)) if counted is None else counted
    kept = kept.astype(weights.dtype)
    total = kept.sum(axis=1)
    mass = divide_or_zero(jnp.einsum("kb,kbe->ke", kept, weights), total[:, None])
    known = weights > 0
    logs = jnp.log(jnp.where(known, weights, 1))
    nats = -jnp.where(known, weights * logs, 0).sum(axis=-1)
    first = jax.nn.one_hot(weights.argmax(axis=-1), count, dtype=weights.dtype)
    chosen = kept[..., None] * first
    if same_samples:
        both = jnp.einsum("kbe,lbe->kl", chosen, chosen)
        agreement = divide_or_zero(both, kept @ kept.T)
    else:
        often = divide_or_zero(chosen.sum(axis=1), total[:, None])
        agreement = often @ often.T
    return Gates(mass, divide_or_zero((kept * nats).sum(axis=1), total), agreement)


def silence(
    outputs: Float[Array, "..."], counted: Bool[Array, " B"] | None = None
) -> Silence:
    """Which units of the experts, and which experts, are zero for nearly all samples.

    Units behind a ReLU die where a step takes them below zero for every sample: no
    gradient brings them back. Of experts that end in anything else nothing is dead.

    Args:
      outputs: what expert e makes of sample b, ``[B, E, ...]``; of a model, what
        ``mixtures`` finds.
      counted: the samples that count; None: all.

    Returns:
      The shares; pure, for ``jax.jit``.

    Raises:
      UserError: for outputs without the axes of samples, experts and units.

    Example:
      >>> outputs = jnp.ones((10, 2, 3)).at[:9, 0].set(0.0).at[:, 1, 0].set(0.0)
      >>> found = silence(outputs)
      >>> f"{found.units:.3f}", found.experts.tolist()
      ('0.667', [True, False])

    References:
      Wang et al., HoME: Hierarchy of Multi-Gate Experts for Multi-Task Learning at
      Kuaishou, 2024, arXiv 2408.05430.
    """
    if jnp.ndim(outputs) < 3:
        raise UserError(
            f"outputs have shape {jnp.shape(outputs)}: expected [B, E, ...], the units "
            "of E experts on B samples"
        )
    samples, count = outputs.shape[:2]
    zero = (outputs == 0).reshape(samples, count, -1)
    kept = jnp.ones(samples) if counted is None else counted
    kept = kept.astype(jnp.float32)
    share = divide_or_zero(jnp.einsum("b,beu->eu", kept, zero), kept.sum())
    zeros = share.mean(axis=1)
    # A share of nine tenths is no exact number.
    least = SILENT - 1e-6
    return Silence((share >= least).mean(), zeros, zeros >= least)
