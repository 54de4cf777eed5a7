"""The command line: ``python -m experiments.main --experiment=NAME --method=NAME``.

Without a flag it runs the main job, ``multi_digits``. Every field of an experiment's
configuration can be set: ``--config.optimizer.learning_rate=3e-4``.
"""

import datetime
import importlib
import json
import os
import pathlib
import sys
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from experiments import EXPERIMENTS
from experiments.cli import command
from mtopt.errors import UserError, nearest

flags.DEFINE_string(
    "experiment", "multi_digits", f"What to run: {', '.join(EXPERIMENTS)}."
)
flags.DEFINE_multi_string(
    "method",
    None,
    "A method in place of the experiment's own list, as in mgda, "
    '"mgda(normalize=\'l2\')", "log_losses(cagrad)" or "normalize_rows + mgda"; '
    "repeat it to compare several. all: every method that needs no options.",
)
flags.DEFINE_string(
    "out", None, "The folder of the run; default runs/EXPERIMENT-DATE-TIME."
)
flags.DEFINE_string(
    "resume", None, "Continue the run in this folder, bit for bit where it stopped."
)
flags.DEFINE_string(
    "data_dir",
    os.environ.get("MTOPT_DATA_DIR"),
    "Your folder of data sets; default: the variable MTOPT_DATA_DIR.",
)
FLAGS = flags.FLAGS


@command
def main(argv: list[str]) -> None:
    """Checks everything, then makes the folder, then runs."""
    del argv
    folder, name, config, data_dir = _requested()
    job = experiment(name).prepare(config, name, data_dir)
    _announce(folder, name, config, data_dir)
    try:
        job(folder)
    except KeyboardInterrupt:
        print(f"\nstopped; continue with --resume={folder}", file=sys.stderr)
        sys.exit(130)


def experiment(name: str) -> Any:
    """The module of an experiment: ``get_config()`` and ``prepare(...)``.

    Raises:
      UserError: for an unknown name.
    """
    if name not in EXPERIMENTS:
        raise UserError(f"no experiment {name!r}: {nearest(name, EXPERIMENTS)}")
    return importlib.import_module(f"experiments.{name}")


def _requested() -> tuple[pathlib.Path, str, Any, pathlib.Path | None]:
    """The folder, the experiment, its configuration and the data folder."""
    if FLAGS.resume is not None:
        return _stored(pathlib.Path(FLAGS.resume))
    config = FLAGS.config
    if FLAGS.method:
        config.methods = _methods(FLAGS.method)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder = pathlib.Path(FLAGS.out or f"runs/{FLAGS.experiment}-{now}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} exists already: name another --out, or continue that run with "
            f"--resume={folder}"
        )
    data_dir = pathlib.Path(FLAGS.data_dir).absolute() if FLAGS.data_dir else None
    if data_dir is not None and not data_dir.is_dir():
        raise UserError(f"no folder {data_dir}: check --data_dir or MTOPT_DATA_DIR")
    return folder, FLAGS.experiment, config, data_dir


def _methods(texts: list[str]) -> tuple[str, ...]:
    """The methods asked for, ``all`` spelled out."""
    from experiments import calls

    everything = calls.every_method("steps_per_epoch") if "all" in texts else ()
    named = [text for text in texts if text != "all" and text not in everything]
    return (*everything, *named)


def _stored(folder: pathlib.Path) -> tuple[pathlib.Path, str, Any, pathlib.Path | None]:
    from experiments.config import from_dict

    set_flags = [
        name for name in ("experiment", "method", "out") if FLAGS[name].present
    ] + [arg for arg in sys.argv[1:] if arg.startswith("--config.")]
    if set_flags:
        raise UserError(
            f"--resume takes everything from {folder / 'config.json'}: drop "
            f"{', '.join(set_flags)}"
        )
    try:
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        name, values, data_dir = (
            stored["experiment"],
            stored["config"],
            stored["data_dir"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"no run to continue in {folder}: {type(error).__name__} on config.json"
        ) from error
    config = from_dict(experiment(name).get_config(), values)
    return folder, name, config, pathlib.Path(data_dir) if data_dir else None


def _announce(
    folder: pathlib.Path, name: str, config: Any, data_dir: pathlib.Path | None
) -> None:
    from experiments.config import to_dict
    from experiments.provenance import provenance
    from mtopt.training.writer import write_json

    folder.mkdir(parents=True, exist_ok=True)
    stored = {
        "experiment": name,
        "data_dir": None if data_dir is None else str(data_dir),
        "config": to_dict(config),
    }
    write_json(folder / "config.json", stored)
    write_json(folder / "versions.json", provenance())
    print(f"{name}: writing to {folder}", flush=True)


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; which fields ``--config`` has depends on ``--experiment``."""
    early = flags.FlagValues()
    flags.DEFINE_string("experiment", "multi_digits", "", flag_values=early)
    try:
        early(argv, known_only=True)
        config = experiment(str(early["experiment"].value)).get_config()
        _check_fields(config, argv)
        config_flags.DEFINE_config_dataclass("config", config, "The configuration.")
        return FLAGS(argv)
    except (UserError, flags.Error) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


def _check_fields(config: Any, argv: list[str]) -> None:
    """Raises where a ``--config.`` flag names a field that does not exist."""
    for argument in argv:
        if not argument.startswith("--config."):
            continue
        here = config
        for name in argument.split("=")[0].split(".")[1:]:
            fields = list(getattr(here, "__dataclass_fields__", {}))
            if name not in fields:
                raise UserError(
                    f"no field {name!r} in {argument.split('=')[0]}: "
                    f"{nearest(name, fields)}"
                )
            here = getattr(here, name)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
