"""The flags that say what to run: ``--experiment``, and ``--config`` of its fields."""

from absl import flags
from ml_collections import config_flags

from .command import one_line_errors
from .config_arguments import check_arguments
from .experiment import EXPERIMENTS, find_experiment

OF_FILES = "table"
"""The experiment of a file that --data names."""
EXPERIMENT = flags.DEFINE_string(
    "experiment",
    "digit_questions",
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
    check_arguments(config, argv)
    config_flags.DEFINE_config_dataclass("config", config, "The configuration.")
    return FLAGS(argv)
