"""What a run was told, beside the defaults of its experiment, and as a command."""

import dataclasses
import shlex
from collections.abc import Iterator
from typing import Any

from ..experiment import find_experiment
from ..stored_run import StoredRun
from ..stored_sweep import StoredSweep
from .parts import Pair


def settings(run: StoredRun) -> tuple[Pair, ...]:
    """Every field of the configuration, with its value."""
    default = dict(_fields(find_experiment(run.experiment).get_config()))
    return tuple(
        Pair(name, _shown(value), value != default[name])
        for name, value in _fields(run.config)
    )


def command(run: StoredRun) -> str:
    r"""The command that starts the same run anew.

    Example:
      >>> config = find_experiment("toy").get_config()
      >>> config.methods, config.optimizer.learning_rate = ("mgda", "cagrad(c=.2)"), 0.1
      >>> print(command(StoredRun("toy", config, None)))
      mtopt run \
        --experiment=toy \
        --method=mgda \
        '--method=cagrad(c=.2)' \
        --config.optimizer.learning_rate=0.1
    """
    return _command("mtopt run", [f"--experiment={run.experiment}", *_flags(run)])


def sweep_command(sweep: StoredSweep) -> str:
    """The command that starts the same sweep anew."""
    flags = [f"--experiments={sweep.run.experiment}", *_flags(sweep.run)]
    flags += [f"--trials={sweep.trials}"] + [f"--by={sweep.by}"] * bool(sweep.by)
    return _command("mtopt compare", flags)


def _command(program: str, flags: list[str]) -> str:
    return " \\\n  ".join([program, *map(quoted, flags)])


def _flags(run: StoredRun) -> Iterator[str]:
    """Of all that differs from the defaults of the experiment."""
    default = dict(_fields(find_experiment(run.experiment).get_config()))
    for name, value in _fields(run.config):
        if value == default[name]:
            continue
        if name == "methods":
            yield from (f"--method={text}" for text in value)
        else:
            yield f"--config.{name}={value}"
    if run.data_dir is not None:
        yield f"--data_dir={run.data_dir}"


def quoted(word: str) -> str:
    """A word as a shell takes it; methods and data sets have quotes of their own.

    Example:
      >>> print(quoted("--method=mgda(normalize='l2')"))
      "--method=mgda(normalize='l2')"
    """
    plain_inside = not set(word) & set('"$`\\!')
    return f'"{word}"' if "'" in word and plain_inside else shlex.quote(word)


def _fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of every field, nested ones too."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def _shown(value: Any) -> str:
    """As text: the entries of a tuple one after the other."""
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
