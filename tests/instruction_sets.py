"""Runs the suite on programs compiled for other processors, and for users' options.

    python -m tests.instruction_sets
    python -m tests.instruction_sets --isa=SSE4_2 --xla=suite -- tests/methods -x

A test whose outcome hangs on how a processor rounds passes on one machine and fails on
another: XLA can be told to use no more than the instructions of an older one. It prints
one line a run, and exits with 1 if one fails. What a run wrote is kept in its log.
"""

import argparse
import os
import pathlib
import subprocess
import sys

from tests.helpers.repository import ROOT
from tests.helpers.xla import SUITE_FLAGS

INSTRUCTION_SETS = ("SSE4_2", "AVX2", "AVX512")
# The suite's own flags leave XLA's optimisation out; users' programs have it.
OPTIONS = {"suite": SUITE_FLAGS, "optimised": ""}


def run(isa: str, xla: str, arguments: list[str], folder: pathlib.Path) -> bool:
    """One run of pytest, its last line printed; whether it passed."""
    name = f"{isa}-{xla}"
    log = folder / f"{name}.log"
    environment = os.environ | {
        "XLA_FLAGS": f"{OPTIONS[xla]} --xla_cpu_max_isa={isa}".strip(),
        # What was compiled for one processor is not for another.
        "JAX_COMPILATION_CACHE_DIR": str(folder / name),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *arguments]
    with log.open("w") as output:
        status = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    *_, last = log.read_text().splitlines() or [f"exit status {status}"]
    print(f"{isa:7}{xla:10}{last}  ({log.relative_to(ROOT)})", flush=True)
    return status == 0


def main() -> None:
    """Every chosen run, and the status of all of them."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.instruction_sets", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--isa", choices=INSTRUCTION_SETS, action="append")
    parser.add_argument("--xla", choices=OPTIONS, action="append")
    parser.add_argument("arguments", nargs="*", help="for pytest, behind --")
    asked = parser.parse_args()
    folder = ROOT / ".jax_cache" / "instruction_sets"
    folder.mkdir(parents=True, exist_ok=True)
    passed = [
        run(isa, xla, asked.arguments, folder)
        for isa in asked.isa or INSTRUCTION_SETS
        for xla in asked.xla or OPTIONS
    ]
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
