"""R-MTGB: robust multi-task gradient boosting, in three blocks."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from mtopt.boosting import losses
from mtopt.boosting.columns import (
    arrange,
    block_length,
    canonical,
    segment_order,
    take,
    value_order,
)
from mtopt.boosting.ensemble import Ensemble, check_task, on_concrete
from mtopt.boosting.trees import Cover, Rows, Trees, cover, grow
from mtopt.errors import UserError, expect, expect_one_of
from mtopt.linalg import divide_or_zero

THETA_GRADIENTS = ("sum", "mean")
DEEPEST = 6
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
    theta: Any = None,
    theta_gradient: str = "sum",
    theta_learning_rate: Any = None,
    weights: Num[Array | np.ndarray, " N"] | None = None,
    subsample: float | int = 1.0,
    validation: Bool[Array | np.ndarray, " N"] | None = None,
    patience: int | None = None,
    key: Any = None,
) -> Ensemble:
    r"""Boosts shared trees, then outliers apart from the rest, then every task alone.

    .. math::
       p_t(x) = F_{shared}(x) + (1 - \sigma(\theta_t)) F_{non}(x)
                + \sigma(\theta_t) F_{out}(x) + F_t(x)

    All F start at 0, and with r the negative gradient of the loss at p:

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
    iterations, whatever the number of tasks; a level of splits below the first, for
    which rows are sorted once, costs several times the first. It can be jitted, and
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
      theta: where theta starts, ``[T]``; None draws 0.1 N(0, 1). Equal values are a
        saddle that theta never leaves.
      theta_gradient: ``"sum"`` over a task's rows, as above and in the released code;
        where tasks are large or targets are not standardised its steps are so long
        that theta saturates, or swings and amplifies rounding. ``"mean"`` divides by
        the weight of the task's rows.
      theta_learning_rate: eta; None is ``learning_rate``.
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
      Its arithmetic is the same: stumps whatever its ``max_depth`` says, splits at
      midpoints of neighbouring float32 values, leaves that are means of residuals, two
      classes as two logits of opposite sign. Where two features gain the same it picks
      one at random, this the lowest. Its subsamples accumulate until none is left, its
      early stopping never stops, and it predicts a subset of tasks by other tasks'
      trees; its theta is drawn from NumPy's global generator. Deeper trees, weights,
      several outputs and the mean in theta's gradient are additions.
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
    ensemble = _fit(
        features,
        targets,
        jnp.asarray(task, jnp.int32),
        _or_ones(weights, rows, targets.dtype),
        None if validation is None else jnp.asarray(validation),
        theta,
        jnp.asarray(learning_rate, targets.dtype),
        jnp.asarray(theta_learning_rate, targets.dtype),
        key,
        _Options(
            num_tasks,
            num_shared,
            num_partition,
            num_task_specific,
            num_classes,
            max_depth,
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


class _Options(NamedTuple):
    """What the compiled program depends on."""

    num_tasks: int
    num_shared: int
    num_partition: int
    num_task_specific: int
    num_classes: int | None
    max_depth: int
    theta_gradient: str
    subsample: float
    patience: int | None


class _State(NamedTuple):
    """What boosting has come to on all rows."""

    common: Float[Array, "K N"]  # F_shared, and later F_t
    out: Float[Array, "K N"]
    non: Float[Array, "K N"]
    theta: Float[Array, " T"]


class _Watch(NamedTuple):
    """Early stopping: the best state so far."""

    best: _State
    lowest: Float[Array, ""]
    kept: Int[Array, ""]
    waited: Int[Array, ""]


@functools.partial(jax.jit, static_argnames="options")
def _fit(
    features, targets, task, weights, validation, theta, rate, theta_rate, key, options
):
    rows, count = features.shape[0], options.num_tasks
    padding = -rows % block_length(rows)
    columns, targets, task, weights = (
        jnp.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, padding)])
        for array in (canonical(features), targets, task, weights)
    )
    held_out = jnp.zeros_like(weights)
    if validation is not None:
        held_out = weights * jnp.pad(validation, (0, padding))
        weights = weights - held_out
    size = divide_or_zero(jnp.ones_like(theta), _per_task(weights, task, count))
    factor = losses.step_factor(options.num_classes)

    def score(state):
        gate = take(jax.nn.sigmoid(state.theta), task)[None]
        other = take(jax.nn.sigmoid(-state.theta), task)[None]
        return state.common + other * state.non + gate * state.out, gate, other

    def residual(state):
        scores, gate, other = score(state)
        return losses.residual(targets, scores, options.num_classes), gate, other

    def loss(state):
        each = losses.loss(targets, score(state)[0], options.num_classes)
        return divide_or_zero((held_out * each).sum(), held_out.sum())

    def tree_on(rows: Rows, whole: Cover):
        """Grows a tree on this iteration's rows, multiplied by the learning rate."""

        def grown(weights, targets):
            covered = cover(rows.sorted, weights) if options.subsample < 1 else whole
            trees, said = grow(rows, weights, targets, covered, options.max_depth)
            step = factor * rate
            return Trees(
                trees.feature, trees.threshold, step * trees.value
            ), step * said

        return grown

    def drawn(key):
        if options.subsample == 1:
            return weights
        return weights * jax.random.bernoulli(key, options.subsample, weights.shape)

    def additive(grown):
        def step(state, key):
            trees, said = grown(drawn(key), residual(state)[0])
            return state._replace(common=state.common + said), trees

        return step

    def partition(grown):
        def step(state, key):
            weights = drawn(key)
            r, gate, other = residual(state)
            scaled = jnp.stack([gate * r, other * r])
            trees, said = lax.map(functools.partial(grown, weights), scaled)
            along = (r * (state.out - state.non)).sum(axis=0)
            gradient = -_per_task(weights * along, task, count)
            gradient *= jax.nn.sigmoid(state.theta) * jax.nn.sigmoid(-state.theta)
            if options.theta_gradient == "mean":
                gradient *= size
            new = _State(
                common=state.common,
                out=state.out + said[0],
                non=state.non + said[1],
                theta=state.theta - theta_rate * gradient,
            )
            outlier, non_outlier = (
                jax.tree.map(lambda leaf, i=i: leaf[i], trees) for i in (0, 1)
            )
            return new, (outlier, non_outlier, new.theta)

        return step

    zeros = jnp.zeros_like(targets)
    state = _State(zeros, zeros, zeros, theta)
    keys = jax.random.split(key, 3)
    everything = jnp.zeros_like(task)
    order = value_order(columns)
    pooled = Rows(columns, order, everything, arrange(columns, order, everything, 1))
    pooled_tree = tree_on(pooled, cover(pooled.sorted, weights))
    order = segment_order(task, count, order)
    alone = Rows(columns, order, task, arrange(columns, order, task, count))
    alone_tree = tree_on(alone, cover(alone.sorted, weights))

    boost = functools.partial(_boost, loss=loss, patience=options.patience)
    state, shared, n1 = boost(additive(pooled_tree), state, options.num_shared, keys[0])
    state, parts, n2 = boost(
        partition(pooled_tree), state, options.num_partition, keys[1]
    )
    outlier, non_outlier, path = parts
    # A dropped iteration has a theta of zeros, like its trees: it keeps the last.
    number = jnp.arange(1, options.num_partition + 1)[:, None]
    path = jnp.where(number <= n2, path, state.theta[None])
    state, specific, n3 = boost(
        additive(alone_tree), state, options.num_task_specific, keys[2]
    )
    return {
        "shared": shared,
        "outlier": outlier,
        "non_outlier": non_outlier,
        "task_specific": specific,
        "theta_path": jnp.concatenate([theta[None], path]),
        "kept": jnp.stack([n1, n2, n3]),
    }


