"""What is asked of the tasks' own parameters, and of what their losses return."""

from typing import Any

import jax
import jax.numpy as jnp

from mtopt.errors import UserError
from mtopt.passes import WRITTEN_OUT, platform
from mtopt.per_task import PerTask


def have_layers(heads: PerTask) -> bool:
    """Whether a task has more than one layer of its own, as two matrices say."""
    matrices = (leaf for leaf in jax.tree.leaves(heads.values) if leaf.ndim > 2)
    return len(list(matrices)) > 1


def passes_of_heads(heads: Any, num_tasks: int) -> str:
    """How heads are gone through; see :func:`mtopt.passes.over_tasks`.

    All at once, but for kernels of images on a CPU: those of several tasks are one
    convolution of as many groups, whose gradients take it seven times as long.

    Args:
      heads: parameters of the tasks' own, ``[K, ...]``.
      num_tasks: K.
    """
    kernels = any(leaf.ndim > 4 for leaf in jax.tree.leaves(heads))
    apart = kernels and platform() == "cpu" and num_tasks <= WRITTEN_OUT
    return "unroll" if apart else "vmap"


def check_outputs(outputs: Any, has_aux: bool) -> None:
    """Raises unless a head loss returned one number, and auxiliary ones where said."""
    pair = isinstance(outputs, tuple) and len(outputs) == 2
    if pair and not has_aux:
        raise UserError(
            "head_loss returned a pair: expected one number, or "
            "mtopt.Tasks(..., has_aux=True) for a loss and auxiliary outputs"
        )
    if has_aux and not pair:
        raise UserError(
            "head_loss returned no pair: expected (loss, auxiliary outputs), as "
            "has_aux=True says"
        )
    loss: Any = outputs[0] if has_aux else outputs
    if jnp.shape(loss):
        raise UserError(
            f"head_loss returned an array of shape {jnp.shape(loss)}: expected one "
            "number; mtopt.masked_mean reduces the losses of samples"
        )
