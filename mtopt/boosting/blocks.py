"""The three blocks of boosting as one compiled program, with early stopping."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from mtopt.boosting import losses
from mtopt.boosting.binned_rows import BinnedRows
from mtopt.boosting.bins import Bins, bins_of
from mtopt.boosting.columns import block_length, canonical, take
from mtopt.boosting.sorted_rows import SortedRows
from mtopt.boosting.trees import Rows, Trees, grow
from mtopt.linalg import divide_or_zero


class Options(NamedTuple):
    """What the compiled program depends on; see :func:`mtopt.boosting.fit`."""

    num_tasks: int
    num_shared: int
    num_partition: int
    num_task_specific: int
    num_classes: int | None
    max_depth: int
    max_bins: int | None  # None is exact
    theta_gradient: str
    subsample: float
    patience: int | None


class _State(NamedTuple):
    """What boosting has come to on all rows."""

    common: Float[Array, "K N"]  # the start and F_shared, and later F_t
    out: Float[Array, "K N"]
    non: Float[Array, "K N"]
    theta: Float[Array, " T"]


class _Watch(NamedTuple):
    """Early stopping: the best state so far."""

    best: _State
    lowest: Float[Array, ""]
    kept: Int[Array, ""]
    waited: Int[Array, ""]


Step = Callable[[_State, PRNGKeyArray], tuple[_State, Any]]  # an iteration
Grow = Callable[[Array, Array], tuple[Trees, Array]]  # weights, targets


@functools.partial(jax.jit, static_argnames="options")
def fit_blocks(
    features: Num[Array, "N D"],
    targets: Float[Array, "K N"],
    task: Int[Array, " N"],
    weights: Float[Array, " N"],
    validation: Bool[Array, " N"] | None,
    start: Float[Array, "S K"],
    theta: Float[Array, " T"],
    rate: Float[Array, ""],
    theta_rate: Float[Array, ""],
    key: PRNGKeyArray,
    options: Options,
) -> dict[str, Any]:
    """Fits the shared trees, the two of the partition, and those of every task.

    Args:
      features: of all rows.
      targets: one row an output.
      task: of every row, in 0..T-1.
      weights: of the rows.
      validation: the rows that are held out for early stopping.
      start: the scores before the first tree, ``[T + 1, K]``, of each task and last
        of all together.
      theta: the logits that block 2 starts from.
      rate: the learning rate of the trees.
      theta_rate: the learning rate of theta.
      key: for the subsamples.
      options: all that is static.

    Returns:
      The fields of an :class:`mtopt.boosting.Ensemble` that are arrays.
    """
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

    def score(
        state: _State,
    ) -> tuple[Float[Array, "K N"], Float[Array, "1 N"], Float[Array, "1 N"]]:
        gate = take(jax.nn.sigmoid(state.theta), task)[None]
        other = take(jax.nn.sigmoid(-state.theta), task)[None]
        return state.common + other * state.non + gate * state.out, gate, other

    def residual(
        state: _State,
    ) -> tuple[Float[Array, "K N"], Float[Array, "1 N"], Float[Array, "1 N"]]:
        scores, gate, other = score(state)
        return losses.residual(targets, scores, options.num_classes), gate, other

    def loss(state: _State) -> Float[Array, ""]:
        each = losses.loss(targets, score(state)[0], options.num_classes)
        return divide_or_zero((held_out * each).sum(), held_out.sum())

    bins = None
    if options.max_bins is not None:
        bins = bins_of(columns, weights, options.max_bins)

    def tree_on(segment: Int[Array, " N"], count: int) -> Grow:
        """Grows a tree a segment, multiplied by the learning rate."""
        whole = _rows(columns, segment, count, weights, bins, options.max_depth)

        def grown(
            weights: Float[Array, " N"], targets: Float[Array, "K N"]
        ) -> tuple[Trees, Float[Array, "K N"]]:
            rows = whole.weighted(weights) if options.subsample < 1 else whole
            trees, predicted = grow(rows, targets, options.max_depth)
            step = factor * rate
            return Trees(
                trees.feature, trees.threshold, step * trees.value
            ), step * predicted

        return grown

    def drawn(key: PRNGKeyArray) -> Float[Array, " N"]:
        if options.subsample == 1:
            return weights
        return weights * jax.random.bernoulli(key, options.subsample, weights.shape)

    def additive(grown: Grow) -> Step:
        def step(state: _State, key: PRNGKeyArray) -> tuple[_State, Trees]:
            trees, predicted = grown(drawn(key), residual(state)[0])
            return state._replace(common=state.common + predicted), trees

        return step

    def partition(grown: Grow) -> Step:
        def step(
            state: _State, key: PRNGKeyArray
        ) -> tuple[_State, tuple[Trees, Trees, Array]]:
            weights = drawn(key)
            r, gate, other = residual(state)
            scaled = jnp.stack([gate * r, other * r])
            trees, predicted = lax.map(functools.partial(grown, weights), scaled)
            along = (r * (state.out - state.non)).sum(axis=0)
            gradient = -_per_task(weights * along, task, count)
            gradient *= jax.nn.sigmoid(state.theta) * jax.nn.sigmoid(-state.theta)
            if options.theta_gradient == "mean":
                gradient *= size
            new = _State(
                common=state.common,
                out=state.out + predicted[0],
                non=state.non + predicted[1],
                theta=state.theta - theta_rate * gradient,
            )
            outlier, non_outlier = (
                jax.tree.map(lambda leaf, i=i: leaf[i], trees) for i in (0, 1)
            )
            return new, (outlier, non_outlier, new.theta)

        return step

    zeros = jnp.zeros_like(targets)
    state = _State(start[task].T, zeros, zeros, theta)
    keys = jax.random.split(key, 3)
    pooled_tree = tree_on(jnp.zeros_like(task), 1)
    alone_tree = tree_on(task, count)

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
        "start": start,
        "shared": shared,
        "outlier": outlier,
        "non_outlier": non_outlier,
        "task_specific": specific,
        "theta_path": jnp.concatenate([theta[None], path]),
        "kept": jnp.stack([n1, n2, n3]),
    }


def _rows(
    columns: Float[Array, "D N"],
    segment: Int[Array, " N"],
    count: int,
    weights: Float[Array, " N"],
    bins: Bins | None,
    depth: int,
) -> Rows:
    """The rows in the arrangement that costs least; None for bins is exact.

    Histograms of the last level have a sum for every node, column and bin, and sorted
    columns one for every row and column, whatever the nodes.
    """
    if bins is not None:
        sums = count * 2 ** (depth - 1) * bins.lowest.shape[1]
        if sums <= len(segment):
            return BinnedRows.of(columns, segment, count, weights, bins)
    return SortedRows.of(columns, segment, count, weights, bins)


def _boost(
    step: Step,
    state: _State,
    iterations: int,
    key: PRNGKeyArray,
    *,
    loss: Callable[[_State], Float[Array, ""]],
    patience: int | None,
) -> tuple[_State, Any, Int[Array, ""]]:
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

    def watched(
        carry: tuple[_State, _Watch], at: tuple[Int[Array, ""], PRNGKeyArray]
    ) -> tuple[tuple[_State, _Watch], Any]:
        number, key = at

        def advance(carry: tuple[_State, _Watch]) -> tuple[tuple[_State, _Watch], Any]:
            state, watch = carry
            state, made = step(state, key)
            now = loss(state)
            better = now < watch.lowest
            fresh = _Watch(state, now, number, jnp.int32(0))
            stale = watch._replace(waited=watch.waited + 1)
            chosen = jax.tree.map(lambda a, b: jnp.where(better, a, b), fresh, stale)
            return (state, chosen), made

        def rest(carry: tuple[_State, _Watch]) -> tuple[tuple[_State, _Watch], Any]:
            return carry, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)

        return lax.cond(carry[1].waited < patience, advance, rest, carry)

    watch = _Watch(state, loss(state), jnp.int32(0), jnp.int32(0))
    numbers = jnp.arange(1, iterations + 1, dtype=jnp.int32)
    (_, watch), made = lax.scan(watched, (state, watch), (numbers, keys))

    def truncated(leaf: Array) -> Array:
        counts = (numbers <= watch.kept).reshape(-1, *[1] * (leaf.ndim - 1))
        return jnp.where(counts, leaf, 0)

    return watch.best, jax.tree.map(truncated, made), watch.kept


def _per_task(
    values: Float[Array, " N"], task: Int[Array, " N"], count: int
) -> Float[Array, " T"]:
    return jax.ops.segment_sum(values, task, count)
