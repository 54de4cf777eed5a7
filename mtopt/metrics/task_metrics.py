"""How well one task is solved: accuracy, F1, AUC, RMSE, MAE, R2, on labelled samples.

A task metric is a function of ``(output, target, mask)``: what the head put out,
what it should have put out, and which samples carry a label at all. NumPy in, a
Python number out.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from mtopt.errors import UserError

MetricFunction = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


class Metric(NamedTuple):
    """A named task metric and its direction.

    Attributes:
      name: short ASCII name, fit for a file column.
      higher_is_better: True for an accuracy, False for an error.
      function: maps ``(output, target, mask)`` to one number; see `accuracy`. With a
        ``statistic``, that of the labelled samples.
      statistic: ``(output, target) -> [n, ...]``, what the metric reads of samples, row
        by row, where outputs are too large to be kept for a whole split; None: it reads
        outputs and targets.
      unit: what errors are divided by before they are averaged with those of other
        tasks, beside the deviation of targets.
    """

    name: str
    higher_is_better: bool
    function: Callable[..., float]
    statistic: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    unit: float = 1.0

    def value(self, output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
        """The metric of a task.

        Args:
          output: of a head, ``[n, ...]``.
          target: labels ``[n, ...]``.
          mask: bool ``[n]``, True where the sample is labelled.

        Raises:
          UserError: for another number of labels than of outputs.
        """
        if self.statistic is None:
            return self.function(output, target, mask)
        if not len(output) == len(target) == len(mask):
            raise UserError(
                f"{len(target)} labels and a mask of {len(mask)} for {len(output)} "
                "outputs: expected one each of every sample"
            )
        return self.function(self.statistic(output[mask], target[mask]))


def accuracy(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """The share of labels predicted right, in [0, 1]; higher is better.

    The prediction is the class with the largest logit; for binary and multi-label
    tasks a label is predicted where its logit is above 0.

    Args:
      output: logits, ``[n, classes]``, or ``[n]`` (binary), or ``[n, labels]``
        (multi-label).
      target: the class numbers ``[n]``, or 0/1 labels of the shape of ``output``.
      mask: bool ``[n]``, True where the sample is labelled. What stands behind a
        False is never read and may be NaN.

    Returns:
      The accuracy; nan if no sample is labelled, or if the logit of a labelled one is
      not finite (a diverged model has no accuracy).

    Raises:
      UserError: if shapes disagree, ``mask`` is not bool, or a labelled target is
        not finite or not 0 or 1 where it has to be.

    Example:
      >>> logits = np.array([[2.0, 1.0], [0.0, 3.0], [5.0, 4.0]])
      >>> accuracy(logits, np.array([0, 1, 1]), np.array([True, True, False]))
      1.0
    """
    if np.ndim(output) == np.ndim(target) + 1:
        output, target = labelled(output, target, mask, np.shape(output)[:-1])
        correct = output.argmax(-1) == target
    else:
        output, target = labelled(output, target, mask, np.shape(output))
        correct = (output > 0) == _zero_one(target)
    return float(correct.mean()) if measurable(output) else float("nan")


def f1(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    r"""How well labels that are 1 are found, in [0, 1]; higher is better.

    .. math:: F_1 = 2\,TP / (2\,TP + FP + FN)

    the harmonic mean of precision and recall. A label is predicted where its logit is
    above 0.

    Args:
      output: logits ``[n]``.
      target: 0/1 labels ``[n]``.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      The mean; nan where no label is 1 and none is predicted, or where the logit of a
      labelled sample is not finite.

    Raises:
      UserError: as `accuracy`.

    Example:
      >>> logits, labels = np.array([2.0, 1.0, -1.0, -2.0]), np.array([1, 0, 1, 0])
      >>> f1(logits, labels, np.ones(4, bool))
      0.5
    """
    output, target = labelled(output, target, mask, np.shape(output))
    truth, found = _zero_one(target), output > 0
    if not measurable(output) or not (truth | found).any():
        return float("nan")
    return float(2 * (truth & found).sum() / (truth.sum() + found.sum()))


def auc(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Area under the ROC curve, in [0, 1]; higher is better, 0.5 is chance.

    For a multi-label task: the mean over the label columns (macro average) that hold
    both classes.

    Args:
      output: scores or logits, ``[n]`` or ``[n, labels]``; only their order counts.
      target: 0/1 labels of the shape of ``output``.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      The area; nan where no column holds both classes, or where the score of a
      labelled sample is not finite.

    Raises:
      UserError: as `accuracy`.

    Example:
      >>> scores, labels = np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])
      >>> auc(scores, labels, np.ones(4, bool))
      0.75
    """
    from sklearn.metrics import roc_auc_score

    output, target = labelled(output, target, mask, np.shape(output))
    target = _zero_one(target)
    if not measurable(output):
        return float("nan")
    columns = zip(np.atleast_2d(output.T), np.atleast_2d(target.T), strict=True)
    areas = [roc_auc_score(y, score) for score, y in columns if 0 < y.mean() < 1]
    return float(np.mean(areas)) if areas else float("nan")


