"""The style of the code: documented, typed, options by keyword, short files."""

import ast
import inspect
import re

import pytest

import mtopt
from tests.helpers.imports import MODULES
from tests.helpers.repository import ROOT

PUBLIC = sorted(
    name
    for name, value in vars(mtopt).items()
    if not name.startswith("_")
    and (inspect.isclass(value) or inspect.isfunction(value))
)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_say_what_they_are_for(name):
    doc = inspect.getdoc(getattr(mtopt, name))
    assert doc
    assert len(doc.splitlines()[0]) <= 88
    assert doc.splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("name", sorted(mtopt.METHODS))
def test_methods_are_documented_like_papers(name):
    method = mtopt.METHODS[name]
    assert method.__name__ == name
    assert method.__module__ == f"mtopt.methods.{name}"
    doc = inspect.getdoc(method)
    for part in (".. math::", "Args:", "Returns:", "Raises:", ">>> ", "References:"):
        assert part in doc, part
    assert "arXiv" in doc
    for parameter in inspect.signature(method).parameters:
        assert f"{parameter}:" in doc, parameter


@pytest.mark.parametrize("name", sorted(mtopt.METHODS))
def test_options_are_keywords(name):
    first, *options = inspect.signature(mtopt.METHODS[name]).parameters.values()
    assert first.name == "num_tasks"
    assert all(option.kind is option.KEYWORD_ONLY for option in options)
    (heads,) = (option for option in options if option.name == "heads")
    assert heads.default in ("weighted", "plain")


def functions(path):
    """Every function of a file, nested ones too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def without_annotation(function):
    """What of a function says no type: its arguments by name, or its result."""
    spec = function.args
    named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
    bare = [
        argument.arg
        for argument in named
        if argument is not None
        and argument.annotation is None
        and argument.arg not in ("self", "cls")
    ]
    return bare + ["its result"] * (function.returns is None)


def test_what_says_no_type_is_found():
    (function,) = ast.parse("def f(self, a, *b: int, c=1): ...").body
    assert without_annotation(function) == ["a", "c", "its result"]


def test_every_function_says_its_types():
    found = [
        f"{module}: {function.name} line {function.lineno}, {', '.join(bare)}"
        for module, path in MODULES.items()
        for function in functions(path)
        if (bare := without_annotation(function))
    ]
    assert found == []


def test_files_are_short_enough_to_read():
    tests = {str(path): path for path in sorted((ROOT / "tests").rglob("*.py"))}
    limits = [(MODULES, 450), (tests, 500)]
    found = [
        (name, lines)
        for files, limit in limits
        for name, path in files.items()
        if (lines := path.read_text(encoding="utf-8").count("\n")) > limit
    ]
    assert found == []


def test_no_definition_goes_without_a_docstring_by_permission():
    silenced = [
        module
        for module, path in MODULES.items()
        if re.search(r"noqa: *D\d", path.read_text(encoding="utf-8"))
    ]
    assert silenced == []
