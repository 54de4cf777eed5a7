"""Trees that hold one entry per task, stacked along the task axis, read by name."""

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, Shaped

from mtopt.errors import UserError, nearest
from mtopt.linalg import scale_rows, where_present


def check_names(names: tuple[str, ...]) -> None:
    """Raises unless ``names`` is a sorted tuple of distinct, non-empty strings.

    Args:
      names: the task names of one axis K.

    Raises:
      UserError: the axis K is ordered by name everywhere, so that a label, a head
        and a weight can never belong to different tasks.
    """
    expected = tuple(sorted(set(names)))
    if not names or "" in names or tuple(names) != expected:
        raise UserError(
            f"task names must be sorted, distinct and non-empty: got {tuple(names)}, "
            f"expected {expected or 'at least one name'}; order labels, masks and "
            "heads by task name"
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PerTask:
    """Parameters (or gradients, or moments) of K tasks, stacked and named.

    One stacked leaf of 139 heads compiles and dispatches as one array, where a
    dict of 139 trees does as 139; the names are kept beside it, so that a task's
    own entry is still read by name.

    Args:
      values: a pytree, every leaf with the leading task axis K.
      names: the K task names, sorted.

    Raises:
      UserError: for names that are not sorted and distinct, or an unknown name.

    Example:
      >>> heads = PerTask.stack({"right": {"w": jnp.ones(2)},
      ...                        "left": {"w": jnp.zeros(2)}})
      >>> heads.names
      ('left', 'right')
      >>> heads["right"]["w"].tolist()
      [1.0, 1.0]
      >>> heads.values["w"].shape
      (2, 2)
    """

    values: Any
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    @classmethod
    def stack(cls, trees: Mapping[str, Any]) -> "PerTask":
        """Stacks one tree per task, of equal structure and shapes, by sorted name."""
        names = tuple(sorted(trees))
        check_names(names)
        structures = {name: _signature(trees[name]) for name in names}
        for name in names[1:]:
            if structures[name] != structures[names[0]]:
                raise UserError(
                    f"task {name!r} has leaves {structures[name]}, task {names[0]!r} "
                    f"has {structures[names[0]]}: stack tasks of equal structure, and "
                    "put the others in a group of their own (mtopt.TaskGroups)"
                )
        stacked = jax.tree.map(
            lambda *leaves: jnp.stack(leaves), *(trees[name] for name in names)
        )
        return cls(stacked, names)

    def __getitem__(self, name: str) -> Any:
        """The entry of one task: a tree without the task axis."""
        if name not in self.names:
            raise UserError(f"no task {name!r}: {nearest(name, self.names)}")
        k = self.names.index(name)
        return jax.tree.map(lambda leaf: leaf[k], self.values)

    def by_name(self) -> dict[str, Any]:
        """Every task's entry, as a dict."""
        return {name: self[name] for name in self.names}


def is_stack(node: Any) -> bool:
    """Whether a node of a tree is a stack of tasks, for ``is_leaf`` of ``jax.tree``."""
    return isinstance(node, PerTask)


def stacks(tree: Any) -> list[PerTask]:
    """All stacks of tasks in a tree, in its order."""
    return list(filter(is_stack, jax.tree.leaves(tree, is_leaf=is_stack)))


def task_names(tree: Any) -> tuple[str, ...]:
    """The sorted names of all tasks that have a place in the tree's stacks."""
    return tuple(sorted({name for stack in stacks(tree) for name in stack.names}))


def scale_heads(heads: Any, scale: Float[Array, " K"]) -> Any:
    """Every task's own gradient times a number of its own.

    Args:
      heads: a PerTask, or groups of them, which find their tasks by name.
      scale: one factor per task, ``[K]``.
    """
    return _by_group(scale_rows, scale, heads)


def zero_absent_heads(present: Bool[Array, " K"], heads: Any) -> Any:
    """The tasks' own gradients with zeros for absent tasks, whatever stood there.

    Args:
      present: which tasks take part, ``[K]``.
      heads: as for :func:`scale_heads`.
    """
    return _by_group(lambda own, group: where_present(own, group, 0), present, heads)


def of_each_task(
    function: Callable[[PerTask], Shaped[Array, " Kg"]], heads: Any
) -> Shaped[Array, " K"]:
    """A number of every task, made of its group of heads.

    Args:
      function: of a group of K_g tasks to their numbers, ``[K_g]``.
      heads: as for :func:`scale_heads`.

    Example:
      >>> heads = {"z": PerTask(jnp.ones((2, 3)), ("a", "c")),
      ...          "y": PerTask(jnp.zeros((1, 4)), ("b",))}
      >>> of_each_task(lambda group: group.values.sum(axis=1), heads).tolist()
      [3.0, 0.0, 3.0]
    """
    groups = stacks(heads)
    found = [name for group in groups for name in group.names]
    order = np.array([found.index(name) for name in task_names(heads)])
    return jnp.concatenate([function(group) for group in groups])[order]


def task_keys(key: PRNGKeyArray, names: tuple[str, ...]) -> Key[Array, " K"]:
    """One key per task, from its name alone: ``fold_in(key, crc32(name_k))``.

    Adding or removing a task leaves the randomness of the others as it was.

    Example:
      >>> two = task_keys(jax.random.key(0), ("a", "b"))
      >>> bool(task_keys(jax.random.key(0), ("b",))[0] == two[1])
      True
    """
    hashes = np.array([zlib.crc32(name.encode()) for name in names], np.uint32)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, hashes)


def in_words(names: Any) -> str:
    """Task names for an error message: the first few of many."""
    if isinstance(names, tuple) and len(names) > 6:
        return f"({', '.join(map(repr, names[:5]))}, ... {len(names)} in all)"
    return str(names)


def _by_group(function: Callable[[Any, Any], Any], numbers: Any, heads: Any) -> Any:
    """``function(numbers of its tasks, group)`` for every group of heads."""
    names = task_names(heads)

    def apply(group: Any) -> Any:
        if not is_stack(group):
            raise UserError(
                f"the tasks' own gradients hold a {type(group).__name__}: expected a "
                "mtopt.PerTask, or groups of them"
            )
        index = np.array([names.index(name) for name in group.names])
        return function(numbers[index], group)

    return jax.tree.map(apply, heads, is_leaf=is_stack)


def _signature(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
