"""``name(option=value)`` as a flag: what to build, options checked by signature."""

import ast
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mtopt.errors import UserError, nearest

Registry = Mapping[str, Callable[..., Any]]


def build(what: str, text: str, known: Registry, *arguments: Any, **fixed: Any) -> Any:
    """Calls ``known[name]`` with the options that ``text`` spells out.

    Args:
      what: what is being named, for the error: ``"method"``, ``"model"``.
      text: ``"mgda"`` or ``"mgda(normalize='l2')"``; values are Python literals.
      known: name to function.
      *arguments: positional arguments of the function, which ``text`` can't set.
      **fixed: keyword arguments that take the place of those in ``text``.

    Raises:
      UserError: for a name, an option or a literal that can't be read.

    Example:
      >>> def power(base, *, exponent=2): return base ** exponent
      >>> build("function", "power(exponent=3)", {"power": power}, 2)
      8
    """
    name, options = check(what, text, known, *arguments, **fixed)
    return known[name](*arguments, **{**options, **fixed})


def check(
    what: str, text: str, known: Registry, *arguments: Any, **fixed: Any
) -> tuple[str, dict[str, Any]]:
    """The name and options of ``text``, without calling anything.

    Args and errors are those of :func:`build`.
    """
    name, options = parse(what, text)
    if name not in known:
        raise UserError(f"no {what} {name!r}: {nearest(name, list(known))}")
    parameters = inspect.signature(known[name]).parameters
    free = list(parameters)[len(arguments) :]
    for option in options:
        if option not in free:
            hint = nearest(option, free) if free else "it takes no options"
            raise UserError(f"{what} {name!r} has no option {option!r}: {hint}")
    required = [p for p in free if parameters[p].default is inspect.Parameter.empty]
    missing = [p for p in required if p not in options and p not in fixed]
    if missing:
        example = ", ".join(f"{p}=..." for p in missing)
        raise UserError(
            f'{what} {name!r} needs {" and ".join(missing)}: write "{name}({example})"'
        )
    return name, options


def parse(what: str, text: str) -> tuple[str, dict[str, Any]]:
    """The name and the options of ``text``.

    Raises:
      UserError: unless it is a name, or a call with literal keyword arguments.

    Example:
      >>> parse("method", "mgda(normalize='l2')")
      ('mgda', {'normalize': 'l2'})
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        if isinstance(call.func, ast.Name) and not call.args:
            values = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
            if None not in values:
                return call.func.id, {str(option): v for option, v in values.items()}
    except (SyntaxError, ValueError):
        pass
    raise UserError(
        f"cannot read the {what} {text!r}: expected a name, or a name with options as "
        "in mgda(normalize='l2')"
    )
