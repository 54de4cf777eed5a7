"""Small sweeps: their flags, in a process of their own and in this one."""

import os
import signal
import subprocess
import sys
import time
import uuid

from absl.testing import flagsaver

from experiments.compare import __main__ as compare
from experiments.compare import together
from experiments.compare.unit import is_finished, run_unit
from tests.helpers.commands import environment

TINY = [
    "--config.data=multi_digits(num_train=128, num_valid=64, num_test=64)",
    "--config.model=mlp(hidden=(8,))",
    "--config.steps=20",
    "--config.batch_size=32",
    "--config.eval_every=10",
    "--config.log_every=10",
    "--config.checkpoint_every=10",
    "--config.seeds=(0, 1)",
    "--config.optimizer.learning_rate=0.03",
]


def started(folder, *flags):
    """The command, running in a process group of its own.

    It hears an interrupt even if what runs the tests has been told to ignore them, as a
    shell tells its background jobs: a process inherits that, but not a handler.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.compare", *flags],
            cwd=folder,
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)


def one_after_another(units, jobs, cluster, cache):
    """As :func:`experiments.compare.workers.run_units`, in this process."""
    command = uuid.uuid4().hex
    for folder, unit in units.items():
        if not is_finished(folder):
            run_unit(unit, folder, command, cache)


def compared_here(folder, patch, *flags):
    """The command in this process, units and all; its exit status."""
    return run_here(compare, ["compare", *flags], folder, patch)


def run_here(program, argv, folder, patch):
    """A program of sweeps in this process, units and all; its exit status.

    Args:
      program: with ``parse_flags`` and ``main``.
      argv: its words.
      folder: where it runs.
      patch: a ``pytest.MonkeyPatch``.
    """
    patch.chdir(folder)
    patch.setattr(sys, "argv", argv)
    patch.setenv("MTOPT_CACHE", str(folder / "cache"))
    for name in ("NPROC", "XLA_PYTHON_CLIENT_PREALLOCATE"):  # the command sets them
        patch.setenv(name, "1")
    patch.setattr(together, "run_units", one_after_another)
    with flagsaver.flagsaver(data_dir=None):
        try:
            program.main(program.parse_flags(argv))
        except SystemExit as stop:
            return stop.code
    return 0


def files(folder):
    """Every file below a folder, with when it was written."""
    return {
        path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()
    }


def kill(process):
    """With all that it started, as by a machine that goes down."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def ended(folder):
    """What a sweep came to: all but times and places."""
    return [
        (path.relative_to(folder), path.read_text(encoding="utf-8"))
        for name in ("table.txt", "results.json", "trials.csv")
        for path in sorted(folder.rglob(name))
    ]


def wait_for(process, what, folder, seconds=300):
    """Until there is a file of a name."""
    until = time.monotonic() + seconds
    while not any(folder.rglob(what)):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.05)
