"""What every aggregator does around its own weights: check, weigh, combine."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from mtopt.errors import UserError, expect, expect_one_of
from mtopt.linalg import combine, gramian, scale_rows, task_numbers
from mtopt.per_task import PerTask


class WeightingState(NamedTuple):
    """State of an aggregator.

    Attributes:
      weights: the weights of the last update, ``[K]``, before ``task_weights``; read
        them anywhere with ``optax.tree.get(opt_state, "weights")``.
      memory: what the method remembers between steps.
    """

    weights: Float[Array, " K"]
    memory: Any


Weigh = Callable[..., tuple[Float[Array, " K"], Any]]
InitMemory = Callable[[Any], Any]


def nothing(shared: Any) -> Any:
    """The memory of a method that has none."""
    del shared
    return ()


def weighting(
    num_tasks: int,
    weigh: Weigh,
    *,
    heads: str,
    memory: InitMemory = nothing,
    from_rows: bool = False,
) -> optax.GradientTransformationExtraArgs:
    r"""An aggregator from a rule that gives every task a weight.

    .. math:: d = \sum_k w_k t_k g_k

    with :math:`w` from ``weigh``, zero for absent tasks, and :math:`t` the
    ``task_weights`` that users and wrappers set: they multiply the solution, since
    scaling a row before a min-norm solve would raise its weight instead.

    Args:
      num_tasks: K, at least 1.
      weigh: ``(memory, *, rows, params, present, **extra) -> (weights, memory)``. It
        names the extra arguments it needs (``losses``, ``problem``, ``key``)
        keyword-only, so that a missing one is a ``TypeError`` with its name. The loss
        of an absent task reads 1, so that its logarithm and inverse are finite.
      heads: ``"weighted"``: a task's own parameters move along ``w_k t_k`` times their
        gradient, as when the weighted loss is differentiated; ``"plain"``: along their
        gradient alone.
      memory: shared parameters to the initial memory of the method.
      from_rows: True if ``weigh`` reads the rows, which then exist anyway and are
        summed; False pulls the weights back through the loss instead, in one backward
        pass, where the step offers that and no transformation before this one has
        changed the rows (``rows`` are those of the step: the very same arrays).

    Returns:
      An optax transformation from per-task gradients to one direction. ``updates`` is
      ``{"shared": rows, "tasks": head gradients}``, or any other tree of rows: then
      all of it is shared. A wrapper may hand its update ``weights``, in place of the
      method's own, or ``reweigh``, a function of them; ``head_rule``, in place of
      ``heads``; and ``penalties``, gradients that are added to the direction: see
      :class:`mtopt.wrappers.add_penalty.PenaltyGradient`.

    Raises:
      UserError: for fewer than one task, an unknown head rule, or (on update) leaves
        without the task axis.
    """

    def reduce(memory, *, rows, clean_rows, pullback, **extra):
        weights, memory = weigh(memory, rows=rows, **extra)
        pulled = None if from_rows else pullback
        return weights, _sum_of_gradients(rows, clean_rows, pulled), memory

    return _aggregator(num_tasks, reduce, _sum_of_gradients, heads, memory)


def on_gramian(
    num_tasks: int,
    weigh: Weigh,
    *,
    heads: str,
    space: str = "parameters",
    memory: InitMemory = nothing,
) -> optax.GradientTransformationExtraArgs:
    """An aggregator from a rule on the Gramian of the gradients.

    Args:
      num_tasks: K, at least 1.
      weigh: ``(memory, gramian, *, present, **extra) -> (weights, memory)``; the rows
        and columns of absent tasks in ``gramian`` are zero.
      heads: see :func:`weighting`.
      space: where the gradients are taken: ``"parameters"``, or ``"representation"``,
        which costs K passes through the heads and one through the encoder. For
        disjoint inputs the latter's Gramian is diagonal.
      memory: see :func:`weighting`.

    Returns:
      An aggregator; in the space of the representation it needs ``problem``.

    Raises:
      UserError: for an unknown space, and as :func:`weighting`.
    """
    expect_one_of("space", space, ("parameters", "representation"))

    def of_parameters(memory, *, rows, present, **extra):
        products = only_present(gramian(rows), present)
        return weigh(memory, products, present=present, **extra)

    def of_representation(memory, *, rows, params, present, problem, **extra):
        del rows
        products = only_present(problem.representation_gramian(params), present)
        return weigh(memory, products, present=present, **extra)

    own = space == "parameters"
    rule = of_parameters if own else of_representation
    return weighting(num_tasks, rule, heads=heads, memory=memory, from_rows=own)


def row_weighting(
    num_tasks: int,
    reduce: Callable[..., tuple[Float[Array, " K"], Any, Any]],
    *,
    heads: str,
    memory: InitMemory = nothing,
) -> optax.GradientTransformationExtraArgs:
    r"""An aggregator that sums rows of its own making.

    .. math:: d = \sum_k w_k t_k r_k

    for methods whose direction is not in the span of this step's gradients: masked
    coordinate by coordinate, averaged over steps, or taken on another batch.

    Args:
      num_tasks: K, at least 1.
      reduce: ``(memory, *, rows, params, present, **extra) -> (weights, rows,
        memory)``: the weights w and the rows r, a tree like the ``rows`` it got. Those
        of absent tasks come in as zeros.
      heads: see :func:`weighting`.
      memory: see :func:`weighting`.

    Returns:
      An aggregator.

    Raises:
      UserError: as :func:`weighting`.
    """

    def made(memory, *, rows, present, clean_rows, pullback, **extra):
        del clean_rows, pullback
        weights, rows, memory = reduce(
            memory, rows=where_present(present, rows, 0), present=present, **extra
        )
        return weights, functools.partial(combine, rows=rows), memory

    def no_sum(rows, clean_rows, pullback):
        del rows, clean_rows, pullback
        raise UserError(
            "this aggregator sums rows that it makes in every step: weights from "
            "outside, such as those of weights_every, cannot take the place of its own"
        )

    return _aggregator(num_tasks, made, no_sum, heads, memory)


def along_gradients_of(
    aggregator: optax.GradientTransformationExtraArgs, part: Callable[[Any], Any]
) -> optax.GradientTransformationExtraArgs:
    """An aggregator that finds weights as before, and sums another batch's gradients.

    Rows that a transformation made out of the step's are summed themselves.

    Args:
      aggregator: one that weighs tasks without their rows; see :func:`weighting`.
      part: the problem of a step to the one whose gradients are summed, such as a part
        of its batch.
    """

    def update(updates, state, params=None, **extra):
        def pullback(weights, also=None):
            problem = extra["problem"]
            along = part(problem).pullback(params, weights)
            if also is None:
                return along
            pulled = problem.pull_representation(params, also)
            return jax.tree.map(jnp.add, along, pulled)

        own = with_pullback(extra, pullback, updates)
        return aggregator.update(updates, state, params, **own)

    return optax.GradientTransformationExtraArgs(aggregator.init, update)


def with_pullback(
    extra: dict[str, Any], pullback: Callable[..., Any], updates: Any
) -> dict[str, Any]:
    """The extra arguments with another pull-back, to be used on unchanged rows.

    Args:
      extra: what an update got by keyword; without ``rows``, those of the step are
        taken to be those of ``updates``.
      pullback: weights to a tree like the shared parameters.
      updates: what the update got.
    """
    rows = extra.get("rows")
    rows = split(updates)[0] if rows is None else rows
    return {**extra, "pullback": pullback, "rows": rows}


def _sum_of_gradients(rows, clean_rows, pullback):
    """What sums the gradients by their weights: a pull-back of clean ones, if any."""
    if pullback is not None and same_rows(rows, clean_rows):
        return pullback
    return functools.partial(combine, rows=rows)


def _aggregator(num_tasks, reduce, sum_by, heads, memory):
    """What all aggregators do.

    ``reduce`` finds weights, and what sums by them; ``sum_by`` only the latter, for
    weights that a wrapper hands in.
    """
    expect(num_tasks >= 1, "num_tasks", num_tasks, "at least 1")
    expect_one_of("heads", heads, ("weighted", "plain"))

    def init(params):
        shared, _ = split(params)
        return WeightingState(
            task_numbers(shared, num_tasks, 1 / num_tasks), memory(shared)
        )

    def update(
        updates,
        state,
        params=None,
        *,
        rows=None,
        present=None,
        task_weights=None,
        weights=None,
        reweigh=None,
        head_rule=None,
        penalties=(),
        pullback=None,
        **extra,
    ):
        clean_rows = rows
        rows, head_grads = split(updates)
        check_rows(rows, None if params is None else split(params)[0], num_tasks)
        present = present_tasks(num_tasks, present, extra.get("problem"))
        if "losses" in extra:
            extra["losses"] = jnp.where(present, extra["losses"], 1)
        if weights is None:
            weights, weighted_sum, memory = reduce(
                state.memory,
                rows=rows,
                params=params,
                present=present,
                clean_rows=clean_rows,
                pullback=pullback,
                **extra,
            )
        else:
            weighted_sum, memory = sum_by(rows, clean_rows, pullback), state.memory
        if reweigh is not None:
            weights = reweigh(weights)
        weights = jnp.where(present, weights, 0).astype(state.weights.dtype)
        applied = weights if task_weights is None else weights * task_weights
        if penalties and weighted_sum is pullback:  # one pass takes both back
            direction = weighted_sum(applied, _representation_part(penalties))
        else:
            direction = weighted_sum(applied)
            if penalties:
                also = _representation_part(penalties)
                pulled = extra["problem"].pull_representation(params, also)
                direction = _total(direction, pulled)
        if head_grads is not None:
            if (head_rule or heads) == "weighted":
                head_grads = scale_heads(head_grads, applied)
            own = (penalty.heads for penalty in penalties or ())
            direction = {"shared": direction, "tasks": _total(head_grads, *own)}
        return direction, WeightingState(weights, memory)

    return optax.GradientTransformationExtraArgs(init, update)


def _representation_part(penalties: tuple[Any, ...]) -> Any:
    """The gradient of all penalties with respect to the representation."""
    return _total(*(penalty.representation for penalty in penalties))


def _total(*trees: Any) -> Any:
    return jax.tree.map(lambda *leaves: sum(leaves[1:], leaves[0]), *trees)


def same_rows(rows: Any, clean_rows: Any) -> bool:
    """True if ``rows`` are ``clean_rows``, those of the step, array for array."""
    if clean_rows is None:
        return False
    pairs = zip(jax.tree.leaves(rows), jax.tree.leaves(clean_rows), strict=True)
    return all(row is clean for row, clean in pairs)


def split(tree: Any) -> tuple[Any, Any]:
    """The shared part and the tasks' part of ``{"shared": ..., "tasks": ...}``.

    Any other tree is shared as a whole, and its tasks' part is None.
    """
    if isinstance(tree, dict) and tree.keys() == {"shared", "tasks"}:
        return tree["shared"], tree["tasks"]
    return tree, None


def check_rows(rows: Any, shared: Any, num_tasks: int) -> None:
    """Raises unless every leaf of ``rows`` is ``[K, *shape of its parameter]``.

    Args:
      rows: the per-task gradients that reached an aggregator.
      shared: the shared parameters, or None where the caller gave none.
      num_tasks: K.

    Raises:
      UserError: naming the leaf.
    """
    found = jax.tree_util.tree_leaves_with_path(rows)
    expected = [None] * len(found) if shared is None else jax.tree.leaves(shared)
    for (path, leaf), parameter in zip(found, expected, strict=True):
        want = (
            num_tasks,
            *(jnp.shape(leaf)[1:] if parameter is None else parameter.shape),
        )
        if jnp.shape(leaf) != want:
            where = jax.tree_util.keystr(path) or "the gradient"
            raise UserError(
                f"expected rows of {num_tasks} tasks, {where} of shape {want}: got "
                f"{jnp.shape(leaf)}; an aggregator takes per-task gradients and "
                "stands before every ordinary optax transformation in the chain"
            )


def scale_heads(head_grads: Any, weights: Float[Array, " K"]) -> Any:
    """Each task's own gradient times its weight; groups find theirs by name."""

    def is_heads(node):
        return isinstance(node, PerTask)

    groups = jax.tree.leaves(head_grads, is_leaf=is_heads)
    names = sorted(name for group in groups for name in group.names)

    def scale_group(group):
        own = weights[jnp.array([names.index(name) for name in group.names])]
        return scale_rows(own, group)

    return jax.tree.map(scale_group, head_grads, is_leaf=is_heads)


