"""The command ``mtopt``: a subcommand for every program.

``mtopt run`` is ``python -m experiments.main``, and so on: each runs its module with
the arguments that follow. ``mtopt --list`` prints what there is to name.
"""

import runpy
import sys

from .catalogue import catalogue, summary_of
from .common.experiment import PACKAGE, ROOT

PROGRAMS = {
    "run": "main",
    "compare": "compare.__main__",
    "suite": "suite",
    "predict": "predict",
    "evaluate": "evaluate",
    "diagnose": "diagnose.__main__",
    "tables": "tables",
    "report": "report",
    "analyze": "analysis.__main__",
    "benchmark step": "benchmarks.step.__main__",
    "benchmark rows": "benchmarks.rows",
    "benchmark solvers": "benchmarks.solvers",
    "benchmark boosting": "benchmarks.boosting",
    "benchmark outliers": "benchmarks.outliers",
    "benchmark transfer": "benchmarks.transfer",
    "benchmark convolutions": "benchmarks.convolutions",
    "benchmark devices": "benchmarks.devices",
    "benchmark stream": "benchmarks.stream",
    "methods-table": "benchmarks.method_table",
}
"""Subcommand to module; a new program is one line here."""


def main() -> None:
    """Runs the program that the arguments name, or says which there are."""
    arguments = sys.argv[1:]
    sys.path.insert(0, "")  # where the user's own modules are, as for python -m
    if arguments == ["--list"]:
        print(catalogue())
        return
    for length in (2, 1):
        name, rest = " ".join(arguments[:length]), arguments[length:]
        if name in PROGRAMS:
            sys.argv = [f"mtopt {name}", *rest]
            module = f"{PACKAGE}.{PROGRAMS[name]}"
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            return
    if arguments in ([], ["--help"], ["-h"]):
        print(usage())
        return
    known = ", ".join(PROGRAMS)
    print(
        f"error: no program {' '.join(arguments)!r}: expected one of {known}",
        file=sys.stderr,
    )
    sys.exit(2)


def usage() -> str:
    """The subcommands, a line each."""
    lines = ["mtopt PROGRAM [--flag=value ...]", ""]
    width = max(map(len, PROGRAMS))
    for name, module in PROGRAMS.items():
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        lines.append(f"  {name.ljust(width)}  {summary_of(path)}")
    return "\n".join(
        [*lines, "", "mtopt PROGRAM --help: its flags; mtopt --list: what can be named"]
    )
