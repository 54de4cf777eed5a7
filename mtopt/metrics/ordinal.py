r"""Errors of labels in order, counted in levels.

A metric is told how many levels there are: where a fold lacks one, the distance between
its neighbours is two all the same, not one.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Num

from mtopt.errors import UserError
from mtopt.metrics.task_metrics import MetricFunction, labelled, measurable


def median_level(logits: np.ndarray, *, adjacent: bool) -> Float[np.ndarray, " n"]:
    r"""The level that half of the probability lies at or below.

    .. math:: \#\{k \ge 1 : P(y \ge k) > \tfrac12\}

    No other level has a smaller expected distance.

    Args:
      logits: ``[n, C - 1]``, of kind ``ordinal`` or ``ordinal_adjacent``; see
        :mod:`mtopt.models.ordinal`.
      adjacent: whether they are of the second.

    Returns:
      In 0 to C - 1; NaN where a logit is not finite.

    Example:
      >>> median_level(np.array([[2., 1., -1.]]), adjacent=False)
      array([2.])
    """
    logits = np.asarray(logits, float)
    finite = np.isfinite(logits)
    logits = np.where(finite, logits, 0)
    if adjacent:
        odds = np.pad(logits.cumsum(axis=-1), [(0, 0), (1, 0)])
        weights = np.exp(odds - odds.max(axis=-1, keepdims=True))
        at_least = weights[:, ::-1].cumsum(axis=-1)[:, ::-1]
        above = (at_least[:, 1:] > at_least[:, :1] / 2).sum(axis=-1)
    else:
        above = (logits > 0).sum(axis=-1)
    return np.where(finite.all(axis=-1), above, np.nan)


def level_mae(
    level: np.ndarray, target: np.ndarray, mask: np.ndarray, *, levels: int
) -> float:
    """Mean absolute error in levels, 0 to C - 1; lower is better.

    Args:
      level: predicted levels ``[n]``, NaN where a model has diverged.
      target: levels ``[n]``, 0 to C - 1.
      mask: bool ``[n]``, True where the sample is labelled.
      levels: C, 2 or more, whether or not all of them occur.

    Returns:
      The error; nan if no sample is labelled, or the prediction of a labelled one is
      not finite.

    Raises:
      UserError: if shapes disagree, ``mask`` is not bool, or a labelled target or a
        finite prediction is no level.

    Example:
      >>> level_mae(np.array([0, 2]), np.array([3, 2]), np.ones(2, bool), levels=4)
      1.5
    """
    level, target = _levels(level, target, mask, levels)
    return float(np.abs(level - target).mean()) if measurable(level) else np.nan


def level_macro_mae(
    level: np.ndarray, target: np.ndarray, mask: np.ndarray, *, levels: int
) -> float:
    r"""Macro-averaged absolute error: the mean over levels of their own errors.

    .. math:: \operatorname{mean}_{c} \operatorname{mean}_{i : y_i = c} |\hat y_i - c|

    over the levels that have a labelled sample. A rare level counts as a frequent one.

    Args:
      level: as in :func:`level_mae`, like the others.
      target: levels ``[n]``.
      mask: bool ``[n]``.
      levels: C.

    Returns:
      In 0 to C - 1, lower is better; nan as :func:`level_mae`.

    Raises:
      UserError: as :func:`level_mae`.

    Example:
      Levels 1 and 2 of four do not occur, and 3 is as far from 0 as ever:

      >>> target, level = np.array([0, 0, 3, 3]), np.array([0, 0, 0, 3])
      >>> level_macro_mae(level, target, np.ones(4, bool), levels=4)
      0.75

    References:
      Baccianella, Esuli and Sebastiani, Evaluation Measures for Ordinal Regression,
      ISDA 2009.
    """
    level, target = _levels(level, target, mask, levels)
    if not measurable(level):
        return float("nan")
    wrong = np.abs(level - target)
    return float(np.mean([wrong[target == c].mean() for c in np.unique(target)]))


def quadratic_kappa(
    level: np.ndarray, target: np.ndarray, mask: np.ndarray, *, levels: int
) -> float:
    r"""Cohen's kappa with quadratic weights, at most 1; higher is better, 0 is chance.

    .. math:: 1 - \frac{\sum_i (\hat y_i - y_i)^2 / n}
                       {\sum_{ij} (\hat y_i - y_j)^2 / n^2}

    Args:
      level: as in :func:`level_mae`, like the others.
      target: levels ``[n]``.
      mask: bool ``[n]``.
      levels: C.

    Returns:
      Kappa; nan as :func:`level_mae`, and where all predictions and all labels are one
      level.

    Raises:
      UserError: as :func:`level_mae`.

    Example:
      >>> target, level = np.array([0, 1, 2]), np.array([0, 1, 1])
      >>> round(quadratic_kappa(level, target, np.ones(3, bool), levels=3), 4)
      0.6667

    References:
      Cohen, Weighted kappa, Psychological Bulletin 70, 1968.
    """
    level, target = _levels(level, target, mask, levels)
    if not measurable(level):
        return float("nan")
    observed, expected = disagreement(level, target)
    return 1 - observed / expected if expected > 0 else float("nan")


def disagreement(
    level: Num[np.ndarray, " n"], target: Num[np.ndarray, " n"]
) -> tuple[float, float]:
    """The mean squared distance of predictions and labels, as paired and by chance."""
    observed = np.mean((level - target) ** 2)
    apart = (level.mean() - target.mean()) ** 2
    return float(observed), float(level.var() + target.var() + apart)


def of_logits(metric: Callable[..., float], *, adjacent: bool) -> MetricFunction:
    """A metric of levels as one of a head's logits, whose number says how many."""

    def function(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
        level = median_level(output, adjacent=adjacent)
        return metric(level, target, mask, levels=np.shape(output)[-1] + 1)

    return function


def _levels(
    level: np.ndarray, target: np.ndarray, mask: np.ndarray, levels: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The labelled samples, after checking that all are levels."""
    level, target = labelled(level, target, mask, np.shape(level))
    for what, found in (("target", target), ("prediction", level)):
        odd = found[np.isfinite(found) & ~np.isin(found, np.arange(levels))]
        if odd.size:
            raise UserError(
                f"a labelled {what} of an ordinal task is {odd[0]:g}: expected a "
                f"level, 0 to {levels - 1}"
            )
    return level, target
