"""A user's own things, by the module that they are in: ``my_module:my_model``."""

import importlib
import io
import tokenize
from typing import Any

from mtopt.errors import UserError, nearest

DOT, COLON = "·", "ː"
"""In place of a dot and a colon, signs that may stand in a Python name."""


def is_imported(name: str) -> bool:
    """Whether a name says which module it is in."""
    return ":" in name


def imported(what: str, name: str) -> Any:
    """What stands under a name in a module.

    Args:
      what: what is being named, for errors: ``"model"``, ``"data set"``.
      name: ``package.module:attribute``; the module is one that Python finds, in the
        current folder or installed.

    Raises:
      UserError: where there is no such module, or nothing of that name in it.

    Example:
      >>> imported("function", "math:sqrt")(9.0)
      3.0
    """
    module, _, attribute = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), attribute)):
        raise UserError(
            f"{what} {name!r}: expected MODULE:NAME, as in my_package.my_module:mine"
        )
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        # Of a module that it imports itself, the user is told by Python.
        if not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"no module {module!r} for the {what} {name!r}: expected {module}.py in "
            "this folder, or an installed package"
        ) from error
    if not hasattr(found, attribute):
        names = [each for each in vars(found) if not each.startswith("_")]
        raise UserError(
            f"{what} {name!r}: {getattr(found, '__file__', module)} has no "
            f"{attribute!r}: "
            f"{nearest(attribute, names)}"
        )
    return getattr(found, attribute)


def as_python(text: str) -> str:
    """A text in which names of modules are such as Python reads as one name.

    Args:
      text: as ``my.module:model(hidden=(8,)) + other``; what stands in quotes stays.

    Raises:
      ValueError: for a text that is no sequence of Python's tokens.

    Example:
      >>> as_python("my.models:tiny(path='a:b')")
      "my·modelsːtiny(path='a:b')"
      >>> as_text(as_python("my.models:tiny(path='a:b')"))
      "my.models:tiny(path='a:b')"
    """
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, IndentationError) as error:
        raise ValueError(str(error)) from error
    signs = list(text)
    for i, token in enumerate(tokens):
        if token.string != ":" or token.start[0] != 1:
            continue
        chain, last = [token], i
        while _joined(tokens, last - 1) and tokens[last - 1].type == tokenize.NAME:
            last -= 1
            if not (tokens[last - 1].string == "." and _joined(tokens, last - 1)):
                break
            last -= 1
            chain.append(tokens[last])
        follows = tokens[i + 1].type == tokenize.NAME and _joined(tokens, i)
        if last < i and follows and tokens[last].type == tokenize.NAME:
            for each in chain:
                signs[each.start[1]] = COLON if each is token else DOT
    return "".join(signs)


def as_text(name: str) -> str:
    """What :func:`as_python` was given."""
    return name.replace(DOT, ".").replace(COLON, ":")


def _joined(tokens: list[tokenize.TokenInfo], i: int) -> bool:
    """Whether a token and the next one touch."""
    return i >= 0 and tokens[i].end == tokens[i + 1].start
