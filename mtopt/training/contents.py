"""What a checkpoint holds, in words: compared before anything of it is loaded."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from mtopt.per_task import is_stack

Contents = dict[str, dict[str, Any]]


def contents(tree: Any, belongs_to: Mapping[str, str]) -> Contents:
    """Arrays, task names and what else a checkpoint belongs to, as plain JSON values.

    Args:
      tree: what is saved.
      belongs_to: such as the method's text and the fingerprint of the data.

    Returns:
      ``arrays``: path to dtype and shape; ``tasks``: path to the task names of the
      stack there; ``belongs_to``.
    """
    names = {
        _words(path): list(node.names)
        for path, node in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_stack)
        if is_stack(node)
    }
    arrays = {
        _words(path): _array(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    return {"arrays": arrays, "tasks": names, "belongs_to": dict(belongs_to)}


def difference(stored: Contents, wanted: Contents) -> str | None:
    """The first thing that differs, in one clause; None if what is wanted is there.

    A part of what is stored may be wanted, such as the parameters alone.

    Args:
      stored: of the checkpoint.
      wanted: of the tree to be loaded into.
    """
    for kind, what in (("belongs_to", "{}"), ("tasks", "the tasks of {}")):
        for name, value in wanted[kind].items():
            found = stored[kind].get(name, value)
            if found != value:
                return f"{what.format(name)} is {found} there, and {value} here"
    for path, value in wanted["arrays"].items():
        found = stored["arrays"].get(path)
        if found is None:
            return f"it has no {path}, which is {value} here"
        if found != value:
            return f"{path} is {found} there, and {value} here"
    whole = {path.split("/")[0] for path in wanted["arrays"]}
    for path, found in stored["arrays"].items():
        if path.split("/")[0] in whole and path not in wanted["arrays"]:
            return f"it has {path}, {found}, which is not here"
    return None


def _words(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _array(leaf: Any) -> str:
    return f"{jnp.asarray(leaf).dtype}{list(jnp.shape(leaf))}"
