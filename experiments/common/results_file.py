"""Comparisons as ``results.json``, from which tables and pictures can be made again."""

import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtopt.errors import UserError

from .results import Comparison, MethodResult


def to_plain(parts: Sequence[Comparison]) -> dict[str, Any]:
    """All that comparisons of one run hold, as values that strict JSON has.

    Numbers are written in full; nan is null, and infinity a text, as JSON has neither.

    Args:
      parts: one a group of tasks.

    Example:
      >>> ours = MethodResult("ours", np.array([[[0.5], [np.inf], [np.nan]]]), {})
      >>> one = Comparison("demo", ("a", "b", "c"), ("rmse",), (False,), None, [ours])
      >>> to_plain([one])["groups"][0]["methods"][0]["test"]
      [[[0.5], ['Infinity'], [None]]]
    """
    first, *_ = parts
    return {
        "experiment": first.experiment,
        "protocol": list(first.protocol),
        "groups": [
            {
                "group": part.group,
                "tasks": list(part.task_names),
                "metrics": list(part.metric_names),
                "higher_is_better": list(part.higher_is_better),
                "units": None if part.units is None else _numbers(part.units),
                "baseline": part.baseline and _plain_result(part.baseline),
                "methods": [_plain_result(result) for result in part.methods],
            }
            for part in parts
        ],
    }


def read_comparisons(path: pathlib.Path) -> list[Comparison]:
    """The comparisons of a finished run, as they were when they were written.

    Args:
      path: its ``results.json``, or the folder of the run.

    Returns:
      One a group of tasks.

    Raises:
      UserError: where there is none, or it holds something else, as that of a project
        with a report of its own.
    """
    path = path / "results.json" if path.is_dir() else path
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return [
            Comparison(
                stored["experiment"],
                tuple(group["tasks"]),
                tuple(group["metrics"]),
                tuple(group["higher_is_better"]),
                group["baseline"] and _result(group["baseline"]),
                [_result(each) for each in group["methods"]],
                None if group["units"] is None else _array(group["units"]),
                group["group"],
                tuple(stored["protocol"]),
            )
            for group in stored["groups"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"no comparison in {path}: {type(error).__name__}; expected the results of "
            "a finished run that compares methods on one data set (--resume ends one "
            "that was stopped)"
        ) from error


def _plain_result(result: MethodResult) -> dict[str, Any]:
    """One row."""
    chosen = result.chosen_steps
    return {
        "name": result.name,
        "seeds": list(result.seeds),
        "test": _numbers(result.metrics),
        "curves": {name: _numbers(values) for name, values in result.curves.items()},
        "chosen_steps": None if chosen is None else chosen.tolist(),
        "seconds_per_step": _numbers(result.seconds_per_step),
        "step_bytes": _numbers(result.step_bytes),
        "notes": list(result.notes),
    }


def _result(stored: dict[str, Any]) -> MethodResult:
    chosen = stored["chosen_steps"]
    curves = {name: _array(values) for name, values in stored["curves"].items()}
    if curves:
        curves["step"] = np.array(stored["curves"]["step"])
    return MethodResult(
        stored["name"],
        _array(stored["test"]),
        curves,
        tuple(stored["notes"]),
        tuple(stored["seeds"]),
        None if chosen is None else np.array(chosen),
        float(_array(stored["seconds_per_step"])),
        float(_array(stored.get("step_bytes"))),  # older files have none
    )


def _numbers(values: Any) -> Any:
    """Nested lists of numbers; see :func:`to_plain` for those that are not finite."""
    values = np.asarray(values).tolist()
    if isinstance(values, list):
        return [_numbers(each) for each in values]
    if math.isfinite(values):
        return values
    if math.isnan(values):
        return None
    return "Infinity" if values > 0 else "-Infinity"


def _array(stored: Any) -> np.ndarray:
    """What :func:`_numbers` made of an array: numpy reads null and the texts."""
    return np.array(stored, np.float64)
