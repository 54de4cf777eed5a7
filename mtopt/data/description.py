"""What a data set was understood to be: for a file beside the results, and in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtopt.batch import is_real
from mtopt.data.augment.augmented import as_read
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.division import SPLITS
from mtopt.data.equal_rows import overlap_words
from mtopt.data.fingerprint import fingerprint
from mtopt.data.sources import JointDataset
from mtopt.data.stream import StreamSplit

LISTED = 12
"""The most tasks, or arrays, that a summary names one by one."""
CLASSES = ("classification", "segmentation")
"""Kinds whose labels are classes."""
COLUMNS = ("task", "group", "split", "weight")
"""What a column of a table may say of a row, beside inputs and labels."""

FOLDERS = ("folder", "parts")
"""What a loader of a folder says of it."""


def describe(dataset: Dataset | JointDataset) -> dict[str, Any]:
    """Kinds, sizes, labels and inputs of a data set, as plain values for JSON.

    Args:
      dataset: the data set.

    Returns:
      ``name``, ``kind``, ``outputs``, ``fingerprint``, ``inputs`` (how tasks share
      them, type and shape of a sample), ``rows`` by part, ``tasks`` and ``reading``,
      what its loader said of its source. Of every task the kind, the labels by part,
      and how many ``missing`` ones there are among the rows of shared inputs; of a
      regression its ``values`` from least to greatest, mean and standard deviation
      that its targets were scaled by, of classes how many labels there are of each.
      Counts are None for a stream that does not know them. Of a joint data set:
      ``name``, ``fingerprint``, ``shared_inputs``, and all this of each of its
      ``groups``.

    Example:
      >>> from mtopt.data import multi_digits
      >>> found = describe(multi_digits(num_train=8, num_valid=4, num_test=4))
      >>> found["kind"], found["rows"], found["inputs"]["shape"]
      ('classification', {'train': 8, 'valid': 4, 'test': 4}, (10, 10, 1))
      >>> found["tasks"]["left"]["labels"], found["tasks"]["left"]["missing"]
      ({'train': 8, 'valid': 4, 'test': 4}, 0)
    """
    if isinstance(dataset, JointDataset):
        return {
            "name": dataset.name,
            "fingerprint": fingerprint(dataset),
            "shared_inputs": dataset.shared_inputs,
            "groups": [describe(group) for group in dataset.groups],
        }
    splits = {title: as_read(getattr(dataset, title)) for title in SPLITS}
    first = next(dataset.train.in_order(1)).x
    lead = 1 if dataset.x_axis is None else 2
    labels = {title: _labels(split) for title, split in splits.items()}
    tasks = {}
    for k, name in enumerate(dataset.tasks):
        own = {t: None if n is None else int(n[k]) for t, n in labels.items()}
        tasks[name] = {
            "kind": dataset.kind,
            "labels": own,
            "missing": _missing(dataset, own),
            **_values(dataset, k),
        }
    return {
        "name": dataset.name,
        "kind": dataset.kind,
        "outputs": dataset.outputs,
        "fingerprint": fingerprint(dataset),
        "inputs": {
            "of": "all tasks" if dataset.x_axis is None else "each task its own",
            **_shape(first, lead),
        },
        "rows": {title: split.size for title, split in splits.items()},
        "tasks": tasks,
        "reading": dict(dataset.reading),
    }


def summary(described: Mapping[str, Any]) -> str:
    """The lines that a run prints: what data it trains on, and what it did not read.

    Args:
      described: of :func:`describe`.

    Returns:
      A few lines; of more than 12 tasks the first ones. Of a joint data set those of
      each group.

    Example:
      >>> from mtopt.data import multi_digits
      >>> data = multi_digits(num_train=8, num_valid=4, num_test=4)
      >>> print(summary(describe(data)))
      data     multi_digits: 2 tasks of kind classification (10 classes)
      inputs   one for all tasks, float32 (10, 10, 1)
      rows     8 train, 4 valid, 4 test
      left     16 labels, 0 missing, of 9 classes
      right    16 labels, 0 missing, of 8 classes
      equal    inputs of 0 of 4 valid and 0 of 4 test rows stand in training too
    """
    if "groups" not in described:
        return titled(_lines(described), described["reading"])
    first, *others = described["groups"]
    shared = described["shared_inputs"]
    own = "the same inputs" if shared else "inputs of its own"
    head = f"{described['name']}: {1 + len(others)} groups of tasks, each on {own}"
    # What is said of the inputs of one file once need not be said again.
    later = [
        titled(_task_lines(group), {}) if shared else summary(group) for group in others
    ]
    return "\n\n".join([titled([("joint", head)], {}), summary(first), *later])


def _lines(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Title and words of all that is said of a data set of one kind."""
    inputs, reading = described["inputs"], described["reading"]
    shape = f", {inputs['dtype']} {tuple(inputs['shape'])}" if "shape" in inputs else ""
    shared = "one for all tasks" if inputs["of"] == "all tasks" else inputs["of"]
    head, *tasks = _task_lines(described)
    lines = [
        head,
        ("inputs", f"{shared}{shape}"),
        *_column_lines(reading.get("inputs", {})),
        *((key, f"column {reading[key]}") for key in COLUMNS if key in reading),
        ("rows", ", ".join(f"{n} {title}" for title, n in described["rows"].items())),
        *((key, reading[key]) for key in FOLDERS if key in reading),
        *tasks,
    ]
    if changes := reading.get("augmented"):
        lines.append(("augment", f"training images, by {changes}"))
    if overlap := reading.get("equal inputs"):
        lines.append(("equal", overlap_words(overlap, described["rows"])))
    if weights := reading.get("weights"):
        lines.append(("weights", weights))
    if missing := reading.get("missing labels"):
        counts = ", ".join(f"{words}: {count}" for words, count in missing.items())
        lines.append(("missing", f"labels by reason: {counts}"))
    return lines


