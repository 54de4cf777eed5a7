"""What data a run trains on, said at its start and stored in its folder."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mtopt.data import describe, summary
from mtopt.data.dataset import Dataset
from mtopt.data.fingerprint import fingerprint_of
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError
from mtopt.training.writer import write_json

FILE = "data.json"


def record_dataset(folder: pathlib.Path, dataset: Dataset | JointDataset) -> None:
    """As :func:`record_data`, of a data set of tasks."""
    described = describe(dataset)
    record_data(folder, described, summary(described))


def record_datasets(
    folder: pathlib.Path, sets: Sequence[Dataset | JointDataset]
) -> None:
    """As :func:`record_data`, of several: the first one in words."""
    described = [describe(data) for data in sets]
    prints = [one["fingerprint"] for one in described]
    whole = {"fingerprint": fingerprint_of(None, *prints), "sets": described}
    record_data(folder, whole, summary(described[0]))


def record_data(folder: pathlib.Path, described: Mapping[str, Any], words: str) -> None:
    """Prints what the data was understood to be, and writes ``data.json``.

    Args:
      folder: of the run.
      described: what the file holds; ``fingerprint`` tells one data set from another.
      words: what is printed, which the file holds too.

    Raises:
      UserError: where the folder holds a run on other data; nothing is written then.
    """
    check_data(folder, described["fingerprint"])
    print(f"\n{words}\n", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, {**described, "words": words})


def check_data(folder: pathlib.Path, fingerprint: str) -> None:
    """Raises where a folder holds a run on data of another fingerprint.

    Raises:
      UserError: with both, and what to do.
    """
    path = folder / FILE
    if not path.exists():
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"cannot read {path} ({type(error).__name__}): expected what the run wrote "
            "of its data; delete the file to go on with the data that there is now"
        ) from error
    if stored != fingerprint:
        raise UserError(
            f"{path} is of data with fingerprint {stored}, and the data now has "
            f"{fingerprint}: expected the data that the run began with; restore it, or "
            "start another run with --out"
        )