def _boost(step, state, iterations, key, *, loss, patience):
    """The iterations of one block: the state after it, what each made, how many count.

    With patience, iterations after the end of the block are skipped, and what those
    after the best one made is set to zero.
    """
    keys = jax.random.split(key, iterations)
    if iterations == 0:
        _, made = jax.eval_shape(step, state, key)
        empty = jax.tree.map(lambda a: jnp.zeros((0, *a.shape), a.dtype), made)
        return state, empty, jnp.int32(0)
    if patience is None:
        state, made = lax.scan(step, state, keys)
        return state, made, jnp.int32(iterations)
    _, shapes = jax.eval_shape(step, state, key)

    def watched(carry, at):
        number, key = at

        def advance(carry):
            state, watch = carry
            state, made = step(state, key)
            now = loss(state)
            better = now < watch.lowest
            fresh = _Watch(state, now, number, jnp.int32(0))
            stale = watch._replace(waited=watch.waited + 1)
            chosen = jax.tree.map(lambda a, b: jnp.where(better, a, b), fresh, stale)
            return (state, chosen), made

        def rest(carry):
            return carry, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)

        return lax.cond(carry[1].waited < patience, advance, rest, carry)

    watch = _Watch(state, loss(state), jnp.int32(0), jnp.int32(0))
    numbers = jnp.arange(1, iterations + 1, dtype=jnp.int32)
    (_, watch), made = lax.scan(watched, (state, watch), (numbers, keys))

    def truncated(leaf):
        counts = (numbers <= watch.kept).reshape(-1, *[1] * (leaf.ndim - 1))
        return jnp.where(counts, leaf, 0)

    return watch.best, jax.tree.map(truncated, made), watch.kept


def _per_task(values, task, count):
    return jax.ops.segment_sum(values, task, count)


def _or_ones(weights, rows, dtype):
    return jnp.ones(rows, dtype) if weights is None else jnp.asarray(weights, dtype)


def _check_rates(learning_rate, theta_learning_rate):
    for name, rate, least in (
        ("learning_rate", learning_rate, "above 0"),
        ("theta_learning_rate", theta_learning_rate, "at least 0"),
    ):
        good = np.isfinite(rate) & ((rate > 0) if least == "above 0" else (rate >= 0))
        expect(bool(good.all()), name, rate.tolist(), f"a number {least}")


def _check_numbers(targets):
    if not np.isfinite(targets).all():
        raise UserError("targets has NaN or infinity: give numbers, or leave rows out")


def _check_classes(num_classes, targets):
    whole = np.issubdtype(targets.dtype, np.integer) or targets.dtype == bool
    if not whole or targets.min() < 0 or targets.max() >= num_classes:
        raise UserError(
            f"targets are {targets.dtype} in {targets.min()}..{targets.max()}: "
            f"expected classes as integers in 0..{num_classes - 1}"
        )


def _check_rows(num_tasks, task, weights, validation):
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
