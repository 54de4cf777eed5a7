r"""Labels in order: one score, thresholds between the levels, severities of raters.

The head of a task with C levels, 0 to C - 1, computes one score s of a sample and adds
C - 1 biases of the task's own, whence C - 1 logits :math:`z_k = s + b_k`. A kind of
label says what these are the log-odds of:

==================== ======================================= ===========================
kind                 :math:`z_k`                             loss
==================== ======================================= ===========================
``ordinal``          :math:`y \ge k` against :math:`y < k`   :func:`cumulative_loss`
``ordinal_adjacent`` :math:`y = k` against :math:`y = k - 1` :func:`adjacent_loss`
==================== ======================================= ===========================

With two levels both are binary cross-entropy. Where every label was given by a rater
whose number is an input, :func:`rated` and :func:`judged` subtract from the score how
severe that rater is: the many-facet Rasch model, whichever encoder the score is of.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Num

from mtopt.errors import UserError, expect, expect_one_of
from mtopt.models.pure import Factory

ORDINAL = ("ordinal", "ordinal_adjacent")
"""Kinds of labels in order."""


class Thresholds(nnx.Module):
    r"""C - 1 biases behind a score, at which all C levels are equally likely at first.

    Those of ``ordinal`` fall, :math:`b_{k+1} = b_k - \text{softplus}(\delta_k)`, since
    :math:`P(y \ge k)` does; without that a level gets a probability below 0.

    Args:
      levels: C, 2 or more.
      kind: an entry of :data:`ORDINAL`.

    Raises:
      UserError: for fewer levels, or another kind.

    Example:
      >>> Thresholds(4, kind="ordinal")(jnp.zeros((1, 1))).astype(int)
      Array([[ 1,  0, -1]], dtype=int32)
    """

    def __init__(self, levels: int, *, kind: str) -> None:
        expect_one_of("kind", kind, ORDINAL)
        expect(levels >= 2, "outputs", levels, f"2 levels or more of an {kind} task")
        start = np.zeros(levels - 1, np.float32)
        if kind == "ordinal":
            above = np.arange(levels - 1, 0, -1) / levels
            odds = np.log(above / (1 - above))
            start = np.append(odds[:1], np.log(np.expm1(-np.diff(odds))))
        self.threshold = nnx.Param(jnp.asarray(start, jnp.float32))
        self.ordered = kind == "ordinal"

    def __call__(self, score: Float[Array, "b 1"]) -> Float[Array, "b T"]:
        """The logits, in float32."""
        bias = self.threshold[...]
        if self.ordered:
            bias = bias[0] - jnp.append(0.0, jnp.cumsum(jax.nn.softplus(bias[1:])))
        return score.astype(jnp.float32) + bias[None]


def cumulative_loss(
    outputs: Float[Array, "b T"], targets: Int[Array, " b"]
) -> Float[Array, " b"]:
    r"""The sum of the C - 1 binary cross-entropies of "at least level k", in nats.

    .. math:: -\sum_k [y \ge k] \log \sigma(z_k) + [y < k] \log(1 - \sigma(z_k))

    It grows with how far off a level is. The mean over it divides by the labelled
    samples, as CORAL does; CORN's divides by those that its conditional tasks see.

    Args:
      outputs: the logits :math:`z_k`.
      targets: levels in 0 to C - 1; the loss of another number is NaN.

    Example:
      >>> z = jnp.tile(jnp.array([3., 1., -1., -3.]), (5, 1))
      >>> np.asarray(cumulative_loss(z, jnp.arange(5)), float).round(2)
      array([4.72, 1.72, 0.72, 1.72, 4.72])

    References:
      CORAL: Cao, Mirjalili and Raschka, Rank Consistent Ordinal Regression for Neural
      Networks with Application to Age Estimation, 2019, arXiv 1901.07884.

    Differences from the paper:
      Its biases are free, and in order at a minimum only; :class:`Thresholds` keeps
      them so. Its weights of levels are all 1 here.
    """
    levels = jnp.arange(1, outputs.shape[-1] + 1)
    at_least = (targets[:, None] >= levels[None]).astype(outputs.dtype)
    losses = optax.sigmoid_binary_cross_entropy(outputs, at_least).sum(axis=-1)
    # Any number below 0 would count as the lowest level, any large one as the highest.
    known = (targets >= 0) & (targets <= outputs.shape[-1])
    return jnp.where(known, losses, jnp.nan)


def adjacent_loss(
    outputs: Float[Array, "b T"], targets: Int[Array, " b"]
) -> Float[Array, " b"]:
    r"""The negative log-likelihood of a level under adjacent categories, in nats.

    .. math:: \log \frac{P(y = k)}{P(y = k - 1)} = z_k

    Args:
      outputs: the logits :math:`z_k`.
      targets: levels in 0 to C - 1; the loss of another number is NaN.

    Example:
      >>> adjacent_loss(jnp.zeros((1, 3)), jnp.array([2])).item() == jnp.log(4.).item()
      True

    References:
      Masters, A Rasch model for partial credit scoring, Psychometrika 47, 1982.
    """
    logits = _level_logits(outputs)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return jnp.where((targets >= 0) & (targets < logits.shape[-1]), losses, jnp.nan)


def log_probabilities(
    outputs: Float[Array, "*shape T"], *, kind: str
) -> Float[Array, "*shape T+1"]:
    r"""The log-probability of every level.

    .. math:: P(y = k) = \sigma(z_k) - \sigma(z_{k+1})
       = \sigma(z_k) \, \sigma(-z_{k+1}) \, (1 - e^{z_{k+1} - z_k})

    for ``ordinal``, where :math:`\sigma(z_0) = 1` and :math:`\sigma(z_C) = 0`.

    Args:
      outputs: the logits of any samples, as a model predicts them.
      kind: an entry of :data:`ORDINAL`.

    Returns:
      NaN for ``ordinal`` logits that rise from one level to the next: these are of
      another head than :class:`Thresholds`.

    Raises:
      UserError: for another kind.

    Example:
      >>> found = log_probabilities(jnp.array([3., -3.]), kind="ordinal")
      >>> np.exp(np.asarray(found, float)).round(2)
      array([0.05, 0.91, 0.05])
    """
    expect_one_of("kind", kind, ORDINAL)
    if kind == "ordinal_adjacent":
        return jax.nn.log_softmax(_level_logits(outputs))
    between = jnp.log1p(-jnp.exp(jnp.diff(outputs)))
    reached, missed = jax.nn.log_sigmoid(outputs), jax.nn.log_sigmoid(-outputs)
    inner = reached[..., :-1] + missed[..., 1:] + between
    return jnp.concatenate([missed[..., :1], inner, reached[..., -1:]], axis=-1)


def _level_logits(outputs: Float[Array, "*shape T"]) -> Float[Array, "*shape T+1"]:
    """Log-odds of every level against the lowest, from those of neighbours."""
    pads = [(0, 0)] * (outputs.ndim - 1) + [(1, 0)]
    return jnp.pad(jnp.cumsum(outputs, axis=-1), pads)


class Rated(nnx.Module):
    """An encoder beside the severities of raters; see :func:`rated`."""

    def __init__(self, make: Factory, raters: int, rngs: nnx.Rngs) -> None:
        self.encoder = make(rngs)
        self.severity = nnx.Param(jnp.zeros(raters, jnp.float32))

    def __call__(self, x: Any) -> tuple[Any, Float[Array, " b"]]:
        """The representation, and the severity of each sample's rater."""
        if not isinstance(x, Mapping) or set(x) != {"inputs", "rater"}:
            found = sorted(x) if isinstance(x, Mapping) else type(x).__name__
            raise UserError(
                f"the inputs of a rated encoder are {found}: expected "
                "{'inputs': ..., 'rater': integers [b]}"
            )
        rater = x["rater"]
        if not jnp.issubdtype(rater.dtype, jnp.integer) or rater.ndim != 1:
            raise UserError(
                f"rater is {rater.dtype}{list(rater.shape)}: expected the number of "
                "each sample's rater, integers [b]"
            )
        severity = _centred(self.severity[...])
        # A number that no rater has would read another's: NaN is found by a guard.
        own = severity.at[rater].get(
            mode="fill", fill_value=jnp.nan, wrap_negative_indices=False
        )
        return self.encoder(x["inputs"]), jnp.where(rater == -1, 0.0, own)


