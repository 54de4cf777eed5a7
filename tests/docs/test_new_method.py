"""A method is its file and one line: all else follows, and is found here."""

import ast
import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.helpers.pages import DOCS
from tests.helpers.repository import ROOT

FILE = '''
"""Quiet weighting: a third of the mean gradient."""

from typing import Any

from mtopt.aggregation import Aggregator, Weighed, weighting
from mtopt.evaluation import Evaluation
from mtopt.simplex import uniform_over
from mtopt.options import Number
from mtopt.registry import method


@method(family="losses")
def quiet_weighting(
    num_tasks: int, *, share: Number = 1 / 3, heads: str = "weighted"
) -> Aggregator:
    r"""Descends a third of the mean loss.

    .. math:: d = \\frac{c}{K} \\sum_k g_k

    Args:
      num_tasks: K, at least 1.
      share: c.
      heads: see :func:`mtopt.weighting`.

    Returns:
      An aggregator.

    Raises:
      UserError: for an unknown head rule.

    Example:
      >>> tx = quiet_weighting(2)

    References:
      Nobody, A Method of This Test, 2026, arXiv 2601.00001.
    """

    def weigh(memory: Any, evaluation: Evaluation) -> Weighed:
        return share * uniform_over(evaluation.present), memory

    return weighting(num_tasks, weigh, heads=heads)
'''
OWN_FILE = "mtopt/methods/quiet_weighting.py"
LINE = "from mtopt.methods.quiet_weighting import quiet_weighting as quiet_weighting\n"


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The repository with one more file, and one more line."""
    folder = tmp_path_factory.mktemp("repository")
    for room in ("mtopt", "experiments", "tests", "docs"):
        leave = shutil.ignore_patterns("__pycache__", "_build")
        shutil.copytree(ROOT / room, folder / room, ignore=leave)
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / OWN_FILE).write_text(FILE.lstrip())
    listed = folder / "mtopt/methods/__init__.py"
    lines = listed.read_text().splitlines(keepends=True)
    first = next(i for i, line in enumerate(lines) if "mtopt.methods." in line)
    listed.write_text("".join([*lines[:first], LINE, *lines[first:]]))
    return folder


def run(folder, *command):
    """What a command prints that runs in the copy."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_the_command_line_has_it(copy):
    lines = run(copy, "-m", "experiments.main", "--list").splitlines()
    (own,) = (line for line in lines if "quiet_weighting" in line)
    assert "share=0.33" in own
    assert "Descends a third of the mean loss." in own


@pytest.mark.slow
def test_the_invariants_hold_it_to_account(copy):
    printed = run(
        copy,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"),
        *("tests/methods/test_invariants.py", "-k", "quiet_weighting"),
    )
    passed = int(printed.split(" passed")[0].split()[-1])
    assert passed >= 12
    (copy / ".venv").symlink_to(sys.prefix)  # which pyproject.toml names
    run(copy, "-m", "basedpyright", OWN_FILE)


def test_every_function_of_it_says_its_types(copy):
    """As the page shows them: what the test of style finds missing, and no more."""
    tree = ast.parse((copy / OWN_FILE).read_text())
    shown = re.findall(r"`(def [^`]+)`", (DOCS / "new_method.md").read_text())
    nodes = [
        *ast.walk(tree),
        *ast.walk(ast.parse("".join(f"{s}: ...\n" for s in shown))),
    ]
    found = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    assert len(found) == 4
    for function in found:
        assert function.returns is not None
        spec = function.args
        assert all(a.annotation for a in (*spec.args, *spec.kwonlyargs))


@pytest.mark.slow  # CI runs it
def test_the_face_of_the_package_the_table_and_the_pages_have_it(copy):
    text = "mtopt.method('log_losses(quiet_weighting(share=0.5))', 2).rule.num_tasks"
    code = (
        f"import mtopt; mtopt.quiet_weighting(2); print({text})\n"
        "from experiments.benchmarks import method_table as table\n"
        "print(table.row('quiet_weighting'))\n"
        "import sys; sys.path.insert(0, 'docs/extensions')\n"
        "import api_pages, pathlib; api_pages.write(pathlib.Path('docs'))\n"
        "print([str(p) for p in pathlib.Path('docs').rglob('*quiet_weighting*')])"
    )
    num_tasks, row, pages = run(copy, "-c", code).splitlines()
    assert num_tasks == "2"
    assert "2601.00001" in row
    assert "quiet_weighting" in pages
