"""Numbers that a method, wrapper or transformation takes: plain ones, and traced ones.

A traced number is known only when the compiled program runs: a schedule, an entry of
``optax.inject_hyperparams``, a value under ``jax.vmap`` or ``jax.grad``.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array

Number = float | int | Array
Integer = int | Array
Numbers = Sequence[Number] | np.ndarray | Array


def is_traced(value: Any) -> bool:
    """Whether a value, or an entry of it, is known only when the program runs.

    Args:
      value: an option, or what was computed from one.

    Example:
      >>> is_traced(0.5), bool(jax.jit(lambda c: jnp.array(is_traced((c, 1))))(0.5))
      (False, True)
    """
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))


def is_zero(value: Any) -> bool:
    """Whether all of an option is a plain 0, so that what it scales need not be built.

    Args:
      value: a number or an array of them; a traced one is never a plain 0.

    Example:
      >>> is_zero(0.0), is_zero(np.zeros(2)), is_zero((0.0, 0.1))
      (True, True, False)
    """
    return not is_traced(value) and not np.any(np.asarray(value))


def as_array(values: Any) -> np.ndarray | Array:
    """An option as floats: a NumPy array in float64, or a JAX array where it is traced.

    Plain numbers keep all their digits for programs in float64.

    Args:
      values: a number, or any nesting of sequences of them.

    Example:
      >>> as_array((1, 0.1)).dtype
      dtype('float64')
    """
    return (
        jnp.asarray(values, float) if is_traced(values) else np.asarray(values, float)
    )
