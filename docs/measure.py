"""Runs a command and keeps what it printed, for a page of measured results.

    python docs/measure.py NAME 'COMMAND'   measures something new
    python docs/measure.py NAME ...         measures again what NAME says it ran

NAME is a file in ``docs/results/measured``: the command, when and with what it ran, and
the tables it printed. Pages include these files, so that no figure is copied by hand.
In a command, DIR is the folder of data sets that MTOPT_DATA_DIR names.
"""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
import time

MEASURED = pathlib.Path(__file__).parent / "results" / "measured"
PACKAGES = ("jax", "optax", "flax")
DONE = (0, 3)  # 3: the tables are whole, and some models diverged
# Where a run's files are says nothing to a reader, nor when which unit ended, nor
# what stands in the table as well.
PATHS = re.compile(
    r"^(picture|page|folder|numbers|finished in|compiled programs are kept in) .*\n"
    r"|^\S+: writing to .*\n"
    r"|^\S+: \d+ units, \d+ to run, in .*\n"
    r"|^\d+ of \d+: .*, trial \d+\n"
    r"|^.*: \S+ by \d+ parameters\n",
    re.MULTILINE,
)


def measure(command: str, name: str) -> None:
    """Runs the command, and writes the file when it has ended well."""
    data = os.environ.get("MTOPT_DATA_DIR", "DIR")
    words = [
        sys.executable if word == "python" else re.sub(r"\bDIR\b", data, word)
        for word in shlex.split(command)
    ]
    print(f"$ {command}", file=sys.stderr, flush=True)
    started = time.time()
    run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode not in DONE:
        sys.exit(f"error: exit status {run.returncode} of {command!r}: nothing written")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    head = (
        f"{datetime.date.today()}, {time.time() - started:.0f} s on {os.cpu_count()} "
        f"cores: {', '.join(versions)}, Python {platform.python_version()}"
    )
    printed = PATHS.sub("", run.stdout).replace(data, "DIR").strip("\n")
    text = "\n".join(line.rstrip() for line in printed.splitlines())
    MEASURED.mkdir(exist_ok=True)
    (MEASURED / f"{name}.txt").write_text(
        f"$ {command}\n{head}\n\n{text}\n", encoding="utf-8"
    )


def stored_command(name: str) -> str:
    """The command that a file says it is from."""
    path = MEASURED / f"{name}.txt"
    if not path.exists():
        known = ", ".join(sorted(path.stem for path in MEASURED.glob("*.txt")))
        sys.exit(
            f"error: nothing measured is called {name!r}: expected one of {known}, or "
            "a new name and its command"
        )
    return path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("$ ")


def main() -> None:
    """Measures what the arguments name."""
    names = sys.argv[1:]
    if not names:
        sys.exit(__doc__)
    if len(names) == 2 and " " in names[1]:
        measure(names[1], names[0])
        return
    commands = [stored_command(name) for name in names]
    for name, command in zip(names, commands, strict=True):
        measure(command, name)


if __name__ == "__main__":
    main()
