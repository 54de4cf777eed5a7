"""The command line in the process of the test."""

import sys

from absl.testing import flagsaver

from experiments import main

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


def run_here(folder, patch, *flags):
    """In this process, where all that a command imports is there already."""
    argv = ["main", *flags]
    patch.chdir(folder)
    patch.setattr(sys, "argv", argv)
    patch.setenv("MTOPT_CACHE", str(folder / "cache"))
    with flagsaver.flagsaver(data_dir=None):
        main.main(main.parse_flags(argv))
