"""The one error that tells a user what to change."""


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
