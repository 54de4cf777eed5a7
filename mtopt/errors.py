"""The one error that tells a user what to change."""


class UserError(ValueError):
    """Bad input: what was found, what was expected, and what to do, in one line.

    The library raises it for a wrong shape, name, file, folder or option. The
    command line prints its message alone and exits with code 2; any other
    exception is a bug of ours and keeps its traceback.
    """


def nearest(name: str, known: "list[str] | tuple[str, ...]") -> str:
    """A hint for a misspelt name: the closest known ones, or all of them.

    Args:
      name: what the user wrote.
      known: the names that exist.

    Returns:
      A clause such as ``did you mean 'mgda'? (known: equal_weighting, mgda)``.

    Example:
      >>> nearest("mdga", ["mgda", "equal_weighting"])
      "did you mean 'mgda'? (known: equal_weighting, mgda)"
    """
    import difflib

    close = difflib.get_close_matches(name, known, n=2)
    listing = f"(known: {', '.join(sorted(known))})"
    if not close:
        return listing
    return f"did you mean {' or '.join(repr(c) for c in close)}? {listing}"
