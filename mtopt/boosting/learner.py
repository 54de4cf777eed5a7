"""R-MTGB: robust multi-task gradient boosting, in three blocks."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from mtopt.boosting import losses
from mtopt.boosting.blocks import Options, fit_blocks
from mtopt.boosting.ensemble import Ensemble, check_task, on_concrete
from mtopt.errors import UserError, expect, expect_one_of

THETA_GRADIENTS = ("sum", "mean")
STARTS = ("log_odds", "zero")
DEEPEST = 6
EXACT = "exact"
MOST_BINS = 255
LARGEST = 2**31 * 0.9  # candidate splits are numbered in int32, with some padding


def fit(
    features: Num[Array | np.ndarray, "N D"],
    targets: Num[Array | np.ndarray, " N"] | Num[Array | np.ndarray, "N O"],
    task: Int[Array | np.ndarray, " N"],
    *,
    num_tasks: int,
    num_shared: int,
    num_partition: int,
    num_task_specific: int,
    learning_rate: Any,
    num_classes: int | None = None,
    max_depth: int = 1,
    max_bins: int | str | None = None,
    theta: Any = None,
    theta_gradient: str = "sum",
    theta_learning_rate: Any = None,
    start: str = "log_odds",
    weights: Num[Array | np.ndarray, " N"] | None = None,
    subsample: float | int = 1.0,
    validation: Bool[Array | np.ndarray, " N"] | None = None,
    patience: int | None = None,
    key: Any = None,
) -> Ensemble:
    r"""Boosts shared trees, then outliers apart from the rest, then every task alone.

    .. math::
       p_t(x) = b_t + F_{shared}(x) + (1 - \sigma(\theta_t)) F_{non}(x)
                + \sigma(\theta_t) F_{out}(x) + F_t(x)

    All F start at 0; b_t is where scores start. With r the negative gradient of the
    loss at p:

    - block 1: a tree fitted to r on the rows of all tasks goes to F_shared;
    - block 2: one fitted to sigma(theta) r goes to F_out and one fitted to
      (1 - sigma(theta)) r to F_non, and

      .. math::
         \theta_t \leftarrow \theta_t + \eta \sum_{i \in t}
             \langle r_i, F_{out}(x_i) - F_{non}(x_i) \rangle
             \sigma(\theta_t) (1 - \sigma(\theta_t)),

      all three from the same old state;
    - block 3: for every task, a tree fitted to r on its rows goes to F_t.

    Plain multi-task boosting is ``num_partition=0``; pooled boosting has block 1 alone,
    with :func:`append_task` the task as a feature; single-task boosting has block 3
    alone. Which of the two groups is called the outliers is a matter of the initial
    theta: with -theta both change places.

    The whole fit is one compiled program whose cost is linear in rows, features and
    iterations, whatever the number of tasks. Of exact trees a level of splits below the
    first, for which rows are sorted once, costs several times the first; of trees by
    histograms all cost about the same, less than that first one. It can be jitted, and
    vmapped over ``theta``, ``key``, ``learning_rate``, ``weights`` and data of equal
    shape; what is traced is not checked.

    Args:
      features: one row a sample. They are compared in float32. NaN, and minus
        infinity with it, counts as below every number, here and in predictions, so
        that it always goes left. A category is one-hot columns, as in the paper.
      targets: numbers, vectors of O numbers, or with ``num_classes`` classes in
        0..num_classes-1.
      task: of every row, in 0..num_tasks-1.
      num_tasks: T, at least 1.
      num_shared: iterations of block 1.
      num_partition: iterations of block 2.
      num_task_specific: iterations of block 3.
      learning_rate: nu, above 0, what every tree is multiplied by.
      num_classes: None for regression by squared error; 2 for one logit, more for a
        softmax.
      max_depth: levels of splits, 1 to 6. 1, the paper's, gives stumps.
      max_bins: the numbers that a feature is told apart in, 2 to 255, where rows are
        divided by histograms: its values where there are no more, so that nothing is
        lost, or else shares of about equal weight of the rows that train. A missing
        value is apart from all of them. ``"exact"`` tries every split between two
        values. None is 255, and exact for stumps, as published.
      theta: where theta starts, ``[T]``; None draws 0.1 N(0, 1). Equal values are a
        saddle that theta never leaves.
      theta_gradient: ``"sum"`` over a task's rows, as above and in the released code;
        where tasks are large or targets are not standardised its steps are so long
        that theta saturates, or swings and amplifies rounding. ``"mean"`` divides by
        the weight of the task's rows.
      theta_learning_rate: eta; None is ``learning_rate``.
      start: b of a classifier: ``"log_odds"``, those of each task's training rows (of
        more than two classes the logarithms of their shares), so that probabilities of
        a rare class begin at its base rate; ``"zero"``, as the released code, whose
        trees have to find the base rate first. A regression starts at 0.
      weights: of the rows, at least 0; None is 1 for all.
      subsample: the probability, in (0, 1], with which a row takes part in an
        iteration, in its trees and in its step of theta. Drawn afresh each time.
      validation: rows that train nothing, and by whose mean loss ``patience`` goes.
      patience: a block ends after so many iterations without a lower validation loss
        and falls back to its best one, which may be none of its own; the next block
        starts there. None runs all iterations.
      key: of what is drawn, theta and subsamples.

    Returns:
      The ensemble, for :func:`predict`.

    Raises:
      UserError: for an option, shape or class out of range, a task out of range or
        without a row to train on, or a missing key.

    Example:
      Two tasks agree and one does not:

      >>> x = jnp.linspace(-1, 1, 60)[:, None]
      >>> task = jnp.arange(60) % 3
      >>> y = jnp.where(task == 2, -1., 1.) * jnp.sign(x[:, 0])
      >>> ensemble = fit(x, y, task, num_tasks=3, num_shared=0, num_partition=20,
      ...                num_task_specific=0, learning_rate=0.5,
      ...                theta=jnp.array([-.1, .1, .1]))
      >>> [round(float(s)) for s in jax.nn.sigmoid(ensemble.theta)]
      [0, 0, 1]

    References:
      Emami et al., Robust-Multi-Task Gradient Boosting, 2025, arXiv 2507.11411.

    Differences from the released code:
      With ``start="zero"`` its arithmetic is the same: stumps whatever its
      ``max_depth`` says, splits at midpoints of neighbouring float32 values, leaves
      that are means of residuals, two classes as two logits of opposite sign. Where two
      features gain the same it picks one at random, this the lowest. Its subsamples
      accumulate until none is left, its early stopping never stops, and it predicts a
      subset of tasks by other tasks' trees; its theta is drawn from NumPy's global
      generator. The start at log-odds, deeper trees, weights, several outputs and the
      mean in theta's gradient are additions.
    """
    features, targets = jnp.asarray(features), jnp.asarray(targets)
    rows, num_features = features.shape
    sized = rows >= 1 and rows * num_features < LARGEST
    expect(sized, "features.shape", features.shape, f"1 to {LARGEST:.0e} entries")
    for name, array in {
        "targets": targets,
        "task": task,
        "weights": weights,
        "validation": validation,
    }.items():
        if array is not None:
            expect(len(array) == rows, f"len({name})", len(array), f"{rows} rows")
    counts = {
        "num_shared": num_shared,
        "num_partition": num_partition,
        "num_task_specific": num_task_specific,
    }
    for name, count in counts.items():
        expect(count >= 0, name, count, "a number of iterations, at least 0")
    expect(num_tasks >= 1, "num_tasks", num_tasks, "at least 1")
    expect(1 <= max_depth <= DEEPEST, "max_depth", max_depth, f"1 to {DEEPEST}")
    expect(0 < subsample <= 1, "subsample", subsample, "a number in (0, 1]")
    expect_one_of("theta_gradient", theta_gradient, THETA_GRADIENTS)
    expect_one_of("start", start, STARTS)
    if (patience is None) != (validation is None):
        raise UserError("patience and validation go together: give both or neither")
    expect(patience is None or patience >= 1, "patience", patience, "at least 1")
    if num_classes is None:
        expect(targets.ndim in (1, 2), "targets.ndim", targets.ndim, "1 or 2")
        on_concrete(_check_numbers, targets)
    else:
        expect(num_classes >= 2, "num_classes", num_classes, "at least 2")
        expect(targets.ndim == 1, "targets.ndim", targets.ndim, "1, a class a row")
        on_concrete(functools.partial(_check_classes, num_classes), targets)
    if theta_learning_rate is None:
        theta_learning_rate = learning_rate
    on_concrete(_check_rates, learning_rate, theta_learning_rate)
    check_task(task, num_tasks)
    on_concrete(functools.partial(_check_rows, num_tasks), task, weights, validation)
    if key is None:
        if subsample < 1 or (theta is None and num_partition):
            raise UserError(
                "theta or subsamples are drawn: expected key=jax.random.key(0)"
            )
        key = jax.random.key(0)
    theta_key, key = jax.random.split(key)
    single = targets.ndim == 1
    targets = losses.encode(targets, num_classes)
    if theta is None:
        theta = 0.1 * jax.random.normal(theta_key, (num_tasks,), targets.dtype)
    theta = jnp.asarray(theta, targets.dtype)
    expect(theta.shape == (num_tasks,), "theta.shape", theta.shape, f"({num_tasks},)")
    task, weights = jnp.asarray(task, jnp.int32), _or_ones(weights, rows, targets.dtype)
    validation = None if validation is None else jnp.asarray(validation)
    scores = jnp.zeros((num_tasks + 1, len(targets)), targets.dtype)
    if num_classes is not None and start == "log_odds":
        trained = weights if validation is None else weights * ~validation
        scores = losses.log_odds(targets, task, trained, num_tasks, num_classes)
    ensemble = fit_blocks(
        features,
        targets,
        task,
        weights,
        validation,
        scores,
        theta,
        jnp.asarray(learning_rate, targets.dtype),
        jnp.asarray(theta_learning_rate, targets.dtype),
        key,
        Options(
            num_tasks,
            num_shared,
            num_partition,
            num_task_specific,
            num_classes,
            max_depth,
            _bins(max_bins, max_depth, rows),
            theta_gradient,
            float(subsample),
            patience,
        ),
    )
    return Ensemble(
        **ensemble,
        num_classes=num_classes,
        single=single,
        num_features=num_features,
    )


def append_task(
    features: Num[Array | np.ndarray, "N D"],
    task: Int[Array | np.ndarray, " N"],
    num_tasks: int,
) -> Float[Array, "N columns"]:
    """The features and one column a task, 1 on its rows: the task as a feature.

    Example:
      >>> append_task(jnp.array([[5.], [6.]]), jnp.array([1, 0]), 2).tolist()
      [[5.0, 0.0, 1.0], [6.0, 1.0, 0.0]]
    """
    check_task(task, num_tasks)
    columns = jax.nn.one_hot(jnp.asarray(task), num_tasks, dtype=jnp.float32)
    return jnp.concatenate([jnp.asarray(features, jnp.float32), columns], axis=1)


def _bins(max_bins: int | str | None, max_depth: int, rows: int) -> int | None:
    """The number of bins, or None where splits are exact."""
    right = max_bins in (None, EXACT) or max_bins in range(2, MOST_BINS + 1)
    expect(right, "max_bins", max_bins, f"2 to {MOST_BINS}, {EXACT!r} or None")
    if max_bins is None:
        max_bins = EXACT if max_depth == 1 else MOST_BINS
    # With a bin for every row nothing is lost.
    return None if isinstance(max_bins, str) or rows <= max_bins else int(max_bins)


def _or_ones(weights: Any, rows: int, dtype: jnp.dtype) -> Float[Array, " N"]:
    return jnp.ones(rows, dtype) if weights is None else jnp.asarray(weights, dtype)


def _check_rates(learning_rate: np.ndarray, theta_learning_rate: np.ndarray) -> None:
    for name, rate, least in (
        ("learning_rate", learning_rate, "above 0"),
        ("theta_learning_rate", theta_learning_rate, "at least 0"),
    ):
        good = np.isfinite(rate) & ((rate > 0) if least == "above 0" else (rate >= 0))
        expect(bool(good.all()), name, rate.tolist(), f"a number {least}")


def _check_numbers(targets: np.ndarray) -> None:
    if not np.isfinite(targets).all():
        raise UserError("targets has NaN or infinity: give numbers, or leave rows out")


def _check_classes(num_classes: int, targets: np.ndarray) -> None:
    whole = np.issubdtype(targets.dtype, np.integer) or targets.dtype == bool
    if not whole or targets.min() < 0 or targets.max() >= num_classes:
        raise UserError(
            f"targets are {targets.dtype} in {targets.min()}..{targets.max()}: "
            f"expected classes as integers in 0..{num_classes - 1}"
        )


def _check_rows(
    num_tasks: int,
    task: np.ndarray,
    weights: np.ndarray | None,
    validation: np.ndarray | None,
) -> None:
    weights = np.ones(len(task)) if weights is None else weights
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise UserError("weights has negative or infinite entries: expected 0 or more")
    used = weights > 0
    if validation is not None:
        if not (used & validation).any():
            raise UserError("validation has no row: expected some rows to be held out")
        used = used & ~validation
    present = np.bincount(task[used], minlength=num_tasks) > 0
    if not present.all():
        raise UserError(
            f"task {np.flatnonzero(~present).tolist()} has no row to train on: "
            "expected a row of every task; number the tasks that there are"
        )
