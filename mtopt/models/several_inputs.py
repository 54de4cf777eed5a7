"""Modules of one input, on samples that have several."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from mtopt.models.pure import batch_norms


def on_each(module: nnx.Module, x: Any, *told: Any) -> Any:
    """Runs a module of one input on every input of every sample.

    A sample counts once for BatchNorm, however many inputs it has.

    Args:
      module: of inputs ``[b, ...]``.
      x: inputs, leaves ``[b, M, ...]``, M of every sample.
      told: what else it gets, the :class:`mtopt.Task` that it works for.

    Returns:
      Its outputs, leaves ``[b, M, ...]``.

    Example:
      >>> import jax.numpy as jnp
      >>> on_each(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), jnp.ones((5, 2, 3))).shape
      (5, 2, 4)
    """
    count = jax.tree.leaves(x)[0].shape[1]
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), x)
    modules = [module, *(task.own for task in told if task.own is not None)]
    with _averages_of_samples(modules, count):
        outputs = module(flat, *told)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, count, *leaf.shape[1:]), outputs)


@contextlib.contextmanager
def _averages_of_samples(modules: list[Any], count: int) -> Iterator[None]:
    """BatchNorm averages over samples: ``count`` rows in succession are one."""
    norms = [norm for module in modules for norm in batch_norms(module)]
    averages = [norm.average for norm in norms]

    def over_samples(average: Any) -> Any:
        def of_rows(values: Float[Array, "rows ... C"]) -> Array:
            return average(values.reshape(-1, count, *values.shape[1:]))

        return of_rows

    for norm, average in zip(norms, averages, strict=True):
        norm.average = over_samples(average)
    yield
    for norm, average in zip(norms, averages, strict=True):
        norm.average = average
