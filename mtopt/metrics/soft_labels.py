"""Metrics of labels that are probabilities: distributions over classes, preferences."""

import numpy as np

from mtopt.errors import UserError
from mtopt.metrics.task_metrics import labelled, measurable


def top_accuracy(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """How often the likeliest class is the distribution's own; higher is better.

    Args:
      output: logits ``[n, C]``.
      target: distributions ``[n, C]``; of several likeliest classes the first counts.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      In [0, 1]; nan if no sample is labelled, or the logit of a labelled one is not
      finite.

    Raises:
      UserError: if shapes disagree, ``mask`` is not bool, or a labelled target is no
        distribution.

    Example:
      >>> target = np.array([[0.9, 0.1], [0.4, 0.6]])
      >>> top_accuracy(np.array([[1.0, 0.0], [2.0, 1.0]]), target, np.ones(2, bool))
      0.5
    """
    output, target = _distributions(output, target, mask)
    right = output.argmax(-1) == target.argmax(-1)
    return float(right.mean()) if measurable(output) else float("nan")


def divergence(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    r"""The Kullback-Leibler divergence of target and softmax; lower is better.

    .. math:: \operatorname{mean}_i \sum_c t_{ic} \log \frac{t_{ic}}{p_{ic}}

    The soft cross-entropy less the entropy of the targets, which no model can change.

    Args:
      output: logits ``[n, C]``.
      target: distributions ``[n, C]``.
      mask: bool ``[n]``, True where the sample is labelled.

    Returns:
      In nats, 0 or more; nan as :func:`top_accuracy`.

    Raises:
      UserError: as :func:`top_accuracy`.

    Example:
      >>> target = np.array([[1.0, 0.0]])
      >>> round(divergence(np.zeros((1, 2)), target, np.ones(1, bool)), 4)
      0.6931
    """
    from scipy.special import log_softmax, xlogy

    output, target = _distributions(output, target, mask)
    if not measurable(output):
        return float("nan")
    terms = xlogy(target, target) - target * log_softmax(output, axis=-1)
    return float(terms.sum(axis=-1).mean())


def pair_accuracy(output: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """The share of decided pairs in the right order, in [0, 1]; higher is better.

    Args:
      output: the first score less the second, ``[n]``; 0 counts as half right.
      target: 1 where the first won, 0 where the second did, ``[n]``; 0.5 is a tie,
        which has no part in this.
      mask: bool ``[n]``, True where the pair is labelled.

    Returns:
      The share; nan if no decided pair is labelled, or the output of a labelled one is
      not finite.

    Raises:
      UserError: if shapes disagree, ``mask`` is not bool, or a labelled target is not
        in [0, 1].

    Example:
      >>> target = np.array([1.0, 0.0, 0.5])
      >>> pair_accuracy(np.array([2.0, 1.0, 9.0]), target, np.ones(3, bool))
      0.5
    """
    output, target = labelled(output, target, mask, np.shape(output))
    if not ((target >= 0) & (target <= 1)).all():
        found = np.unique(target)[[0, -1]].tolist()
        raise UserError(
            f"labels of a preference task go from {found[0]:g} to {found[1]:g}: "
            "expected 1 (the first wins), 0 (the second) or 0.5 (a tie)"
        )
    side, decided = np.sign(target - 0.5), target != 0.5
    if not measurable(output) or not decided.any():
        return float("nan")
    return float((1 + side * np.sign(output))[decided].mean() / 2)


def _distributions(
    output: np.ndarray, target: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The labelled samples, after checking that their targets are distributions."""
    output, target = labelled(output, target, mask, np.shape(output))
    # As float32 softmaxes are: a share of annotators rounded to 3 digits passes, too.
    if (target < 0).any() or (np.abs(target.sum(axis=-1) - 1) > 1e-2).any():
        raise UserError(
            "a labelled target of a soft task is no distribution over the classes: "
            "expected shares of 0 or more that sum to 1"
        )
    return output, target
