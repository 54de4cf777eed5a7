"""What an aggregator does first: check its evaluation, and hide absent tasks."""

import difflib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from mtopt.errors import UserError, expect
from mtopt.evaluation import FIELDS, Evaluation, split
from mtopt.linalg import where_present
from mtopt.per_task import zero_absent_heads
from mtopt.points import Nowhere, if_equal


def prepare_evaluation(
    num_tasks: int,
    updates: Any,
    params: Any,
    evaluation: Evaluation | None,
    others: Mapping[str, Any],
) -> Evaluation:
    """The evaluation that an update works on: checked, and with absent tasks zeroed.

    Every aggregator and every transformation of rows begins with it.

    Shapes are checked, and absent tasks are hidden, once: whatever stands in the rows,
    losses and head gradients of a task without a label in the batch (NaN too) reaches
    no method.

    Args:
      num_tasks: K.
      updates: the gradients that came down the chain.
      params: what the update got, which may be None.
      evaluation: what the update got, which may be None.
      others: the further keywords that it got.

    Raises:
      UserError: for rows without the task axis, or a keyword that is meant to be a
        field of the evaluation.
    """
    _refuse_fields(others)
    rows, heads = split(updates)
    check_rows(rows, None if params is None else split(params)[0], num_tasks)
    known = vars(Evaluation() if evaluation is None else evaluation)
    own_rows = _are_leaves_of(known["rows"], rows)
    unchanged = known["unchanged"] and own_rows
    points = known["points"]
    if points is not None and not own_rows:
        points = (
            if_equal(known["rows"], rows, points)
            if known["rebuilt"]
            else Nowhere("a transformation outside of mtopt.chain, or not of mtopt,")
        )
    own_heads = _are_leaves_of(known["heads"], heads)
    problem = known["problem"]
    if problem is not None and known["rows"] is None:
        raise UserError(
            "the evaluation has a problem and no rows: make it by "
            "problem.evaluate(params)"
        )
    # What a problem says of its absent tasks is 0 already.
    as_is = unchanged and known["present"] is None
    present = Evaluation(**known).present
    if present is None:
        present = jnp.ones(num_tasks, bool)
    losses = known["losses"]
    return Evaluation(
        **{
            **known,
            "losses": None if losses is None else jnp.where(present, _wide(losses), 1),
            "rows": rows if as_is else where_present(present, rows, 0),
            "heads": heads
            if as_is and own_heads
            else zero_absent_heads(present, heads),
            "present": present,
            "params": params if known["params"] is None else known["params"],
            "unchanged": unchanged,
            "points": points,
        }
    )


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
    expect(
        len(found) == len(expected),
        "the number of arrays in the gradients",
        len(found),
        f"that of the shared parameters, {len(expected)}",
    )
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


def _are_leaves_of(own: Any, rows: Any) -> bool:
    """Whether ``rows`` are the evaluation's own, the very same arrays.

    This is the one place that compares arrays by identity. A transformation that
    changed a row made a new array; one that hands on a part of the tree, as
    ``optax.partition`` does for each group of layers, leaves the others out.
    """
    leaves = dict(jax.tree_util.tree_leaves_with_path(own))
    found = jax.tree_util.tree_leaves_with_path(rows)
    return all(leaves.get(path) is leaf for path, leaf in found)


def _wide(losses: Array) -> Array:
    """In float32 at least: logarithms and changes of losses are small."""
    return losses.astype(jnp.promote_types(losses.dtype, jnp.float32))


def _refuse_fields(others: Mapping[str, Any]) -> None:
    """Raises for a keyword that was meant for the evaluation; optax has its own."""
    for name in others:
        close = difflib.get_close_matches(name, ("evaluation", *FIELDS), 1, 0.7)
        if close and close[0] == "evaluation":
            raise UserError(f"update() got {name!r}: did you mean evaluation=...?")
        if close:
            raise UserError(
                f"update() got {name!r}: {close[0]} is a field of the evaluation; hand "
                "it over as evaluation=problem.evaluate(params), or, on plain arrays, "
                f"evaluation=mtopt.Evaluation({close[0]}=...)"
            )
