"""Arrays as users have them, of other libraries or of no numbers, as arrays for JAX."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from mtopt.errors import UserError


def as_numbers(name: str, values: Any) -> np.ndarray | Array:
    """An array of numbers, from whatever holds some.

    A JAX array, traced or not, is handed back as it is; tensors of other libraries
    become NumPy arrays, without their gradients and from whatever device they are on.

    Args:
      name: what to call it in an error: ``"labels of task 'a'"``.
      values: an array, a tensor, a column of a frame, nested lists.

    Raises:
      UserError: for strings, dates and Python objects, None among numbers too.

    Example:
      >>> as_numbers("labels", [1, 2.5]).tolist()
      [1.0, 2.5]
      >>> as_numbers("labels", np.array([1, None]))
      Traceback (most recent call last):
      mtopt.errors.UserError: labels holds Python objects (NoneType, int): expected \
numbers, NaN where one is missing: numpy.array(values, float) makes None one
      >>> as_numbers("labels", ["yes", "no"])
      Traceback (most recent call last):
      mtopt.errors.UserError: labels holds strings: expected numbers; \
numpy.unique(values, return_inverse=True)[1] makes names into classes
    """
    if isinstance(values, jax.Array):
        return values
    if hasattr(values, "detach"):  # PyTorch's, which NumPy refuses with a gradient
        values = values.detach().cpu()
    array = np.asarray(values)
    if jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool:
        return array
    if array.dtype.kind in "US":
        found = "strings: expected numbers; numpy.unique(values, return_inverse=True)"
        found += "[1] makes names into classes"
    elif array.dtype.kind == "O":
        kinds = sorted({type(value).__name__ for value in array.ravel().tolist()})
        found = f"Python objects ({', '.join(kinds[:5])}): expected numbers, NaN where "
        found += "one is missing: numpy.array(values, float) makes None one"
    else:
        found = f"values of type {array.dtype}: expected numbers"
    raise UserError(f"{name} holds {found}")
