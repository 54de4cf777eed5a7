"""Checkpoints of a run: the one file that knows orbax."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from orbax.checkpoint import v1 as ocp

from mtopt.errors import UserError


class Checkpoints:
    """The newest checkpoints of a run, in a folder with one subfolder per step.

    A checkpoint appears under its step only when it is complete; a run that is killed
    while it writes one finds the one before.

    Args:
      folder: where they live; made on the first save.
      keep: how many of the newest stay.

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

    def __init__(self, folder: pathlib.Path, *, keep: int = 2) -> None:
        self._folder = pathlib.Path(folder).absolute()
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
        self._checkpointer.save(step, tree)

    def load(self, step: int, like: Any) -> Any:
        """Reads the checkpoint of ``step`` into the structure of ``like``.

        Raises:
          UserError: where the checkpoint is damaged, or holds another model or method.
        """
        try:
            stored = self._checkpointer.load(step, jax.tree.map(_abstract, like))
            return jax.tree.map(jnp.asarray, stored)
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise UserError(
                f"cannot read checkpoint {self._folder / str(step)} "
                f"({reason[0] if reason else type(error).__name__}): it is damaged or "
                "of another model or method; move it away to use the one before"
            ) from error


def _abstract(leaf: jax.Array) -> Any:
    """What orbax is to make of a leaf: an array like this one, where it stands.

    Numbers of 64 bits are read as NumPy arrays: orbax's threads do not know of
    ``jax.enable_x64``, and would halve them.
    """
    if jnp.issubdtype(leaf.dtype, jnp.number) and leaf.dtype.itemsize == 8:
        return np.zeros(leaf.shape, leaf.dtype)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
