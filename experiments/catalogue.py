"""All that the command line can name: a line for each, with its options."""

import ast
import inspect
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .common.experiment import CONFIGURATIONS, EXPERIMENTS, PROJECTS, ROOT


def catalogue() -> str:
    """Experiments, methods, transformations, wrappers, data sets and models.

    What is joined of several data sets stands among them.

    Example:
      >>> lines = catalogue().splitlines()
      >>> [line for line in lines if not line.startswith(" ") and line]
      ['experiments', 'methods', 'transformations', 'wrappers', 'data sets', 'models']
    """
    from mtopt.data import DATASETS, join
    from mtopt.methods import METHODS
    from mtopt.models import MODELS
    from mtopt.transforms import TRANSFORMS
    from mtopt.wrappers import WRAPPERS

    sections = {
        "experiments": {name: experiment_summary(name) for name in EXPERIMENTS},
        "methods": _calls(METHODS),
        "transformations": _calls(TRANSFORMS),
        "wrappers": _calls(WRAPPERS),
        "data sets": _calls({**DATASETS, "join": join}),
        "models": _calls(MODELS, GIVEN),
    }
    lines = []
    for title, entries in sections.items():
        lines += [title, *(f"  {call}  {what}" for call, what in entries.items()), ""]
    return "\n".join(lines).rstrip()


def summary_of(path: pathlib.Path) -> str:
    """The first line of a file's docstring, read without importing it."""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return re.sub(r":\w+:`([^`]*)`", r"\1", (doc or "").split("\n")[0])


def experiment_summary(name: str) -> str:
    """What an experiment is, in a line."""
    if name in CONFIGURATIONS:
        return summary_of(ROOT / "configurations" / f"{name}.py")
    return summary_of(ROOT.joinpath(*PROJECTS[name].split("."), "__init__.py"))


def _calls(
    registry: Mapping[str, Callable[..., Any]], given: tuple[str, ...] = ()
) -> dict[str, str]:
    """``name(option=default)`` of every entry without what is given, and what it is."""
    return {
        f"{name}({', '.join(_options(function, given))})": (
            inspect.getdoc(function) or ""
        ).split("\n")[0]
        for name, function in registry.items()
    }


def _options(function: Callable[..., Any], given: tuple[str, ...]) -> Iterator[str]:
    """The options a text can set: keyword-only ones, and a path or folder."""
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY and name not in PLACES:
            continue
        if name in given:
            continue
        default = parameter.default
        yield name if default is parameter.empty else f"{name}={default!r}"


PLACES = ("path", "folder")
"""What a data set is read from."""
GIVEN = ("names", "kind", "outputs", "x_axis", "dtype")
"""Options of a model that the data set answers."""