def rmse(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Root mean squared error, in units of the target; lower is better.

    Args:
      output: predictions ``[n]``.
      target: real values ``[n]``.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      The error; nan if no sample is labelled or the prediction of a labelled one is
      not finite.

    Raises:
      UserError: if shapes disagree, ``mask`` is not bool, or a labelled target is
        not finite.

    Example:
      >>> rmse(np.array([1.0, 2.0]), np.array([2.0, 9.0]), np.ones(2, bool))
      5.0
    """
    output, target = labelled(output, target, mask, np.shape(output))
    if not measurable(output):
        return float("nan")
    return float(np.sqrt(np.mean((output - target) ** 2)))


def mae(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean absolute error, in units of the target; lower is better.

    Args:
      output: predictions ``[n]``.
      target: real values ``[n]``.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      The error; nan as for `rmse`.

    Raises:
      UserError: as `rmse`.

    Example:
      >>> mae(np.array([1.0, 2.0]), np.array([4.0, 6.0]), np.ones(2, bool))
      3.5
    """
    output, target = labelled(output, target, mask, np.shape(output))
    return float(np.abs(output - target).mean()) if measurable(output) else np.nan


def r2(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Coefficient of determination, at most 1; higher is better, 0 is the mean.

    Args:
      output: predictions ``[n]``.
      target: real values ``[n]``.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      The coefficient; nan as for `rmse`, and where all labelled targets are equal (one
      sample among them): there is no variance to explain.

    Raises:
      UserError: as `rmse`.

    Example:
      >>> target = np.array([1.0, 2.0, 3.0])
      >>> r2(np.array([1.0, 2.0, 4.0]), target, np.ones(3, bool))
      0.5
    """
    from sklearn.metrics import r2_score

    output, target = labelled(output, target, mask, np.shape(output))
    if not measurable(output) or np.ptp(target) == 0:
        return float("nan")
    return float(r2_score(target, output))


def labelled(
    output: np.ndarray, target: np.ndarray, mask: np.ndarray, shape: tuple[int, ...]
) -> tuple[Float[np.ndarray, "n ..."], Float[np.ndarray, "n ..."]]:
    """The labelled samples in float64, after checking that they can be compared."""
    if np.shape(target) != shape or np.shape(mask) != shape[:1] or not shape:
        raise UserError(
            f"output {np.shape(output)}, target {np.shape(target)} and mask "
            f"{np.shape(mask)} do not match; expected output [n, ...], its target, and "
            "mask [n]"
        )
    if mask.dtype != bool:
        raise UserError(f"mask has dtype {mask.dtype}; expected bool: use mask > 0")
    output, target = output[mask].astype(float), target[mask].astype(float)
    if not np.isfinite(target).all():
        raise UserError(
            f"{(~np.isfinite(target)).sum()} labelled targets are not finite; "
            "set their mask to False"
        )
    return output, target


def _zero_one(target: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """0/1 labels as bools."""
    if not np.isin(target, (0, 1)).all():
        found = np.unique(target)[:5].tolist()
        raise UserError(f"labels of a yes/no task are {found}; expected 0 and 1")
    return target == 1


def measurable(output: Float[np.ndarray, "..."]) -> bool:
    """Whether there is anything to measure, and all of it is a number."""
    return output.size > 0 and bool(np.isfinite(output).all())
