"""A function of one task mapped over tasks: by vmap, unrolled, or in a loop."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

PASSES = ("vmap", "unroll", "map")
WRITTEN_OUT = 8
"""The most tasks whose convolutions are written out, as each is compiled."""


def over_tasks(
    function: Callable[..., Any], in_axes: Sequence[int | None], passes: str = "vmap"
) -> Callable[..., Any]:
    """Maps a function of one task over the leading task axis, as ``jax.vmap`` does.

    Args:
      function: of one task's arguments.
      in_axes: for every argument 0 where it has the task axis, None where all tasks
        have it in common; one of them is 0.
      passes: ``"vmap"``: all tasks at once. ``"unroll"``: one after another, written
        out K times: with parameters of its own for every task, convolutions run faster
        than under ``vmap`` on a CPU, and compile K times longer. ``"map"``: one after
        another in a loop, so that the activations of one task alone are in memory.

    Returns:
      The function with the task axis first on what it returns.

    Example:
      >>> double = over_tasks(lambda a, x: a * x, (None, 0), "map")
      >>> double(2., jnp.arange(3.)).tolist()
      [0.0, 2.0, 4.0]
    """
    if passes == "vmap":
        return jax.vmap(function, in_axes=tuple(in_axes))

    def call(*arguments: Any) -> Any:
        own = tuple(a for a, axis in zip(arguments, in_axes, strict=True) if axis == 0)

        def one(own: tuple[Any, ...]) -> Any:
            entries = iter(own)
            return function(
                *(
                    next(entries) if axis == 0 else argument
                    for argument, axis in zip(arguments, in_axes, strict=True)
                )
            )

        if passes == "map":
            return jax.lax.map(one, own)
        num_tasks = len(jax.tree.leaves(own)[0])
        results = [
            one(jax.tree.map(lambda leaf, k=k: leaf[k], own)) for k in range(num_tasks)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    return call


def platform() -> str:
    """Where what is traced now is to run: ``"cpu"``, ``"gpu"`` or ``"tpu"``."""
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if device is None:
        return jax.default_backend()
    return device if isinstance(device, str) else device.platform
