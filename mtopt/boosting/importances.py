"""How much each feature lowered the error, over all trees of an ensemble."""

import jax
import numpy as np
from jaxtyping import Float, Int, Num

from mtopt.boosting.ensemble import Ensemble
from mtopt.boosting.trees import Trees


def importances(
    ensemble: Ensemble,
    features: Num[np.ndarray, "N D"],
    task: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"],
) -> Float[np.ndarray, " D"]:
    r"""The share of each feature in what all splits lowered the squared error by.

    .. math::
       I_d \propto \sum_{\text{splits on } d}
           \frac{n_L n_R}{n_L + n_R} \sum_k (v_{Lk} - v_{Rk})^2

    with n the weight of the rows on either side and v the means that the tree has
    there: for trees fitted to all rows exactly what the split lowered the squared error
    of its tree's targets by, times the square of the learning rate. It counts over the
    shared trees, those of both groups of block 2, and every task's own.

    Args:
      ensemble: of :func:`mtopt.boosting.fit`.
      features: that it was fitted to; NaN as there.
      task: of every row, in 0..T-1.
      weights: of the rows; one of weight 0 does not count.

    Returns:
      Numbers of at least 0 that sum to 1; all 0 where no tree was split.

    Example:
      >>> from mtopt.boosting import fit
      >>> x = np.stack([np.zeros(8), np.arange(8.)], axis=1)
      >>> ensemble = fit(x, x[:, 1], np.zeros(8, int), num_tasks=1, num_shared=2,
      ...                num_partition=0, num_task_specific=0, learning_rate=1.)
      >>> importances(ensemble, x, np.zeros(8, int), np.ones(8)).tolist()
      [0.0, 1.0]

    References:
      Friedman, Greedy function approximation: a gradient boosting machine, The Annals
      of Statistics, 2001, section 8.1; scikit-learn's ``feature_importances_`` is the
      same for one task. With subsamples, counts here are those of all rows.
    """
    seen = np.asarray(weights) > 0
    x = np.asarray(features, np.float32)[seen]
    x = np.minimum(np.where(np.isnan(x), -np.inf, x), np.finfo(np.float32).max)
    task, weights = np.asarray(task)[seen], np.asarray(weights, np.float64)[seen]
    every = np.zeros_like(task)
    total = np.zeros(x.shape[1])
    for trees, segment in (
        (ensemble.shared, every),
        (ensemble.outlier, every),
        (ensemble.non_outlier, every),
        (ensemble.task_specific, task),
    ):
        trees = jax.tree.map(np.asarray, trees)
        for feature, threshold, value in zip(
            trees.feature, trees.threshold, trees.value, strict=True
        ):
            total += _gains(Trees(feature, threshold, value), x, segment, weights)
    return total / total.sum() if total.sum() > 0 else total


def _gains(
    trees: Trees,
    x: Float[np.ndarray, "N D"],
    segment: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, " N"],
) -> Float[np.ndarray, " D"]:
    """What one iteration's trees, a tree a segment, gained by each feature."""
    count, inner = trees.feature.shape
    rows, node = np.arange(len(x)), np.zeros_like(segment)
    for _ in range((inner + 1).bit_length() - 1):
        split = trees.feature[segment, node], trees.threshold[segment, node]
        node = 2 * node + 1 + (x[rows, split[0]] > split[1])
    # Weights and means of all nodes, from the leaves up.
    leaves = segment * (inner + 1) + node - inner
    weight = np.bincount(leaves, weights, minlength=count * (inner + 1))
    weight, mean = weight.reshape(count, -1), trees.value.astype(np.float64)
    gained = np.zeros((count, 0))
    while weight.shape[1] > 1:
        left, right = weight[:, ::2], weight[:, 1::2]
        both = left + right
        share = np.divide(right, both, out=np.zeros_like(both), where=both > 0)
        apart = mean[:, 1::2] - mean[:, ::2]
        gained = np.concatenate([left * share * (apart**2).sum(axis=2), gained], axis=1)
        mean = mean[:, ::2] + share[..., None] * apart
        weight = both
    return np.bincount(trees.feature.ravel(), gained.ravel(), minlength=x.shape[1])
