"""Says whether balancing the tasks is worth its cost, from a short run.

``python -m experiments.diagnose``, or ``mtopt diagnose``, with the flags of ``mtopt
run`` that say what to train on: ``--experiment``, ``--data``, ``--tasks``, ``--model``
and every field of the configuration. It trains equal weighting and single-task models,
200 steps and one seed unless ``--config.steps`` and ``--config.seeds`` say otherwise.
``--out`` keeps the run, as ``mtopt run --resume`` takes it.
"""

import contextlib
import pathlib
import sys
import tempfile
from collections.abc import Iterator

from absl import flags

from mtopt.errors import UserError
from mtopt.training.writer import write_json

from ..common import short_flags
from ..common.command import command, data_dir, start
from ..common.compilation_cache import keep_compiled_programs
from ..common.config import Config
from ..common.experiment_flags import EXPERIMENT, parse_flags
from ..common.places import METHOD, OUT
from ..common.run_lock import check_new, held
from ..common.stored_run import StoredRun, write_run
from .report import to_plain, to_text
from .run import prepare, short
from .verdict import judge

for _flag in (EXPERIMENT, OUT, *short_flags.SHORT):
    flags.declare_key_flag(_flag.name)
for _name in ("data_dir", "compilation_cache"):
    flags.declare_key_flag(_name)
FLAGS = flags.FLAGS


@command
def main(argv: list[str]) -> None:
    """Checks everything, then trains, then says what was found."""
    del argv
    run = _requested()
    find = prepare(run.config, run.experiment, run.data_dir)
    with _folder() as folder:
        write_run(folder, run)
        keep_compiled_programs()
        found = find(folder)
        verdict = judge(found)
        write_json(folder / "diagnosis.json", to_plain(found, verdict))
    title = f"{run.experiment}: {run.config.model} on {run.config.data}"
    print(f"\n{to_text(title, found, verdict)}")
    if OUT.value:
        print(f"\nnumbers  {folder / 'diagnosis.json'}")
        print(f"pictures mtopt run --resume={folder}")


def _requested() -> StoredRun:
    """What to run.

    Raises:
      UserError: for an experiment of other form, or a method.
    """
    config, name = FLAGS.config, FLAGS.experiment
    short_flags.set_fields(config, name)
    if not isinstance(config, Config):
        raise UserError(
            f"{name} is no comparison on one data set, which diagnose takes: expected "
            "one of those, or --data=FILE"
        )
    told = {
        argument.split("=")[0].removeprefix("--config.")
        for argument in sys.argv[1:]
        if argument.startswith("--config.")
    }
    if METHOD.value or "methods" in told:
        raise UserError(
            "diagnose trains equal_weighting, whose conflict it looks at: drop the "
            "methods; mtopt run compares them"
        )
    return StoredRun(name, short(config, told), data_dir())


@contextlib.contextmanager
def _folder() -> Iterator[pathlib.Path]:
    """Where the run is kept, or a place that is gone when it has ended."""
    if OUT.value:
        folder = pathlib.Path(OUT.value)
        check_new(folder)
        with held(folder):
            check_new(folder)  # another run may have begun and ended there
            yield folder
        return
    with tempfile.TemporaryDirectory() as place:
        yield pathlib.Path(place)


if __name__ == "__main__":
    start(main, parse_flags)
