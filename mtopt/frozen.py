"""Notices shared parameters that stand still behind an aggregator, and vote in it."""

import warnings
from collections.abc import Callable, Collection
from typing import Any

import jax
from jax.extend import core

# optax's functions that treat some parameters in another way than the rest.
SELECTIVE = frozenset({"masked", "partition", "set_to_zero"})


def warn_of_frozen(
    before: Callable[[Any], Any],
    aggregate: Callable[[Any], Any],
    behind: Callable[[Any], Any],
    gradients: Any,
    params: Any,
) -> None:
    """Warns where a chain sets shared updates to zero that decide about the others.

    What is set to zero does not depend on any input, which the traced functions show:
    updates that are zero in a step, by a rate or a gradient of 0, do.

    Args:
      before: from the gradients to the rows that reach the aggregator.
      aggregate: from these to the direction and the state of the aggregator.
      behind: from the direction to the updates that leave the chain.
      gradients: ``{"shared": rows, "tasks": ...}``.
      params: the parameters, of the shapes of the direction.
    """
    still = _constant(behind, params)
    suspects = {name for name in still if name.startswith("['shared']")}
    if not suspects:
        return
    suspects -= _constant(before, gradients)
    rows = jax.eval_shape(before, gradients)

    def whole(gradients: Any) -> tuple[Any, Any]:
        return aggregate(before(gradients))

    voting = sorted(
        name
        for name in suspects
        if _decides(aggregate, rows, name, still)
        or _decides(whole, gradients, name, still)
    )
    if voting:
        warnings.warn(
            f"the chain sets the updates of {', '.join(voting)} to zero behind the "
            "aggregator, and their gradients still decide about the other parameters, "
            "by its weights, or by a radius or a scale of rows: freeze them before it, "
            "as in mtopt.chain(optax.freeze(mask), aggregator, ...), or, beside what "
            "evaluates gradients again, as SAM does, take them out of what is trained: "
            "mtopt.freeze(model, params, where)",
            stacklevel=2,
        )


def _names(tree: Any) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path) for path, _ in leaves]


def _constant(function: Callable[[Any], Any], tree: Any) -> set[str]:
    """The leaves of what a function returns that depend on nothing it reads."""
    closed, shape = jax.make_jaxpr(function, return_shape=True)(tree)
    read = {*closed.jaxpr.invars, *closed.jaxpr.constvars}
    moves = _reached(closed.jaxpr, read)
    return {
        n for n, is_moving in zip(_names(shape), moves, strict=True) if not is_moving
    }


def _decides(
    aggregate: Callable[[Any], Any], rows: Any, name: str, still: Collection[str]
) -> bool:
    """Whether the direction of parameters that move depends on that row of one."""
    closed, (direction, _) = jax.make_jaxpr(aggregate, return_shape=True)(rows)
    place = _names(rows).index(name)
    reached = _reached(closed.jaxpr, {closed.jaxpr.invars[place]})
    names = _names(direction)
    pairs = zip(names, reached[: len(names)], strict=True)
    return any(hit for other, hit in pairs if other not in still)


def _reached(jaxpr: core.Jaxpr, start: set[core.Var]) -> list[bool]:
    """Which outputs depend on some variables; an equation's depend on all it reads."""
    known = set(start)
    for equation in jaxpr.eqns:
        if any(isinstance(v, core.Var) and v in known for v in equation.invars):
            known.update(equation.outvars)
    return [isinstance(v, core.Var) and v in known for v in jaxpr.outvars]
