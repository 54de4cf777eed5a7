"""Which modules there are, and which of them each one imports."""

import ast

from tests.helpers.repository import ROOT

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for package in ("experiments", "mtopt")
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imported_by(module):
    """The modules that one imports, wherever in its file."""
    path = MODULES[module]
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            names = [".".join([*base, alias.name]) for alias in node.names]
            found |= {".".join(base), *names}
    return found
