"""Evaluation of frozen node embeddings on four downstream tasks.

As in ParetoGNN (Ju et al., 2022, arXiv 2210.02016); rows are scaled to unit length
first. NumPy in, numbers out.
"""

import functools
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy.stats import rankdata

from mtopt.data.graphs.nodes import LinkSplit
from mtopt.errors import UserError

HITS = 20


def unit_rows(z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Every row divided by its length; a row of zeros stays one."""
    lengths = np.linalg.norm(z, axis=1, keepdims=True)
    return z / np.where(lengths > 0, lengths, 1)


def probe_accuracy(
    z: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    *,
    splits: int = 10,
    exponents: Sequence[int] = tuple(range(-10, 11)),
    folds: int = 5,
    train_share: float = 0.2,
) -> float:
    """The test accuracy of one-vs-rest logistic regression on frozen embeddings.

    For each of several random splits, C is chosen on the training nodes alone, by
    shuffled halves of them, and the classifier then trained on all of them.

    Args:
      z: embeddings.
      labels: classes; nodes with a negative one take no part.
      splits: how many; their seeds are 1, 2, ...
      exponents: C is a power of two with one of these.
      folds: shuffled halves a C is judged on.
      train_share: of the labelled nodes.

    Returns:
      The mean accuracy over splits, in [0, 1].

    Raises:
      UserError: for embeddings that are not finite.

    Example:
      >>> z, y = np.repeat(np.eye(2), 30, axis=0), np.repeat([0, 1], 30)
      >>> probe_accuracy(z, y, splits=2, exponents=(0,))
      1.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import ShuffleSplit
    from sklearn.multiclass import OneVsRestClassifier

    def fitted(c: float, x: np.ndarray, y: np.ndarray) -> Any:
        one = LogisticRegression(C=c, solver="liblinear")
        with warnings.catch_warnings():
            # Small parts may lack a class: its column is then constant.
            warnings.simplefilter("ignore")
            return OneVsRestClassifier(one).fit(x, y)

    x, y = _checked(z)[labels >= 0], labels[labels >= 0]
    grid = [2.0**e for e in exponents]
    accuracies = []
    for r in range(splits):
        outer = ShuffleSplit(1, train_size=train_share, random_state=1 + r)
        train, test = next(outer.split(x))
        best = grid[0]
        if len(grid) > 1:
            inner = ShuffleSplit(folds, test_size=0.5, random_state=r)
            halves = [(train[a], train[b]) for a, b in inner.split(train)]
            scores = [
                sum(fitted(c, x[a], y[a]).score(x[b], y[b]) for a, b in halves)
                for c in grid
            ]
            best = grid[int(np.argmax(scores))]
        accuracies.append(fitted(best, x[train], y[train]).score(x[test], y[test]))
    return float(np.mean(accuracies))


def clustering_nmi(
    z: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"], *, repeats: int = 5
) -> float:
    """How far k-means finds the classes: normalised mutual information.

    It looks for as many clusters as there are classes, whatever their numbers.

    Args:
      z: embeddings.
      labels: classes; nodes with a negative one take no part.
      repeats: starts of k-means, their seeds 0, 1, ...; the mean counts.

    Returns:
      A number in [0, 1]; 0 for clusters that say nothing of the classes.

    Example:
      >>> z, y = np.repeat(np.eye(2), 9, axis=0), np.repeat([1, 0], 9)
      >>> round(clustering_nmi(z, y), 6)
      1.0
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import v_measure_score

    x, y = _checked(z)[labels >= 0], labels[labels >= 0]
    parts = len(np.unique(y))
    found = []
    for seed in range(repeats):
        means = KMeans(parts, n_init=10, random_state=seed)  # pyright: ignore
        found.append(v_measure_score(y, means.fit_predict(x)))
    return float(np.mean(found))


def link_prediction(
    z: Float[np.ndarray, "N D"],
    split: LinkSplit,
    *,
    epochs: int = 200,
    repeats: int = 2,
) -> tuple[float, float]:
    """AUC and Hits@20 of a linear probe on products of embeddings.

    The logit of a pair is ``w . (z_u * z_v) + b``; Adam at 0.01 with weight decay 0.01
    in the gradient, all pairs at once, for 200 epochs or until the AUC on validation
    pairs has not grown for 50. The best epoch counts.

    Args:
      z: embeddings of a graph without the validation and test edges.
      split: the pairs.
      epochs: the most there are.
      repeats: starts of the probe; the means count.

    Returns:
      The AUC, and the share of test edges that score above all but 19 of the pairs
      without an edge; both in [0, 1].

    Differences from the released code:
      It takes batches of 10,240 and drops the last one, so that the probe of a smaller
      graph is never trained.
    """
    rows = _checked(z).astype(np.float32)

    def products(pairs: np.ndarray) -> Float[Array, "P D"]:
        return jnp.asarray(rows[pairs[:, 0]] * rows[pairs[:, 1]])

    parts = [products(p) for p in (split.train, split.valid, split.test)]
    valid_edges, test_edges = len(split.valid) // 2, len(split.test) // 2
    found = []
    for seed in range(repeats):
        valid, test = _probe_links(jax.random.key(seed), *parts, epochs)
        chosen, areas = 0, auc(np.asarray(valid), valid_edges)
        for t, area in enumerate(areas):
            if area > areas[chosen]:
                chosen = t
            if t - chosen >= 50:
                break
        scores = np.asarray(test[chosen])
        found.append((float(auc(scores, test_edges)), hits(scores, test_edges)))
    area, top = np.mean(found, axis=0)
    return float(area), float(top)


def auc(scores: Float[np.ndarray, "*lead n"], edges: int) -> Float[np.ndarray, "*lead"]:
    """The area under the ROC curve of scores whose first ``edges`` are positive.

    From the ranks of all, since hundreds of epochs are judged together.

    Example:
      >>> auc(np.array([[3., 1., 2., 0.], [3., 2., 1., 1.]]), 2).tolist()
      [0.75, 1.0]
    """
    ranks = rankdata(scores, axis=-1)[..., :edges].mean(axis=-1)
    return np.asarray((ranks - (edges + 1) / 2) / (scores.shape[-1] - edges))


def hits(scores: Float[np.ndarray, " n"], edges: int, *, k: int = HITS) -> float:
    """The share of the first ``edges`` scores above the k-th best of the others.

    Example:
      >>> hits(np.array([3., 1., 2., 0.]), 2, k=1)
      0.5
    """
    others = np.sort(scores[edges:])[::-1]
    return float((scores[:edges] > others[min(k, len(others)) - 1]).mean())


@functools.partial(jax.jit, static_argnums=4)
def _probe_links(
    key: PRNGKeyArray,
    train: Float[Array, "P D"],
    valid: Float[Array, "V D"],
    test: Float[Array, "T D"],
    epochs: int,
) -> tuple[Float[Array, "E V"], Float[Array, "E T"]]:
    """The logits of validation and test pairs after every epoch."""
    count = train.shape[0] // 2
    targets = (jnp.arange(2 * count) < count).astype(jnp.float32)
    bound = train.shape[1] ** -0.5
    draw = jax.random.uniform(key, (train.shape[1] + 1,), jnp.float32, -bound, bound)
    tx = optax.chain(optax.add_decayed_weights(0.01), optax.adam(0.01))

    def logits(weights: Any, x: Float[Array, "P D"]) -> Float[Array, " P"]:
        return x @ weights[:-1] + weights[-1]

    def loss(weights: Any) -> Float[Array, ""]:
        losses = optax.sigmoid_binary_cross_entropy(logits(weights, train), targets)
        return losses.mean()

    def epoch(
        carry: tuple[Any, optax.OptState], _: None
    ) -> tuple[tuple[Any, optax.OptState], tuple[Array, Array]]:
        weights, state = carry
        updates, state = tx.update(jax.grad(loss)(weights), state, weights)
        weights = optax.apply_updates(weights, updates)
        return (weights, state), (logits(weights, valid), logits(weights, test))

    return jax.lax.scan(epoch, (draw, tx.init(draw)), None, length=epochs)[1]


def _checked(z: np.ndarray) -> np.ndarray:
    if not np.isfinite(z).all():
        raise UserError("the embeddings hold NaN or infinity: lower the learning rate")
    return unit_rows(np.asarray(z, np.float64))
