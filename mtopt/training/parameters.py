"""Trees of arrays as ``.safetensors`` files, each array under its path."""

import json
import os
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from jax.experimental import multihost_utils
from safetensors.numpy import save_file

from mtopt.errors import UserError
from mtopt.training.processes import is_first

MODELS = "model.json"
"""In the folder of a run: what models there are, and what they are of."""
CHOSEN_MODELS = "models.safetensors"
"""In the folder of a method: the chosen models of its seeds, on a leading axis."""
NOTHING: Mapping[str, str] = MappingProxyType({})


def write_parameters(
    path: pathlib.Path, tree: Any, about: Mapping[str, str] = NOTHING
) -> None:
    """Writes the arrays of a tree, in the place of an old file in one move.

    Args:
      path: the file.
      tree: of arrays of 8 to 64 bits.
      about: what they are of, name to text; stands in the head of the file as JSON,
        under ``about``.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.safetensors"
      >>> write_parameters(path, {"shared": {"w": jnp.arange(3.0)}}, {"seed": "0"})
      >>> like = {"shared": {"w": jnp.zeros(3)}}
      >>> read_parameters(path, like)["shared"]["w"].tolist()
      [0.0, 1.0, 2.0]
    """
    arrays = {_path(place): _whole(leaf) for place, leaf in _leaves(tree)}
    if not is_first():
        return
    partial = path.with_name(path.name + ".partial")
    # Of several texts the order would be another one in every process.
    save_file(arrays, partial, {"about": json.dumps(dict(about))})
    os.replace(partial, path)


def read_parameters(path: pathlib.Path, like: Any, index: int | None = None) -> Any:
    """Reads the arrays of a tree.

    Args:
      path: the file.
      like: a tree of arrays, or of their shapes.
      index: of the model to read, where every array of the file has a leading axis of
        several; None reads arrays as they are.

    Raises:
      UserError: for a file that is missing or damaged, or is of another tree.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            found = {
                name: file.get_tensor(name)
                if index is None
                else np.asarray(file.get_slice(name)[index])
                for name in file.keys()  # noqa: SIM118
            }
    except (OSError, safetensors.SafetensorError) as error:
        raise UserError(
            f"cannot read {path} ({' '.join(str(error).split())}): expected the "
            "parameters of a trained model"
        ) from error
    wanted = {_path(place): leaf for place, leaf in _leaves(like)}
    for name in (*wanted, *found):
        there, here = (_words(each.get(name)) for each in (found, wanted))
        if there != here:
            raise UserError(f"{path}: {name} is {there} there, and {here} in the model")
    return jax.tree.unflatten(
        jax.tree.structure(like), [jnp.asarray(found[name]) for name in wanted]
    )


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    return jax.tree_util.tree_leaves_with_path(tree)


def _path(place: Any) -> str:
    return jax.tree_util.keystr(place, simple=True, separator="/")


def _words(leaf: Any) -> str:
    return "nothing" if leaf is None else f"{leaf.dtype}{list(leaf.shape)}"


def _whole(leaf: Any) -> np.ndarray:
    """An array, parts of which may be at other processes, row by row in memory."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    # In another order of memory safetensors writes other numbers.
    return np.require(np.asarray(leaf), requirements="C")
