"""The texts of methods, with drawn options put in."""

import ast
from collections.abc import Mapping
from typing import Any

from mtopt.errors import UserError


def set_options(text: str) -> dict[str, set[str]]:
    """The names in the text of a method, and the options that it sets of each.

    Args:
      text: as ``--method`` takes it.

    Raises:
      UserError: for what can't be read.

    Example:
      >>> set_options("normalize_rows(by='l2') + log_losses(mgda)")
      {'normalize_rows': {'by'}, 'log_losses': set(), 'mgda': set()}
    """
    calls = _Calls({})
    calls.visit(_parsed(text))
    return calls.found


def with_options(text: str, options: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of a method with more options.

    Args:
      text: as ``--method`` takes it.
      options: name in the text to option to value.

    Raises:
      UserError: for what can't be read.

    Example:
      >>> with_options("log_losses(cagrad) @ 100", {"cagrad": {"c": 0.25}})
      'log_losses(cagrad(c=0.25)) @ 100'
    """
    return ast.unparse(_Calls(options).visit(_parsed(text)))


def _parsed(text: str) -> ast.Expression:
    try:
        return ast.parse(text.strip(), mode="eval")
    except SyntaxError:
        raise UserError(
            f"cannot read the method {text!r}: expected a name, or a name with options "
            "as in mgda(normalize='l2')"
        ) from None


class _Calls(ast.NodeTransformer):
    """Gives names their options, and notes which ones they had."""

    def __init__(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        self._options = options
        self.found: dict[str, set[str]] = {}

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A name without brackets."""
        return self._with_options(ast.Call(node, [], []))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A name with them."""
        return self._with_options(node)

    def _with_options(self, call: ast.Call) -> ast.AST:
        name = ast.unparse(call.func)
        self.found[name] = {str(keyword.arg) for keyword in call.keywords}
        call.args = [self.visit(argument) for argument in call.args]
        call.keywords += [
            ast.keyword(option, ast.parse(repr(value), mode="eval").body)
            for option, value in self._options.get(name, {}).items()
        ]
        return call if call.args or call.keywords else call.func
