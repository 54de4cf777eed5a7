"""Metrics as files: one JSON line per record."""

import json
import math
import os
import pathlib
from typing import Any

import numpy as np

from mtopt.training.processes import is_first
from mtopt.training.tensorboard import TensorBoard


class MetricWriter:
    """Appends records to a ``.jsonl`` file, one JSON object per line.

    Args:
      path: the file.
      resume_from: on resuming, the step the run continues from; records of later
        steps and of the test, which comes last, are dropped, since the run writes
        them again. None starts a new file.
      mirror: gets every record too; closed with the file.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "metrics.jsonl"
      >>> with MetricWriter(path) as writer:
      ...     writer.write({"step": 1, "loss": np.float32(0.5)})
      ...     writer.write({"step": 2, "loss": math.nan})
      >>> with MetricWriter(path, resume_from=1) as writer:
      ...     writer.write({"step": 2, "loss": 0.25})
      >>> read_records(path)
      [{'step': 1, 'loss': 0.5}, {'step': 2, 'loss': 0.25}]
    """

    def __init__(
        self,
        path: pathlib.Path,
        *,
        resume_from: int | None = None,
        mirror: TensorBoard | None = None,
    ) -> None:
        kept = []
        if resume_from is not None and path.exists():
            kept = [
                record
                for record in read_records(path)
                if record["step"] <= resume_from and record.get("split") != "test"
            ]
        lines = "".join(json.dumps(_plain(record)) + "\n" for record in kept)
        write_text(path, lines)
        place = path if is_first() else os.devnull
        self._file = open(place, "a", encoding="utf-8")  # noqa: SIM115
        self._mirror = mirror

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        if self._mirror is not None:
            self._mirror.close()

    def write(self, record: dict[str, Any]) -> None:
        """Appends one record and flushes it. NaN and infinity are written as null."""
        self._file.write(json.dumps(_plain(record)) + "\n")
        self._file.flush()
        if self._mirror is not None:
            self._mirror.write(record)


def read_records(path: pathlib.Path) -> list[dict[str, Any]]:
    """All complete records of a file; a half-written last line is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line]


def write_text(path: pathlib.Path, text: str) -> None:
    """Replaces a file in one move, so that a reader never sees half of it.

    Of several processes the first one alone does.
    """
    if not is_first():
        return
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes indented JSON, NaN and infinity as null."""
    write_text(path, json.dumps(_plain(value), indent=2) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
