"""The flags that say what to run: ``--experiment``, and ``--config`` of its fields."""

from typing import Any

from absl import flags
from ml_collections import config_flags

from mtopt.errors import UserError, nearest

from .command import one_line_errors
from .experiment import EXPERIMENTS, find_experiment

OF_FILES = "table"
"""The experiment of a file that --data names."""
EXPERIMENT = flags.DEFINE_string(
    "experiment",
    "multi_digits",
    f"What to run: {', '.join(EXPERIMENTS)}; {OF_FILES} with --data, unless given.",
)
FLAGS = flags.FLAGS


@one_line_errors
def parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags; which fields ``--config`` has depends on ``--experiment``."""
    early = flags.FlagValues()
    flags.DEFINE_string("experiment", None, "", flag_values=early)
    flags.DEFINE_string("data", None, "", flag_values=early)
    early(argv, known_only=True)
    usual = FLAGS["experiment"].default if early["data"].value is None else OF_FILES
    FLAGS.set_default("experiment", usual)
    config = find_experiment(early["experiment"].value or str(usual)).get_config()
    _check_fields(config, argv)
    config_flags.DEFINE_config_dataclass("config", config, "The configuration.")
    return FLAGS(argv)


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
