"""What a run's folder says of the run: its experiment, configuration and data."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from mtopt.errors import UserError
from mtopt.training.writer import write_json

from .config import from_dict, to_dict
from .experiment import find_experiment
from .provenance import provenance

CONFIG = "config.json"
VERSIONS = "versions.json"


class StoredRun(NamedTuple):
    """What was run.

    Attributes:
      experiment: its name.
      config: its resolved configuration.
      data_dir: the folder of data sets, if there was one.
    """

    experiment: str
    config: Any
    data_dir: pathlib.Path | None


def write_run(folder: pathlib.Path, run: StoredRun) -> None:
    """Makes the folder with ``config.json`` and ``versions.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, to_plain(run))
    write_json(folder / VERSIONS, provenance())


def to_plain(run: StoredRun) -> dict[str, Any]:
    """A run as values that JSON has."""
    return {
        "experiment": run.experiment,
        "data_dir": None if run.data_dir is None else str(run.data_dir),
        "config": to_dict(run.config),
    }


def from_plain(stored: Mapping[str, Any]) -> StoredRun:
    """What :func:`to_plain` made values of.

    Raises:
      KeyError: where they lack one.
      UserError: for an unknown experiment, or fields of another version.
    """
    name, values, data_dir = (
        stored[key] for key in ("experiment", "config", "data_dir")
    )
    config = from_dict(find_experiment(name).get_config(), values)
    return StoredRun(name, config, pathlib.Path(data_dir) if data_dir else None)


def read_run(folder: pathlib.Path) -> StoredRun:
    """What the folder is a run of.

    Raises:
      UserError: for a folder that is no run, or one of another version.
    """
    try:
        return from_plain(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"no run in {folder}: {type(error).__name__} on config.json; expected the "
            "folder that a run wrote to"
        ) from error
