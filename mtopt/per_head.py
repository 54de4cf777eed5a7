"""Optimizers that see one task's own parameters at a time, whatever the stack's shape.

The parameters of K tasks are stacked, so that 139 heads cost what one does. To an
optimizer that looks at layers (trust ratios, factored moments, orthogonal updates,
clipping by block), a stack would be one layer of K tasks.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtopt.errors import UserError
from mtopt.linalg import where_present
from mtopt.made_of import functions, maker, parts
from mtopt.per_task import is_stack, stacks

# optax's transformations that make one number of an array, or of its two last axes.
LAYERWISE = (
    "adaptive_grad_clip",
    "clip_by_block_rms",
    "scale_by_factored_rms",
    "scale_by_muon",
    "scale_by_novograd",
    "scale_by_sm3",
    "scale_by_trust_ratio",
)

# Those that look at all parameters at once. Others of the kind are noticed when their
# result for shared parameters depends on a head; these search along a direction.
GLOBAL = (
    "apply_if_finite",
    "clip_by_global_norm",
    "dadapt_adamw",
    "mechanize",
    "prodigy",
    "scale_by_backtracking_linesearch",
    "scale_by_lbfgs",
    "scale_by_polyak",
    "scale_by_zoom_linesearch",
)
HISTORIES = ("scale_by_lbfgs",)  # keep several past steps, on an axis before the tasks
NO_SCALARS = ("scale_by_sm3",)  # fail on a parameter without an axis, in optax itself


def per_head(
    member: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """The transformation, mapped over the tasks of every stack of parameters.

    A head moves as it does when its task is trained alone: the transformation sees one
    task's entry of each :class:`mtopt.PerTask`, beside all other parameters. Its state
    keeps its structure; what it remembers of a task's parameters has a leading axis K.

    A transformation whose result for other parameters depends on those of a task, as
    clipping by the global norm does, sees everything at once, as it always did.

    Args:
      member: any optax transformation that takes updates of the parameters' shapes.

    Raises:
      UserError: on update, for a transformation that is both: a global one and one that
        looks at layers, chained into one; on init, for scalar parameters under an
        optimizer that takes none.
    """
    own = optax.with_extra_args_support(member)
    names = parts(member)
    layerwise = sorted(names.intersection(LAYERWISE))
    needs_axes = sorted(names.intersection(NO_SCALARS))
    is_global = not names.isdisjoint(GLOBAL)

    def init(params: Any) -> Any:
        if needs_axes and any(jnp.ndim(leaf) == 1 for leaf in _leaves_of_tasks(params)):
            raise UserError(
                f"{needs_axes[0]} takes no scalar parameters, and each task has one of "
                "its own: expected it in the shape (1,), or another optimizer"
            )
        try:
            return own.init(params) if is_global else _per_group(own.init, (params,))
        except _DependsOnOthers:
            return own.init(params)

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, Any]:
        function = functools.partial(own.update, **extra)
        if not is_global:
            try:
                return _per_group(function, (updates, state, params))
            except _DependsOnOthers:
                pass
        if layerwise and _leaves_of_tasks(updates):
            raise UserError(
                f"{', '.join(layerwise)} looks at one layer of one task, and stands in "
                "one transformation with another that looks at all parameters: "
                "expected each to be a member of mtopt.chain of its own, as in "
                "mtopt.chain(mtopt.mgda(3), optax.clip_by_global_norm(1.0), "
                "optax.lamb(1e-3))"
            )
        return function(updates, state, params)

    return optax.GradientTransformationExtraArgs(init, update)


def refuse_unmapped(transformation: Any) -> None:
    """Raises for an optimizer of layers that meets stacked heads outside of a chain.

    Args:
      transformation: what holds an aggregator, or another part of mtopt.

    Raises:
      UserError: where such an optimizer stands beside it, in no :func:`mtopt.chain`.
    """
    found = list(functions(transformation, but="mtopt.chain"))
    layerwise = {maker(f) for f in found}.intersection(LAYERWISE)
    if layerwise and any((f.__module__ or "").startswith("mtopt.") for f in found):
        raise UserError(
            f"{', '.join(sorted(layerwise))} looks at one layer, and stands beside an "
            "aggregator in no mtopt.chain, where the heads of all tasks would be one "
            "layer: expected mtopt.chain(mtopt.mgda(3), optax.lamb(1e-3)), each a "
            "member of its own"
        )


def select_present(present: Any, names: tuple[str, ...], new: Any, old: Any) -> Any:
    """What is new of present tasks, and what was there of absent ones.

    Args:
      present: which tasks take part, ``[K]``.
      names: the K task names.
      new: a tree that holds :class:`mtopt.PerTask` stacks; all else in it is returned.
      old: the same tree before.
    """

    def choose(fresh: Any, kept: Any) -> Any:
        if not is_stack(fresh):
            return fresh
        own = present[np.array([names.index(name) for name in fresh.names])]
        return where_present(own, fresh, kept)

    return jax.tree.map(choose, new, old, is_leaf=is_stack)


class _DependsOnOthers(Exception):
    """Parameters that are no task's own depend on those of a task."""


def _leaves_of_tasks(tree: Any) -> list[Any]:
    """The leaves of all stacks of tasks in a tree."""
    return [leaf for stack in stacks(tree) for leaf in jax.tree.leaves(stack)]


def _groups(tree: Any) -> list[tuple[str, ...]]:
    """The names of each kind of stack in a tree, in the order of appearance."""
    return list(dict.fromkeys(s.names for s in stacks(tree) if jax.tree.leaves(s)))


def _per_group(function: Callable[..., Any], trees: tuple[Any, ...]) -> Any:
    """``function(*trees)``, mapped over the tasks of one group after another.

    Each group's stacks are taken from the call that was mapped over them, and all else
    from the first; ``jit`` drops the rest.
    """
    found: Any = None
    for names in _groups(trees[0]):
        mapped = _mapped(function, names)(*trees)
        if found is None:
            found = mapped
        else:
            found = jax.tree.map(
                lambda new, old, names=names: new if _is_of(new, names) else old,
                mapped,
                found,
                is_leaf=is_stack,
            )
    return function(*trees) if found is None else found


def _is_of(node: Any, names: tuple[str, ...]) -> bool:
    return is_stack(node) and node.names == names


def _mapped(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    """``function`` under ``vmap``, over the stacks with these names in its trees."""

    def call(*trees: Any) -> Any:
        nodes, structure = jax.tree.flatten(trees, is_leaf=is_stack)
        axes = tuple(0 if _is_of(node, names) else None for node in nodes)
        made: Any = None

        def split(*own: Any) -> tuple[list[Any], list[Any]]:
            """The results that belong to a task, and those that may not."""
            nonlocal made
            result = function(*jax.tree.unflatten(structure, own))
            found, treedef = jax.tree.flatten(result, is_leaf=is_stack)
            is_own = [_is_of(node, names) for node in found]
            made = treedef, is_own
            pairs = list(zip(found, is_own, strict=True))
            return [n for n, own in pairs if own], [n for n, own in pairs if not own]

        try:
            mapped, others = jax.vmap(split, axes, (0, None))(*nodes)
        except ValueError as error:
            if "None but output was batched" in str(error):
                raise _DependsOnOthers from error
            raise
        treedef, is_own = made
        mapped, others = iter(mapped), iter(others)
        found = [next(mapped) if own else next(others) for own in is_own]
        return jax.tree.unflatten(treedef, found)

    return call
