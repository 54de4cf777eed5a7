"""Fields of a configuration that a command line sets: ``--config.FIELD=VALUE``."""

from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from mtopt.errors import UserError, nearest

START = "--config."


def check_arguments(config: Any, arguments: Sequence[str]) -> None:
    """Raises where one names a field that does not exist.

    Args:
      config: whose fields they are.
      arguments: of a command line; those that do not start with ``--config.`` are not
        looked at.

    Raises:
      UserError: naming the field, and those that there are.
    """
    for argument in arguments:
        if not argument.startswith(START):
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


def set_arguments(config: Any, arguments: Sequence[str]) -> Any:
    """The configuration with what the arguments set.

    Args:
      config: as the experiment has it.
      arguments: each ``--config.FIELD=VALUE``.

    Raises:
      UserError: for an unknown field, or a value that it can't hold.

    Example:
      >>> from experiments.common.experiment import find_experiment
      >>> config = find_experiment("multi_digits").get_config()
      >>> set_arguments(config, ["--config.optimizer.learning_rate=0.1"]).optimizer
      Optimizer(name='adam', learning_rate=0.1, schedule='constant', clip_norm=0.0, \
head_rate=1.0, average=0.0)
    """
    check_arguments(config, arguments)
    own, words = flags.FlagValues(), ["", *arguments]
    config_flags.DEFINE_config_dataclass(
        "config", config, flag_values=own, sys_argv=words
    )
    try:
        own(words)
    except flags.Error as error:
        raise UserError(str(error)) from error
    return own.config
