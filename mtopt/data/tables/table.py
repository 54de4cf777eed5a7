"""A user's own table: a CSV, TSV or Parquet file, by the names of its columns."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.data.stream import ON_DEVICE_BYTES
from mtopt.data.tables.class_weights import ClassWeights
from mtopt.data.tables.frame import MAX_CATEGORIES, from_frame
from mtopt.data.tables.frame_columns import dates_or_text, pandas
from mtopt.data.tables.npz_kinds import EACH, GivenKind
from mtopt.errors import UserError


def table(
    path: str | pathlib.Path,
    *,
    tasks: Sequence[str],
    kind: GivenKind = EACH,
    features: Sequence[str] | None = None,
    task: str | None = None,
    group: str | None = None,
    split: str | None = None,
    weight: str | None = None,
    missing: float | int | str | None = None,
    seed: int = 0,
    valid_fraction: float = 0.15,
    test_fraction: float = 0.15,
    min_labels: int = 1,
    max_categories: int = MAX_CATEGORIES,
    common_units: bool = False,
    class_weights: ClassWeights | None = None,
    name: str | None = None,
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset | JointDataset:
    r"""Reads a multi-task data set from one table with a header: CSV, TSV or Parquet.

    pandas reads it, and :func:`mtopt.data.from_frame`, which has the options, makes the
    data set. In text files a cell that is empty, or one of the words that pandas takes
    for empty (``NA``, ``NaN``, ``null``, ``None`` ...), is missing. Columns of text
    that are ISO 8601 dates throughout, ``2026-11-30``, are dates. A Parquet file says
    the type of each column itself.

    Args:
      path: the file, which ends in ``.csv`` (commas), ``.tsv`` (tabs) or ``.parquet``.
      tasks: as of :func:`mtopt.data.from_frame`, as are all others.
      kind: what the labels are.
      features: the columns of inputs; None: all that nothing else names.
      task: the column of the task that a row belongs to.
      group: the column of what stays in one part.
      split: the column of the part that a row is in.
      weight: the column of what a row weighs in training.
      missing: a value that stands for a missing label.
      seed: of the division into parts.
      valid_fraction: share of the training rows for validation, in (0, 1).
      test_fraction: likewise, for testing.
      min_labels: tasks with fewer training labels are dropped.
      max_categories: the most that a column of inputs may have, at least 1.
      common_units: whether the targets of a regression are all in one unit.
      class_weights: what a training label weighs by its class.
      name: what to call the set; None takes the folder's name for ``data.csv``, and
        the file's otherwise.
      on_device_bytes: the most that the three splits may take on the device.

    Returns:
      The data set; its ``reading`` names the file.

    Raises:
      UserError: for a file that is none of these or can't be read, and as
        :func:`mtopt.data.from_frame`.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "flats.csv"
      >>> lines = [f"{i},2026-11-{i + 10},{i / 4},{'ab'[i % 2]}" for i in range(20)]
      >>> _ = path.write_text("\n".join(["rooms,built,rent,town", *lines]))
      >>> data = table(path, tasks=("rent", "town"))
      >>> data.name, data.tasks, data.groups[0].reading["inputs"]["built"]
      ('flats', ('rent', 'town'), 'days since 1970-01-01, standardised')
    """
    path = pathlib.Path(path).expanduser()
    data = from_frame(
        read_table(path),
        tasks,
        kind=kind,
        features=features,
        task=task,
        group=group,
        split=split,
        weight=weight,
        missing=missing,
        seed=seed,
        valid_fraction=valid_fraction,
        test_fraction=test_fraction,
        min_labels=min_labels,
        max_categories=max_categories,
        common_units=common_units,
        class_weights=class_weights,
        name=name or (path.parent.name if path.stem == "data" else path.stem),
        on_device_bytes=on_device_bytes,
    )
    if isinstance(data, Dataset):
        return _of_file(data, path)
    groups = tuple(_of_file(each, path) for each in data.groups)
    return dataclasses.replace(data, groups=groups)


def _of_file(data: Dataset, path: pathlib.Path) -> Dataset:
    return dataclasses.replace(data, reading={"file": str(path), **data.reading})


def read_table(path: pathlib.Path, names: Sequence[str] = ()) -> Any:
    """The file as a ``pandas.DataFrame``.

    Args:
      path: the file.
      names: columns of names, which are no numbers where they are made of digits; a
        Parquet file says so itself.

    Raises:
      UserError: as :func:`table`.
    """
    if path.suffix.lower() not in READERS:
        others = "; npz(path=...) reads .npz" * (path.suffix == ".npz")
        raise UserError(
            f"{path} ends in {path.suffix!r}: expected one of "
            f"{', '.join(READERS)}{others}"
        )
    if not path.is_file():
        raise UserError(f"no file {path}: expected a table with a header")
    pd = pandas()
    try:
        return READERS[path.suffix.lower()](pd, path, names)
    # What pandas cannot parse is a ValueError, and damaged Parquet may be an OSError.
    except (OSError, ValueError, ImportError) as error:
        cause = " ".join(str(error).split())
        raise UserError(
            f"cannot read {path} ({cause}): expected a table with a header"
        ) from error


def _text(pd: Any, path: pathlib.Path, separator: str, names: Sequence[str]) -> Any:
    """A text file, whose dates have no type of their own."""
    types = dict.fromkeys(names, str)
    # By parts, a column could have cells of several types.
    frame = pd.read_csv(path, sep=separator, low_memory=False, dtype=types)
    for column in frame.columns.difference(names, sort=False):
        if pd.api.types.infer_dtype(frame[column], skipna=True) == "string":
            frame[column] = dates_or_text(frame[column])
    return frame


READERS: Mapping[str, Callable[[Any, pathlib.Path, Sequence[str]], Any]] = {
    ".csv": lambda pd, path, names: _text(pd, path, ",", names),
    ".tsv": lambda pd, path, names: _text(pd, path, "\t", names),
    ".parquet": lambda pd, path, names: pd.read_parquet(path),
}
"""By the ending of a file."""
