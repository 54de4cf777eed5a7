"""The style of the public names: documented, doctested, options by keyword."""

import inspect

import pytest

import mtopt

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
