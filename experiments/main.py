"""Runs an experiment: checks, trains, tests, and ends with a table and pictures.

``python -m experiments.main --experiment=NAME --method=NAME``, or ``mtopt run``.
Without a flag it runs the main job, ``digit_questions``. Every field of an experiment's
configuration can be set: ``--config.optimizer.learning_rate=3e-4``. ``--list`` prints
what there is to name, ``--estimate`` what a step will take.
"""

import dataclasses
import datetime
import pathlib
import sys

from absl import flags

from mtopt.errors import UserError
from mtopt.training.processes import is_first, wait_for_all

from .common import short_flags
from .common.command import command, data_dir, start
from .common.compilation_cache import keep_compiled_programs
from .common.experiment import estimate, find_experiment
from .common.experiment_flags import EXPERIMENT, parse_flags
from .common.method_names import named_methods
from .common.places import METHOD, OUT, RESUME
from .common.processes import joined_processes
from .common.run_lock import check_new, held, new_folder
from .common.stored_run import StoredRun, read_run, write_run

flags.DEFINE_bool(
    "list", False, "Print experiments, methods, data sets and models, and stop."
)
flags.DEFINE_bool(
    "estimate",
    False,
    "Print what a step of each method will take, what does not fit in the device, and "
    "stop: nothing is trained or written.",
)
for _flag in (EXPERIMENT, OUT, METHOD, RESUME, *short_flags.SHORT):
    flags.declare_key_flag(_flag.name)
flags.declare_key_flag("data_dir")
for _name in ("compilation_cache", "coordinator", "num_processes", "process_id"):
    flags.declare_key_flag(_name)
FLAGS = flags.FLAGS


@command
def main(argv: list[str]) -> None:
    """Runs an experiment, or says what there is to run."""
    del argv
    if FLAGS.list:
        from .catalogue import catalogue

        print(catalogue())
        return
    folder, run = _requested()
    _check_grid(run)
    with joined_processes():
        if FLAGS.estimate:
            print(estimate(run.config, run.experiment, run.data_dir))
        else:
            _run(folder, run)


def _run(folder: pathlib.Path, run: StoredRun) -> None:
    """Checks everything, then makes the folder, then runs."""
    job = find_experiment(run.experiment).prepare(
        run.config, run.experiment, run.data_dir
    )
    wait_for_all("everything is checked")
    if not FLAGS.out and not FLAGS.resume:
        folder = new_folder(folder)
    with held(folder):
        # Another run may have begun and ended there. Later processes would see what the
        # first one writes.
        if not FLAGS.resume and is_first():
            check_new(folder)
        write_run(folder, run)
        print(f"{run.experiment}: writing to {folder}", flush=True)
        keep_compiled_programs()
        try:
            job(folder)
        except KeyboardInterrupt:
            print(f"\nstopped; continue with --resume={folder}", file=sys.stderr)
            sys.exit(130)


def _requested() -> tuple[pathlib.Path, StoredRun]:
    """The folder, and what to run there."""
    if FLAGS.resume is not None:
        folder = pathlib.Path(FLAGS.resume)
        _check_alone(folder)
        return folder, _changed(read_run(folder))
    config = FLAGS.config
    short_flags.set_fields(config, FLAGS.experiment)
    if FLAGS.method:
        config.methods = named_methods(FLAGS.method)
    if FLAGS.coordinator and not FLAGS.out:
        raise UserError("a run in several processes needs --out, the same for all")
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = pathlib.Path(FLAGS.out or f"runs/{FLAGS.experiment}-{now}")
    check_new(folder)
    return folder, StoredRun(FLAGS.experiment, config, data_dir())


def _changed(run: StoredRun) -> StoredRun:
    """The run with what may be told anew: its devices, and more steps.

    Raises:
      UserError: for fewer steps than it was to take.
    """
    config = run.config
    if any(map(_is_of_devices, sys.argv[1:])):
        _check_grid(run)
        config = dataclasses.replace(config, devices=FLAGS.config.devices)
    if any(map(_is_of_steps, sys.argv[1:])):
        if not hasattr(config, "steps"):
            raise UserError(f"{run.experiment} takes no steps: drop --config.steps")
        if FLAGS.config.steps < config.steps:
            raise UserError(
                f"--config.steps is {FLAGS.config.steps}, and the run takes "
                f"{config.steps}: expected as many or more"
            )
        config = dataclasses.replace(config, steps=FLAGS.config.steps)
    return run._replace(config=config)


def _check_grid(run: StoredRun) -> None:
    """Raises where an experiment that has no grid of devices is told of some."""
    told = FLAGS.coordinator or any(map(_is_of_devices, sys.argv[1:]))
    if told and not hasattr(run.config, "devices"):
        raise UserError(
            f"{run.experiment} runs on one device: drop --coordinator and "
            "--config.devices"
        )


def _is_of_devices(argument: str) -> bool:
    return argument.startswith("--config.devices.")


def _is_of_steps(argument: str) -> bool:
    return argument.split("=")[0] == "--config.steps"


def _check_alone(folder: pathlib.Path) -> None:
    """Raises where ``--resume`` stands beside flags that the folder answers."""
    set_flags = [
        name for name in ("experiment", "method", "out") if FLAGS[name].present
    ]
    set_flags += short_flags.given()
    set_flags += [
        argument
        for argument in sys.argv[1:]
        if argument.startswith("--config.")
        and not (_is_of_devices(argument) or _is_of_steps(argument))
    ]
    if set_flags:
        raise UserError(
            f"--resume takes everything from {folder / 'config.json'}: drop "
            f"{', '.join(set_flags)}"
        )


if __name__ == "__main__":
    start(main, parse_flags)