def present_tasks(num_tasks: int, present: Any, problem: Any) -> Bool[Array, " K"]:
    """Which tasks take part: as told, else as the problem says, else all."""
    if present is not None:
        return present
    return jnp.ones((num_tasks,), bool) if problem is None else problem.present


def weights_of(state: Any) -> Float[Array, " K"]:
    """The weights in the state of an aggregator, or of one that is wrapped.

    Raises:
      UserError: where there are none.
    """
    weights = optax.tree.get(state, "weights")
    if weights is None:
        raise UserError(
            f"{type(state).__name__} holds no weights: expected the state of an "
            "aggregator; wrappers take one, such as mtopt.mgda(3)"
        )
    return weights


def only_present(
    matrix: Float[Array, "K K"], present: Bool[Array, " K"]
) -> Float[Array, "K K"]:
    """The matrix with zeros in the rows and columns of absent tasks."""
    return jnp.where(present[:, None] & present[None, :], matrix, 0)


def where_present(present: Bool[Array, " K"], new: Any, old: Any) -> Any:
    """``new`` for the present tasks, ``old`` for the others, leaf by leaf.

    Args:
      present: which tasks take part, ``[K]``.
      new: a tree of leaves ``[K, ...]``.
      old: a tree like it, or a number for all of it.
    """

    def choose(new_leaf, old_leaf):
        mask = present.reshape(-1, *(1,) * (new_leaf.ndim - 1))
        return jnp.where(mask, new_leaf, old_leaf)

    if jax.tree.structure(old) != jax.tree.structure(new):
        old = jax.tree.map(lambda leaf: jnp.asarray(old, leaf.dtype), new)
    return jax.tree.map(choose, new, old)


def no_updates(shared: Any) -> Int[Array, ""]:
    """The memory of a method that counts its updates, before the first."""
    del shared
    return jnp.zeros((), jnp.int32)


def own_key(key: Any, count: Any) -> Any:
    """The randomness of a method in this step.

    Args:
      key: the one that the step hands to every method, or None.
      count: the number of updates so far, which the method remembers: on plain arrays,
        where no step hands out a key, it makes one.
    """
    return jax.random.fold_in(jax.random.key(0), count) if key is None else key
