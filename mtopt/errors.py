"""The one error that tells a user what to change, and what raises it for options."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


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
    import difflib

    close = difflib.get_close_matches(name, known, n=2, cutoff=0.7)
    if not close:
        return f"known are {', '.join(sorted(known))}"
    return f"did you mean {' or '.join(repr(c) for c in close)}?"


def expect(condition: bool, name: str, value: object, expected: str) -> None:
    """Raises unless an option has a value that it may have.

    Args:
      condition: True if it may.
      name: of the option.
      value: what was given.
      expected: what may be given, in words: ``"a number above 0"``.

    Raises:
      UserError: naming all three.

    Example:
      >>> expect(0 < 2, "rho", 2, "a number above 0")
    """
    if not condition:
        raise UserError(f"{name} is {value!r}: expected {expected}")


def expect_one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raises unless ``value`` is one of the names an option knows.

    Raises:
      UserError: with all of them.
    """
    expect(value in known, name, value, f"one of {known}")


def expect_per_task(
    name: str,
    values: Sequence[float | int] | np.ndarray,
    num_tasks: int,
    *,
    above: int | None = None,
    at_least: int | None = None,
) -> Float[np.ndarray, " K"]:
    """An option that has one number for every task, as an array.

    Args:
      name: of the option.
      values: what was given.
      num_tasks: K.
      above: what all of them must exceed; None for any finite numbers.
      at_least: what none of them may be below; one at least must then be above it.

    Raises:
      UserError: unless they are K finite numbers in that range.

    Example:
      >>> expect_per_task("preference", (1, 3), 2, above=0).tolist()
      [1.0, 3.0]
    """
    array = np.asarray(values, float)
    good, bounds = array.shape == (num_tasks,) and bool(np.isfinite(array).all()), ""
    if above is not None:
        good, bounds = good and bool((array > above).all()), f" above {above}"
    if at_least is not None:
        good = good and bool((array >= at_least).all() and (array > at_least).any())
        bounds = f" of at least {at_least}, not all {at_least}"
    expected = f"{num_tasks} finite numbers{bounds}, one per task in sorted order"
    expect(good, name, values, expected)
    return array