def _column_lines(columns: Mapping[str, str]) -> list[tuple[str, str]]:
    """Of the first arrays or columns of inputs, what each became."""
    lines = [(f"  {name}", words) for name, words in [*columns.items()][:LISTED]]
    if len(columns) > LISTED:
        lines.append(("  ...", f"and {len(columns) - LISTED} more"))
    return lines


def _task_lines(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of the tasks alone: what all are, then each of the first ones."""
    kind, tasks, reading = (described[key] for key in ("kind", "tasks", "reading"))
    of_kind = f"{kind} ({described['outputs']} classes)"
    how = f", {reading['kind']}" if "kind" in reading else ""
    lines = [
        (
            "data",
            f"{described['name']}: {len(tasks)} task{'s' * (len(tasks) > 1)} of kind "
            f"{of_kind if kind in CLASSES else kind}{how}",
        ),
        *(
            (name, _task_words(task) + _own_words(reading, name))
            for name, task in [*tasks.items()][:LISTED]
        ),
    ]
    if len(tasks) > LISTED:
        lines.append(("...", f"and {len(tasks) - LISTED} more tasks"))
    return lines


def titled(lines: Sequence[tuple[str, str]], reading: Mapping[str, Any]) -> str:
    """Titles and words in two columns, and what was not read of the source.

    Args:
      lines: title and words of each.
      reading: what a loader said of its source; ``not read`` names arrays of a file.
    """
    if "not read" in reading:
        unread = ", ".join(reading["not read"]) or "no other array"
        lines = [*lines, ("not read", unread)]
    width = max(8, *(len(title) for title, _ in lines))
    return "\n".join(f"{title.ljust(width)} {words}" for title, words in lines)


def _labels(split: Any) -> np.ndarray | None:
    """The labels of each task, ``[K]``; None where only reading them all would tell."""
    return split.labels if isinstance(split, ArraySplit | StreamSplit) else None


def _missing(dataset: Dataset, labels: Mapping[str, int | None]) -> int | None:
    """Missing labels among the rows; tasks with rows of their own have none."""
    if dataset.x_axis is not None:
        return 0
    counts = [
        None if n is None else getattr(dataset, title).size - n
        for title, n in labels.items()
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _values(dataset: Dataset, k: int) -> dict[str, Any]:
    """What the labels of a task are, where they are in memory: one number a sample."""
    held = [as_read(getattr(dataset, title)) for title in SPLITS]
    held = [split.samples for split in held if isinstance(split, ArraySplit)]
    if len(held) < len(SPLITS) or any(np.ndim(b.y) != 2 for b in held):
        return {}
    values = np.concatenate(
        [np.asarray(batch.y[k])[is_real(np.asarray(batch.mask[k]))] for batch in held]
    )
    if dataset.kind == "pretext":
        return {}
    if dataset.kind != "regression":
        classes, counts = np.unique(values, return_counts=True)
        return {"values": dict(zip(classes.tolist(), counts.tolist(), strict=True))}
    if dataset.target_mean is None or dataset.target_std is None:
        return {"values": (values.min(), values.max())}
    mean, std = float(dataset.target_mean[k]), float(dataset.target_std[k])
    values = values.astype(np.float64) * std + mean
    return {"values": (values.min(), values.max()), "mean": mean, "std": std}


def _shape(x: Any, lead: int) -> dict[str, Any]:
    """Type and shape of a sample; nothing for inputs that are a tree."""
    if not hasattr(x, "shape"):
        return {}
    return {"dtype": str(x.dtype), "shape": tuple(x.shape[lead:])}


def _own_words(reading: Mapping[str, Any], task: str) -> str:
    """What a loader said of a task: of its labels, the names and weights of classes."""
    of_labels = reading.get("of labels", {}).get(task, "")
    names = reading.get("classes", {}).get(task, ())
    words = _listed({str(i): n for i, n in enumerate(names) if n != str(i)})
    weights = reading.get("class weights", {}).get(task, {})
    weighed = _listed({name: f"{value:.3g}" for name, value in weights.items()})
    of_classes = f" ({words})" * bool(words) + f", weights {weighed}" * bool(weighed)
    return of_labels + of_classes


def _listed(values: Mapping[str, str]) -> str:
    first = ", ".join(f"{name}: {value}" for name, value in [*values.items()][:LISTED])
    return first + f" and {len(values) - LISTED} more" * (len(values) > LISTED)


def _task_words(task: Mapping[str, Any]) -> str:
    if task["kind"] == "pretext":
        return "makes its own labels"
    counts = list(task["labels"].values())
    total = "labels not counted"
    if None not in counts:
        total = f"{sum(counts)} labels, {task['missing']} missing"
    values = task.get("values")
    if isinstance(values, tuple):
        total += f", from {values[0]:.4g} to {values[1]:.4g}"
    if "std" in task:
        total += f", standardised by {task['mean']:.4g} and {task['std']:.4g}"
    if isinstance(values, dict) and task["kind"] == "binary":
        total += f", {values.get(1, 0)} of them 1"
    if isinstance(values, dict) and task["kind"] == "classification":
        total += f", of {len(values)} classes"
    if isinstance(values, dict) and task["kind"] in ("ordinal", "ordinal_adjacent"):
        total += f", levels {min(values)} to {max(values)}"
    return total
