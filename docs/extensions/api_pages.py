"""Pages of the API, written from the package each time the site is built.

Every public definition of ``mtopt`` stands on one page, under its shortest name: first
what the package or the room exports, then what a module of the room defines. A method
that joins ``mtopt.METHODS`` has a page with no further line.
"""

import importlib
import inspect
import pathlib
import pkgutil
import sys
import types
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.nodes import make_refnode

import mtopt


def setup(app: Sphinx) -> dict[str, bool]:
    """Writes the pages before Sphinx looks for them."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("builder-inited", lambda app: write(pathlib.Path(app.srcdir)))
    app.connect("autodoc-skip-member", _is_no_documentation)
    app.connect("missing-reference", _link)
    return {"parallel_read_safe": True}


def write(docs: pathlib.Path) -> None:
    """Writes ``methods.md`` and everything below ``api/``.

    Args:
      docs: the folder of the site's sources.
    """
    pages = {"methods.md": _method_table(), **_method_pages()}
    rooms = _room_pages()
    pages |= {f"api/{name}.rst": text for name, text in rooms.items()}
    pages["api/index.rst"] = _index(list(rooms))
    for stale in (docs / "api").rglob("*.rst"):
        if str(stale.relative_to(docs)) not in pages:
            stale.unlink()
    for path, text in pages.items():
        target = docs / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # An unchanged file keeps its date, so that a second build is quick.
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def documented() -> dict[str, dict[str, list[str]]]:
    """The names on the page of each room, by the module that users import them from.

    The page of a definition is that of the room where it stands: ``mtopt.flat_regions``
    is on that of ``mtopt.wrappers``.
    """
    seen: set[int] = {id(method) for method in mtopt.METHODS.values()}
    pages: dict[str, dict[str, list[str]]] = {}
    for module in _modules():
        for name, value in _public(module):
            if id(value) not in seen:
                seen.add(id(value))
                home = module.__name__
                if module is mtopt:
                    home = getattr(value, "__module__", None) or home
                page = pages.setdefault(_room(home), {})
                page.setdefault(module.__name__, []).append(name)
    return dict(sorted(pages.items()))


def _room(module: str) -> str:
    """The room of a module: a folder of the package, or the package itself."""
    room = ".".join(module.split(".")[:2])
    return room if hasattr(sys.modules[room], "__path__") else "mtopt"


def _is_no_documentation(
    app: Sphinx, what: str, name: str, member: object, skip: bool, options: object
) -> bool | None:
    """Leaves out what other libraries put into our classes.

    A field of a ``NamedTuple`` is described in its class; scikit-learn adds a
    ``set_..._request`` to an estimator for every method that takes metadata.
    """
    del app, what, skip, options
    field = type(member).__name__ == "_tuplegetter"
    return True if field or name.endswith("_request") else None


def _link(
    app: Sphinx, env: BuildEnvironment, node: addnodes.pending_xref, text: nodes.Element
) -> nodes.Element | None:
    """Links a name that is documented under another, shorter one.

    Beside its definition a docstring says ``mgda``, and the page says ``mtopt.mgda``.
    """
    if node.get("refdomain") != "py":
        return None
    domain = env.domains.python_domain
    kinds = domain.objtypes_for_role(node["reftype"], [])
    parts = node["reftarget"].split(".")
    for start in range(len(parts)):
        ending = "." + ".".join(parts[start:])
        found = [
            (name, entry)
            for name, entry in domain.objects.items()
            if name.endswith(ending) and entry.objtype in kinds
        ]
        if len(found) == 1:
            name, entry = found[0]
            return make_refnode(
                app.builder, node["refdoc"], entry.docname, entry.node_id, [text], name
            )
    return None


def _modules() -> Iterator[types.ModuleType]:
    """The package, then its rooms, then their modules: shortest names first."""
    found = pkgutil.walk_packages(mtopt.__path__, "mtopt.")
    names = sorted((info.name for info in found), key=lambda name: name.count("."))
    for name in ("mtopt", *names):
        if not name.rpartition(".")[2].startswith("_"):
            yield importlib.import_module(name)


def _public(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """What a module defines, or a room exports: functions, classes, described data."""
    exports = hasattr(module, "__path__")
    analyzer = ModuleAnalyzer.for_module(module.__name__)
    described = {name for _, name in analyzer.find_attr_docs()}
    for name, value in vars(module).items():
        home = getattr(value, "__module__", None) or ""
        ours = home.startswith("mtopt.") if exports else home == module.__name__
        defined = inspect.isclass(value) or inspect.isroutine(value)
        if not name.startswith("_") and ((ours and defined) or name in described):
            yield name, value


def _room_pages() -> dict[str, str]:
    pages = {}
    for room, modules in documented().items():
        text = [_title(room, "="), _module(room)]
        for module, names in modules.items():
            if module not in (room, "mtopt"):
                text.append(_title(module, "-"))
                text.append(_module(module))
            text += [_entry(module, name) for name in names]
        pages[room] = "\n".join(text)
    return pages


def _method_pages() -> dict[str, str]:
    return {
        f"api/methods/{name}.rst": f"{_title(name, '=')}\n{_entry('mtopt', name)}"
        for name in mtopt.METHODS
    }


def _method_table() -> str:
    """The measured table, its links turned to the methods' pages."""
    path = pathlib.Path(mtopt.__path__[0]) / "methods" / "README.md"
    text = path.read_text(encoding="utf-8")
    for name in mtopt.METHODS:
        text = text.replace(f"]({name}.py)", f"](api/methods/{name}.rst)")
    names = "\n".join(f"api/methods/{name}" for name in mtopt.METHODS)
    return f"{text}\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"


def _index(rooms: list[str]) -> str:
    listed = "\n".join(f"   {room}" for room in rooms)
    return f"{_title('API', '=')}\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n"


def _entry(module: str, name: str) -> str:
    value = getattr(sys.modules[module], name)
    if inspect.isclass(value):
        return f".. autoclass:: {module}::{name}\n   :members:\n"
    if inspect.isroutine(value):
        return f".. autofunction:: {module}::{name}\n"
    return f".. autodata:: {module}::{name}\n   :no-value:\n"


def _module(name: str) -> str:
    """A module's own docstring; without a name to link to where a function has it."""
    parent, _, last = name.rpartition(".")
    hidden = parent and getattr(sys.modules[parent], last) is not sys.modules[name]
    options = "   :no-members:\n" + ("   :no-index:\n" if hidden else "")
    return f".. automodule:: {name}\n{options}"


def _title(text: str, underline: str) -> str:
    return f"{text}\n{underline * len(text)}\n"
