"""What rows boosted learners are fitted to, for ``data.json`` and for the eye."""

from typing import Any

import numpy as np

from mtopt.data.fingerprint import fingerprint_of
from mtopt.data.tables.boosting_scenarios import Rows


def describe_rows(name: str, kind: str, train: Rows, test: Rows) -> dict[str, Any]:
    """Sizes and fingerprint of a set of rows, or of several draws of one.

    Args:
      name: of the set.
      kind: regression or classification.
      train: rows to fit, features ``[..., N, D]``.
      test: rows to predict.
    """
    features, task = train.features, np.concatenate([train.task, test.task], axis=-1)
    return {
        "name": name,
        "kind": kind,
        "fingerprint": fingerprint_of((train, test)),
        "draws": int(np.prod(features.shape[:-2])),
        "tasks": len(np.unique(task)),
        "columns": features.shape[-1],
        "rows": {"train": features.shape[-2], "test": test.features.shape[-2]},
        "values": (float(train.targets.min()), float(train.targets.max())),
    }


def summary(described: dict[str, Any]) -> str:
    """One line of :func:`describe_rows`."""
    rows, (least, most) = described["rows"], described["values"]
    draws = f", {described['draws']} draws" if described["draws"] > 1 else ""
    return (
        f"data     {described['name']}: {described['kind']} of {described['tasks']} "
        f"tasks, {described['columns']} columns, {rows['train']} rows to fit and "
        f"{rows['test']} to predict{draws}, targets from {least:.4g} to {most:.4g}"
    )
