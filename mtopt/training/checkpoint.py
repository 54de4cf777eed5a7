"""Checkpoints of a run: the one file that knows orbax."""

import json
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from mtopt.errors import UserError
from mtopt.training.contents import contents, difference
from mtopt.training.writer import write_json

# What is wanted has been compared with what there is.
_PARTS = ocp.options.PyTreeOptions(
    loading=ocp.options.PyTreeOptions.Loading(partial_load=True)
)


class Checkpoints:
    """The newest checkpoints of a run, in a folder with one subfolder per step.

    A checkpoint appears under its step only when it is complete; a run that is killed
    while it writes one finds the one before. ``contents.json`` beside them says which
    tasks, arrays and data they belong to, and is compared before one is loaded.

    Args:
      folder: where they live; made on the first save.
      keep: how many of the newest stay.
      belongs_to: what else they are of, name to text, such as the method and the
        fingerprint of the data.

    Example:
      >>> import tempfile, jax.numpy as jnp
      >>> folder = pathlib.Path(tempfile.mkdtemp()) / "checkpoints"
      >>> with Checkpoints(folder) as checkpoints:
      ...     checkpoints.save(10, {"w": jnp.arange(3.0)})
      >>> with Checkpoints(folder) as checkpoints:
      ...     step = checkpoints.latest
      ...     tree = checkpoints.load(step, {"w": jnp.zeros(3)})
      >>> step, tree["w"].tolist()
      (10, [0.0, 1.0, 2.0])
    """

    def __init__(
        self,
        folder: pathlib.Path,
        *,
        keep: int = 2,
        belongs_to: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder = pathlib.Path(folder).absolute()
        self._belongs_to = belongs_to
        self._described = False
        newest = ocp.training.preservation_policies.LatestN(keep)
        self._checkpointer = ocp.training.Checkpointer(
            self._folder,  # pyright: ignore[reportArgumentType]
            preservation_policy=newest,  # pyright: ignore[reportArgumentType]
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception: object) -> None:
        self._checkpointer.close()

    @property
    def latest(self) -> int | None:
        """The step of the newest complete checkpoint, None without any."""
        newest = self._checkpointer.latest
        return None if newest is None else int(newest.step)

    def save(self, step: int, tree: Any) -> None:
        """Writes ``tree`` as the checkpoint of ``step``."""
        if not self._described:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self._contents, contents(tree, self._belongs_to))
            self._described = True
        self._checkpointer.save(step, tree)

    def load(self, step: int, like: Any) -> Any:
        """Reads the checkpoint of ``step`` into the structure of ``like``.

        A part of what was saved may be read alone, such as ``{"params": params}``.

        Raises:
          UserError: where the checkpoint is damaged, or is of other tasks, another
            model, method or data.
        """
        self._compare(step, like)
        try:
            with ocp.Context(pytree_options=_PARTS):
                stored = self._checkpointer.load(step, jax.tree.map(_abstract, like))
            return jax.tree.map(jnp.asarray, stored)
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise UserError(
                f"cannot read checkpoint {self._folder / str(step)} "
                f"({reason[0] if reason else type(error).__name__}): it is damaged or "
                "of another model or method; move it away to use the one before"
            ) from error

    @property
    def _contents(self) -> pathlib.Path:
        return self._folder / "contents.json"

    def _compare(self, step: int, like: Any) -> None:
        """Raises where what is wanted is not what the checkpoints hold."""
        if not self._contents.exists():
            return
        stored = json.loads(self._contents.read_text(encoding="utf-8"))
        found = difference(stored, contents(like, self._belongs_to))
        if found is not None:
            raise UserError(
                f"checkpoint {self._folder / str(step)} does not belong to this run: "
                f"{found}"
            )


def _abstract(leaf: jax.Array) -> Any:
    """What orbax is to make of a leaf: an array like this one, where it stands.

    Numbers of 64 bits are read as NumPy arrays: orbax's threads do not know of
    ``jax.enable_x64``, and would halve them.
    """
    if jnp.issubdtype(leaf.dtype, jnp.number) and leaf.dtype.itemsize == 8:
        return np.zeros(leaf.shape, leaf.dtype)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
