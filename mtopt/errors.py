"""The error for bad input, and checks of options that raise it."""

import math
import numbers

import jax
import numpy as np
from jaxtyping import Array, Float

from mtopt.options import Number, Numbers, as_array, is_traced


class UserError(ValueError):
    """Bad input: what was found, what was expected, and what to do, in one line.

    The library raises it for a wrong shape, name, file, folder or option. The
    command line prints its message alone and exits with code 2; any other
    exception is a bug of ours and keeps its traceback.
    """


def nearest(name: str, known: "list[str] | tuple[str, ...]") -> str:
    """A hint for a misspelt name: the closest known ones, or all where none is close.

    Args:
      name: what the user wrote.
      known: the names that exist.

    Returns:
      A clause such as ``did you mean 'mgda'?``.

    Example:
      >>> nearest("mdga", ["mgda", "equal_weighting"])
      "did you mean 'mgda'?"
      >>> nearest("sgd", ["mgda", "equal_weighting"])
      'known are equal_weighting, mgda'
    """
    return close_to(name, known) or f"known are {', '.join(sorted(known))}"


def close_to(name: str, known: "list[str] | tuple[str, ...]") -> str | None:
    """A hint with the closest known names, None where none is close.

    Args:
      name: what the user wrote.
      known: the names that exist.
    """
    import difflib

    close = difflib.get_close_matches(name, known, n=2, cutoff=0.7)
    if not close:
        return None
    return f"did you mean {' or '.join(repr(c) for c in close)}?"


def expect(
    condition: bool | np.bool | Array, name: str, value: object, expected: str
) -> None:
    """Raises unless an option has a value that it may have.

    Args:
      condition: True if it may; a traced condition passes.
      name: of the option.
      value: what was given.
      expected: what may be given, in words: ``"a number above 0"``.

    Raises:
      UserError: naming all three.

    Example:
      >>> expect(0 < 2, "rho", 2, "a number above 0")
    """
    if not is_traced(condition) and not condition:
        raise UserError(f"{name} is {value!r}: expected {expected}")


def expect_one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raises unless ``value`` is one of the names an option knows.

    Raises:
      UserError: with all of them.
    """
    expect(value in known, name, value, f"one of {known}")


def expect_number(
    name: str,
    value: object,
    *,
    above: Number | None = None,
    at_least: Number | None = None,
    below: Number | None = None,
    at_most: Number | None = None,
) -> None:
    """Raises unless an option is a number in its range; a traced one passes.

    Args:
      name: of the option.
      value: what was given: a plain number, or a scalar of NumPy or JAX.
      above: what it must exceed.
      at_least: what it must reach.
      below: what it must stay below.
      at_most: what it must not exceed; without any bound, it must be finite.

    Raises:
      UserError: naming the range.

    Example:
      >>> expect_number("rho", 2, above=0)
      >>> expect_number("beta", 1.0, at_least=0, below=1)
      Traceback (most recent call last):
      mtopt.errors.UserError: beta is 1.0: expected a number from 0 to below 1
    """
    scalar = isinstance(value, numbers.Real) or (
        isinstance(value, np.ndarray | jax.Array) and value.ndim == 0
    )
    good = scalar
    if scalar and not is_traced(value):
        # A comparison of JAX arrays would be traced inside of a program.
        number = float(value)  # pyright: ignore[reportArgumentType]
        bounded = (above, at_least, below, at_most) != (None, None, None, None)
        good = (
            (bounded or math.isfinite(number))
            and (above is None or bool(number > above))
            and (at_least is None or bool(number >= at_least))
            and (below is None or bool(number < below))
            and (at_most is None or bool(number <= at_most))
        )
    expect(good, name, value, _range(above, at_least, below, at_most))


def _range(
    above: Number | None,
    at_least: Number | None,
    below: Number | None,
    at_most: Number | None,
) -> str:
    """The range in words: ``"a number from 0 to below 1"``."""
    if at_least is not None and (below, at_most) != (None, None):
        top = f"below {below}" if below is not None else at_most
        return f"a number from {at_least} to {top}"
    bounds = {"above": above, "of at least": at_least, "below": below}
    bounds["at most"] = at_most
    words = [f"{word} {bound}" for word, bound in bounds.items() if bound is not None]
    return f"a number {' and '.join(words)}" if words else "a finite number"


def expect_index(name: str, value: object, size: int) -> None:
    """Raises unless an option is the place of one of so many; a traced one passes.

    Args:
      name: of the option.
      value: what was given.
      size: how many there are.

    Raises:
      UserError: with the indices that there are.
    """
    inside = is_traced(value) or (
        np.ndim(value) == 0 and np.asarray(value) in range(size)  # pyright: ignore[reportArgumentType]
    )
    expect(inside, name, value, f"an index from 0 to {size - 1}")


def expect_plain(name: str, value: object) -> None:
    """Raises for a traced value of an option that the compiled program depends on.

    Args:
      name: of the option.
      value: what was given.

    Raises:
      UserError: saying what to do.
    """
    if is_traced(value):
        raise UserError(
            f"{name} is traced: expected a plain number, on which the compiled program "
            "depends; with optax.inject_hyperparams, name it in static_args"
        )


def expect_per_task(
    name: str,
    values: Numbers,
    num_tasks: int,
    *,
    above: int | None = None,
    at_least: int | None = None,
) -> Float[np.ndarray | Array, " K"]:
    """An option that has one number for every task, as an array.

    Args:
      name: of the option.
      values: what was given; of traced numbers only their count is known.
      num_tasks: K.
      above: what all of them must exceed; None for any finite numbers.
      at_least: what none of them may be below; one at least must then be above it.

    Raises:
      UserError: unless they are K finite numbers in that range.

    Example:
      >>> expect_per_task("preference", (1, 3), 2, above=0).tolist()
      [1.0, 3.0]
    """
    array, bounds = as_array(values), ""
    known = array if isinstance(array, np.ndarray) else None
    good = array.shape == (num_tasks,)
    good = good and (known is None or bool(np.isfinite(known).all()))
    if above is not None:
        good = good and (known is None or bool((known > above).all()))
        bounds = f" above {above}"
    if at_least is not None:
        reached = known is None or bool(
            (known >= at_least).all() and (known > at_least).any()
        )
        good, bounds = good and reached, f" of at least {at_least}, not all {at_least}"
    expected = f"{num_tasks} finite numbers{bounds}, one per task in sorted order"
    expect(good, name, values, expected)
    return array
