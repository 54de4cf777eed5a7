"""The command of an experiment: in a process of its own, in this one, and killed."""

import os
import subprocess
import sys

import grain  # noqa: F401
from absl.testing import flagsaver
from array_record.python import array_record_data_source  # noqa: F401

from experiments import main
from tests.helpers.repository import ROOT

SMALL = [
    "--config.data=multi_digits(num_train=256, num_valid=64, num_test=64)",
    "--config.model=mlp(hidden=(16,))",
    "--config.steps=60",
    "--config.batch_size=32",
    "--config.eval_every=20",
    "--config.log_every=10",
    "--config.checkpoint_every=20",
    "--config.seeds=(0, 1)",
    "--config.optimizer.learning_rate=0.01",
]


def command(*flags):
    return [sys.executable, "-m", "experiments.main", *flags]


def environment(tmp_path):
    kept = {k: v for k, v in os.environ.items() if k != "MTOPT_DATA_DIR"}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "MTOPT_CACHE": str(tmp_path / "cache"),
    }


def run(tmp_path, *flags, **extra):
    return subprocess.run(
        command(*flags),
        cwd=tmp_path,
        env=environment(tmp_path) | extra,
        capture_output=True,
        text=True,
        check=False,
    )


def run_here(folder, patch, *flags):
    """In this process, where all that a command imports is there already.

    So are the flags that grain and array_record define: a run that imported them would
    put back the flags of before, and the next one would not find theirs.
    """
    argv = ["main", *flags]
    patch.chdir(folder)
    patch.setattr(sys, "argv", argv)
    patch.setenv("MTOPT_CACHE", str(folder / "cache"))
    with flagsaver.flagsaver(data_dir=None):
        main.main(main.parse_flags(argv))


# The command, which dies by its own hand as soon as a checkpoint is there, whatever
# else the machine does meanwhile.
KILLED = """
import os, runpy, signal
from mtopt.training.checkpoint import Checkpoints

save = Checkpoints.save

def save_and_die(self, step, tree):
    save(self, step, tree)
    os.kill(os.getpid(), signal.SIGKILL)

Checkpoints.save = save_and_die
runpy.run_module("experiments.main", run_name="__main__", alter_sys=True)
"""