class Judged(nnx.Module):
    """A head, then the rater's severity off its outputs; see :func:`judged`."""

    def __init__(self, make: Factory, rngs: nnx.Rngs) -> None:
        self.head = make(rngs)

    def __call__(self, pair: tuple[Any, Float[Array, " b"]]) -> Float[Array, "b C"]:
        """The head's outputs less the severity."""
        representation, severity = pair
        return self.head(representation) - severity[:, None]


def rated(encoder: Factory, *, raters: int) -> Factory:
    r"""An encoder whose inputs say who rated, for heads in :func:`judged`.

    .. math:: \log \frac{P(y = k)}{P(y = k - 1)} = \theta - \alpha_{rater} - \tau_k,
       \qquad \sum_r \alpha_r = 0

    with the ``ordinal_adjacent`` kind: :math:`\theta` is the score of the sample, the
    severity :math:`\alpha` of a rater is one number for all tasks (a shared
    parameter), and :math:`\tau_k = -b_k` the threshold of a level. Neither the spread
    of the scores nor that of the raters is fixed beforehand.

    Args:
      encoder: makes the shared part, ``inputs -> representation``.
      raters: how many there are, 1 or more.

    Returns:
      What makes a module on ``{"inputs": ..., "rater": int [b]}``. Raters are 0 to
      ``raters - 1``; -1 is one of mean severity, 0, as somebody new is; the loss of
      any other number is NaN. All severities start at 0.

    Raises:
      UserError: for fewer raters, and in use for inputs of another form.

    Example:
      >>> from mtopt.models import functional
      >>> from mtopt.models.heads import linear_head
      >>> model = functional(
      ...     rated(lambda rngs: nnx.Linear(3, 4, rngs=rngs), raters=2),
      ...     judged(linear_head(4, 5, kind="ordinal_adjacent")),
      ...     ("respect", "sentiment"), kind="ordinal_adjacent")
      >>> params, state = jax.eval_shape(model.init, jax.random.key(0))
      >>> x = {"inputs": jnp.ones((6, 3)), "rater": jnp.array([0, 0, 0, 1, 1, -1])}
      >>> jax.eval_shape(model.predict, params, state, x).shape
      (2, 6, 4)

    References:
      Linacre, Many-Facet Rasch Measurement, 1989. Kennedy et al., Constructing
      interval variables via faceted Rasch measurement and multitask deep learning: a
      hate speech application, 2020, arXiv 2009.10277.

    Differences from the paper:
      Kennedy et al. fit the Rasch model to the raters' answers first, and a network to
      predict them next; here both are one likelihood.
    """
    expect(raters >= 1, "raters", raters, "1 or more")
    return lambda rngs: Rated(encoder, raters, rngs)


def judged(head: Factory) -> Factory:
    """A head of ordinal labels from raters who are more or less severe.

    Args:
      head: makes the part of one task, ``representation -> outputs``.

    Returns:
      What makes a module on the output of :func:`rated`: all logits of a sample less
      its rater's severity.
    """
    return lambda rngs: Judged(head, rngs)


def severities(params: Any) -> Float[Array, " R"]:
    """The severity of every rater, in logits, of mean 0; positive is harsh.

    Args:
      params: of a model with an encoder in :func:`rated`.
    """
    return _centred(optax.tree.get(params, "severity"))


def _centred(severity: Num[Array, " R"]) -> Float[Array, " R"]:
    """Only differences of severities are seen: the thresholds take up their mean."""
    return severity - severity.mean()
