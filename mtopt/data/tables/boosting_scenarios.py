"""The synthetic tasks of R-MTGB: common functions, own functions, outlier tasks."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from mtopt.errors import expect, expect_one_of

KINDS = ("regression", "classification")
FREQUENCIES = 500
AT_ONCE = 100  # rows whose cosines fit a cache: ten times faster than all
LEAST_SHARE = 0.1  # of the rarer class, in every task


class Rows(NamedTuple):
    """Labelled rows of all tasks, sorted by task."""

    features: Float[np.ndarray, "N D"]
    targets: Num[np.ndarray, " N"]
    task: Int[np.ndarray, " N"]


class Scenario(NamedTuple):
    """One draw.

    Attributes:
      train: the rows to fit.
      test: those to predict.
      outliers: the tasks planted as outliers, the last ones; empty but in scenario 4.
    """

    train: Rows
    test: Rows
    outliers: tuple[int, ...]


def scenario(
    number: int,
    seed: int,
    *,
    kind: str = "regression",
    num_tasks: int = 10,
    num_outliers: int = 2,
    num_features: int = 5,
    num_train: int = 300,
    num_test: int = 1000,
) -> Scenario:
    r"""Draws the tasks of one of the four scenarios, without noise.

    Every function is a sum of 500 random Fourier features, close to a draw of a
    Gaussian process with kernel :math:`\exp(-\|x - x'\|^2 / 2 \ell^2)`, :math:`\ell =
    D / 4`:

    .. math::
       f(x) = \sum_{j=1}^{500} a_j \sqrt{2 / 500} \cos(w_j^\top x / \ell + b_j)

    and x is uniform in [-1, 1]^D. The tasks of scenario 1 are one function c, those of
    2 are independent functions, those of 3 are 0.9 c + 0.1 s_t, and in 4 so are all but
    the last tasks, the outliers, which have another common function in place of c.

    Args:
      number: 1 to 4.
      seed: of the draw.
      kind: ``"regression"``, or ``"classification"`` by the sign: classes 0 and 1,
        drawn again until each is a tenth of every task at least.
      num_tasks: T, at least 1.
      num_outliers: of scenario 4, less than T.
      num_features: D.
      num_train: rows of each task to fit.
      num_test: rows of each task to predict.

    Returns:
      The draw, float32.

    Raises:
      UserError: for an unknown scenario or kind, or too many outliers.

    Example:
      >>> draw = scenario(4, 0)
      >>> draw.train.features.shape, draw.outliers
      ((3000, 5), (8, 9))

    References:
      Emami et al., Robust-Multi-Task Gradient Boosting, 2025, arXiv 2507.11411.

    Differences from released code:
      The same distributions, another generator: not its numbers.
    """
    expect(number in (1, 2, 3, 4), "number", number, "a scenario, 1 to 4")
    expect_one_of("kind", kind, KINDS)
    fits = 0 <= num_outliers < num_tasks
    expect(fits, "num_outliers", num_outliers, f"0 to {num_tasks - 1}")
    rng = np.random.default_rng(seed)
    rows = num_train + num_test
    outliers = tuple(range(num_tasks - num_outliers, num_tasks)) if number == 4 else ()
    while True:
        common, other = (_function(rng, num_features) for _ in range(2))
        features = 2 * rng.random((num_tasks, rows, num_features), np.float32) - 1
        targets = np.empty((num_tasks, rows), np.float32)
        for task, x in enumerate(features):
            shared, own = {1: (1, 0), 2: (0, 1), 3: (0.9, 0.1), 4: (0.9, 0.1)}[number]
            base = other if task in outliers else common
            targets[task] = shared * base(x) + own * _function(rng, num_features)(x)
        if kind == "regression":
            break
        share = (targets > 0).mean(axis=1)
        if (np.minimum(share, 1 - share) >= LEAST_SHARE).all():
            targets = targets > 0
            break
    dtype = np.float32 if kind == "regression" else np.int32

    def part(chosen: slice) -> Rows:
        x, y = features[:, chosen], targets[:, chosen]
        task = np.repeat(np.arange(num_tasks, dtype=np.int32), y.shape[1])
        x = x.reshape(-1, num_features)
        return Rows(x, y.reshape(-1).astype(dtype), task)

    return Scenario(part(slice(num_train)), part(slice(num_train, None)), outliers)


def _function(
    rng: np.random.Generator, num_features: int
) -> Callable[[np.ndarray], np.ndarray]:
    """A random function of rows ``[N, D]``."""
    shape, single = (num_features, FREQUENCIES), np.float32
    w = rng.standard_normal(shape, single) / single(num_features / 4)
    b = 2 * single(np.pi) * rng.random(FREQUENCIES, single)
    a = rng.standard_normal(FREQUENCIES, single) * single((2 / FREQUENCIES) ** 0.5)

    def evaluate(x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
        values = np.empty(len(x), single)
        for begin in range(0, len(x), AT_ONCE):
            some = slice(begin, begin + AT_ONCE)
            phase = x[some] @ w
            phase += b
            values[some] = np.cos(phase, out=phase) @ a
        return values

    return evaluate
