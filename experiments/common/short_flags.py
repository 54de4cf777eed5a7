"""Short flags for fields of a comparison's configuration: data, tasks, model.

``--data=FILE --tasks=NAME,NAME`` stands for ``--config.data="table(path=FILE,
tasks=(NAME, NAME))"``, or ``npz(...)`` for a file of arrays; ``--dataset=TEXT`` for
``--config.data=TEXT`` and ``--model=TEXT`` for ``--config.model=TEXT``. Of the
experiment ``tfds``, ``--dataset=NAME,NAME --tasks=PATTERN,PATTERN`` stands for
``--config.data="tfds(name='NAME,NAME', tasks=('PATTERN', 'PATTERN'))"``.
"""

import pathlib
import sys
from typing import Any

from absl import flags

from mtopt.errors import UserError

from .config import Config
from .places import DATA

PREPARED = "tfds"
"""The experiment whose data sets are named as tfds does."""
TASKS = flags.DEFINE_list(
    "tasks",
    None,
    "The columns of labels of --data, separated by commas; of a set of tfds, features "
    "or patterns of them, as 'label_*'.",
)
DATASET = flags.DEFINE_string(
    "dataset",
    None,
    "For --config.data; of --experiment=tfds the name of a prepared set, as shapes3d, "
    "or several, as domainnet/real,domainnet/sketch.",
)
MODEL = flags.DEFINE_string("model", None, "For --config.model.")
SHORT = (DATA, TASKS, DATASET, MODEL)


def given() -> list[str]:
    """The names of the short flags that were given."""
    return [flag.name for flag in SHORT if flag.value is not None]


def set_fields(config: Any, experiment: str) -> None:
    """Sets the fields that short flags stand for.

    Args:
      config: of the experiment.
      experiment: its name, for errors.

    Raises:
      UserError: for flags that say the same thing twice or say too little, or an
        experiment without such fields.
    """
    if not given():
        return
    if not isinstance(config, Config):
        raise UserError(
            f"{experiment} has data and a model of its own: drop --"
            f"{', --'.join(given())}"
        )
    _check_once()
    prepared = experiment == PREPARED and DATASET.value is not None
    if DATASET.value is not None:
        config.data = DATASET.value
    if DATA.value is not None:
        config.data = _of_file(DATA.value, TASKS.value)
    elif prepared and "(" not in config.data:
        config.data = _of_set(config.data, TASKS.value)
    elif TASKS.value is not None:
        needed = "--dataset=NAME" if experiment == PREPARED else "--data=FILE"
        what = "features of a set" if experiment == PREPARED else "columns of a file"
        raise UserError(f"--tasks names {what}: expected {needed} too")
    if MODEL.value is not None:
        config.model = MODEL.value


def _check_once() -> None:
    """Raises where a field is said twice."""
    told = [argument.split("=")[0] for argument in sys.argv[1:]]
    for field, short in {"data": (DATA, DATASET), "model": (MODEL,)}.items():
        names = [f"--config.{field}"] * (f"--config.{field}" in told)
        names += [f"--{flag.name}" for flag in short if flag.value is not None]
        if len(names) > 1:
            raise UserError(f"{' and '.join(names)} say the same: expected one of them")


def _of_file(path: str, tasks: list[str] | None) -> str:
    """The data set of a file, as text."""
    # Not in --data_dir: a file that a command line names is where it says.
    place = str(pathlib.Path(path).expanduser().absolute())
    options = f"path={place!r}"
    if tasks is not None:
        options += f", tasks={tuple(tasks)!r}"
    if path.endswith(".npz"):
        return f"npz({options})"
    if tasks is None:
        raise UserError(
            f"--data={path} is a table: expected --tasks=NAME,NAME, its columns of "
            "labels"
        )
    return f"table({options})"


def _of_set(name: str, tasks: list[str] | None) -> str:
    """A prepared set of tfds, as text."""
    options = "" if tasks is None else f", tasks={tuple(tasks)!r}"
    return f"tfds(name={name!r}{options})"
