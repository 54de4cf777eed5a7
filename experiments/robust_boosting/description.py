"""What rows boosted learners are fitted to, for ``data.json`` and for the eye."""

from typing import Any

import numpy as np

from mtopt.data.division import TEST, TRAIN
from mtopt.data.equal_rows import equal_rows, on_both_sides, overlap_words
from mtopt.data.fingerprint import fingerprint_of
from mtopt.data.tables.boosting_scenarios import Rows


def describe_rows(name: str, kind: str, train: Rows, test: Rows) -> dict[str, Any]:
    """Sizes and fingerprint of a set of rows, or of several draws of one.

    Of a single set also how many rows to predict have the features of one of their
    task that is fitted: the published division does not keep equal rows together.

    Args:
      name: of the set.
      kind: regression or classification.
      train: rows to fit, features ``[..., N, D]``.
      test: rows to predict.
    """
    features, task = train.features, np.concatenate([train.task, test.task], axis=-1)
    sizes = {"train": features.shape[-2], "test": test.features.shape[-2]}
    found = {}
    if features.ndim == 2:
        both = (np.concatenate(parts) for parts in zip(train, test, strict=True))
        features_of_both, _, task_of_both = both
        rows = equal_rows(features_of_both, task_of_both)
        split = np.repeat([TRAIN, TEST], [*sizes.values()])
        found["equal inputs"] = {"test": on_both_sides(rows, split)["test"]}
    return found | {
        "name": name,
        "kind": kind,
        "fingerprint": fingerprint_of((train, test)),
        "draws": int(np.prod(features.shape[:-2])),
        "tasks": len(np.unique(task)),
        "columns": features.shape[-1],
        "rows": sizes,
        "values": (float(train.targets.min()), float(train.targets.max())),
    }


def summary(described: dict[str, Any]) -> str:
    """A line or two of :func:`describe_rows`."""
    rows, (least, most) = described["rows"], described["values"]
    draws = f", {described['draws']} draws" if described["draws"] > 1 else ""
    overlap = described.get("equal inputs")
    equal = f"\nequal    {overlap_words(overlap, rows)}" if overlap else ""
    return (
        f"data     {described['name']}: {described['kind']} of {described['tasks']} "
        f"tasks, {described['columns']} columns, {rows['train']} rows to fit and "
        f"{rows['test']} to predict{draws}, targets from {least:.4g} to {most:.4g}"
        f"{equal}"
    )
