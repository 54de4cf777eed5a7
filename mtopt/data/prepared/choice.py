"""Which features of a prepared set are inputs, and which are tasks of what kind."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtopt.data.tables.npz_kinds import CLASSES_OF, KINDS
from mtopt.errors import UserError, expect, expect_one_of, nearest

IMAGE = "image"
LISTED = 20


@dataclasses.dataclass(frozen=True)
class TaskFeature:
    """A feature that is a task.

    Args:
      task: its name as a task.
      feature: its nested name in the set.
      kind: what its labels are.
      classes: their names, of classes that the set names; none else.
      unit: what a label is multiplied by, for a number in another unit.
    """

    task: str
    feature: str
    kind: str
    classes: tuple[str, ...] = ()
    unit: float = 1.0

    @property
    def scanned(self) -> bool:
        """Whether its labels are read first: for moments, or the number of classes."""
        return self.kind == "regression" or not self.classes


def chosen_tasks(
    features: Mapping[str, Any],
    tasks: Sequence[str] | None,
    inputs: Sequence[str],
    kind: Mapping[str, str] | None,
    source: str,
) -> tuple[TaskFeature, ...]:
    """The features that are tasks, sorted by name.

    Args:
      features: of the set, by nested names.
      tasks: names or patterns of them; None: all classes and truth values.
      inputs: the features that are inputs, which are no tasks.
      kind: pattern to kind, where a feature does not say it or is to be another.
      source: the set, for messages.

    Raises:
      UserError: for a pattern that no feature fits, labels that are no single numbers,
        or a kind that a feature can't be of.

    Example:
      >>> import tensorflow_datasets as tfds
      >>> features = {
      ...     "label": tfds.features.ClassLabel(names=("cat", "dog")),
      ...     "weight": tfds.features.Scalar(np.float32),
      ...     "image": tfds.features.Image(shape=(8, 8, 3)),
      ... }
      >>> for each in chosen_tasks(features, ["*"], ("image",), None, "pets"):
      ...     print(each.task, each.kind, each.classes)
      label classification ('cat', 'dog')
      weight regression ()
    """
    given = kind or {}
    labels = {n: f for n, f in features.items() if n not in inputs and _is_label(f)}
    if tasks is None:
        names = {
            n for n, feature in labels.items() if _natural(feature) != "regression"
        }
        if not names:
            raise UserError(
                f"{source} has no classes and no truth values: expected tasks=..., "
                f"names or patterns of its numbers: {_listed(labels) or 'it has none'}"
            )
    else:
        names = set()
        for pattern in tasks:
            names |= _fitting(pattern, labels, features, inputs, source)
        if not names:
            raise UserError(
                f"tasks names no feature of {source}: expected some of "
                f"{_listed(labels) or 'it has none'}"
            )
    for pattern in given:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise UserError(
                f"kind names {pattern!r}, which is no task of {source}: "
                f"{nearest(pattern, sorted(names))}"
            )
    return tuple(_task(n, labels[n], given, source) for n in sorted(names))


def chosen_inputs(
    features: Mapping[str, Any], inputs: str | Sequence[str] | None, source: str
) -> tuple[str, ...]:
    """The features that are inputs: one, or several side by side.

    Args:
      features: of the set, by nested names.
      inputs: one name, or several; None: the feature ``image``, or the only image.
      source: the set, for messages.

    Raises:
      UserError: for a name of none, one that is no array of numbers, or no image where
        one is looked for.
    """
    if inputs is None:
        images = [name for name, feature in features.items() if is_image(feature)]
        if IMAGE in images:
            return (IMAGE,)
        if len(images) == 1:
            return (images[0],)
        count = f"{len(images)} images" if images else "no image"
        arrays = [n for n, f in features.items() if _is_array(f)]
        raise UserError(
            f"{source} has {count}: expected inputs=..., of {_listed(arrays) or 'none'}"
        )
    names = (inputs,) if isinstance(inputs, str) else tuple(inputs)
    fits = bool(names) and all(isinstance(name, str) for name in names)
    expect(fits, "inputs", inputs, "the name of a feature, or several")
    for name in names:
        if name not in features:
            raise UserError(
                f"inputs names {name!r}, which {source} has not: "
                f"{nearest(name, list(features))}"
            )
        scalar = len(names) > 1 and _is_label(features[name])
        if not (_is_array(features[name]) or scalar):
            raise UserError(
                f"inputs names {name!r}, which is {in_words(features[name])}: expected "
                "an array of numbers of one shape, or an image"
            )
    return names


def _fitting(
    pattern: str,
    labels: Mapping[str, Any],
    features: Mapping[str, Any],
    inputs: Sequence[str],
    source: str,
) -> set[str]:
    """The labels that a pattern fits."""
    # Case tells features apart: G and g may both be there.
    found = {name for name in labels if fnmatch.fnmatchcase(name, pattern)}
    if found:
        return found
    others = [name for name in features if fnmatch.fnmatchcase(name, pattern)]
    if others:
        what = "an input" if others[0] in inputs else in_words(features[others[0]])
        raise UserError(
            f"tasks names {pattern!r}, and {others[0]} of {source} is {what}: expected "
            f"single numbers or classes: {_listed(labels) or 'it has none'}"
        )
    raise UserError(
        f"tasks names {pattern!r}, which no feature of {source} fits: "
        f"{nearest(pattern, list(labels))}"
    )


def _task(
    name: str, feature: Any, given: Mapping[str, str], source: str
) -> TaskFeature:
    """One feature as a task, of the first kind given that it fits, else its own."""
    natural = _natural(feature)
    kind = next((k for p, k in given.items() if fnmatch.fnmatchcase(name, p)), natural)
    expect_one_of(f"kind of {name}", kind, KINDS)
    if kind != "regression" and np.issubdtype(feature.np_dtype, np.floating):
        raise UserError(
            f"kind of {name} is {kind!r}, and {source} has {in_words(feature)} there: "
            "expected 'regression'"
        )
    names = tuple(getattr(feature, "names", None) or ())
    if natural == "binary":
        names = ("False", "True")
    named = kind in CLASSES_OF or (kind == "binary" and len(names) == 2)
    return TaskFeature(name, name, kind, names if named else ())


def _natural(feature: Any) -> str:
    """The kind that a label says it is of."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.ClassLabel):
        return "classification"
    return "binary" if feature.np_dtype == np.bool_ else "regression"


def _is_label(feature: Any) -> bool:
    """Whether it is one number, truth value or class."""
    return _is_numbers(feature) and feature.shape == ()


def is_image(feature: Any) -> bool:
    """Whether a feature is an image.

    Args:
      feature: of a set.
    """
    import tensorflow_datasets as tfds

    return isinstance(feature, tfds.features.Image)


def _is_array(feature: Any) -> bool:
    """Whether it is an image, or an array of numbers of one shape."""
    if is_image(feature):
        return True
    return _is_numbers(feature) and bool(feature.shape) and None not in feature.shape


def _is_numbers(feature: Any) -> bool:
    import tensorflow_datasets as tfds

    dtype: Any = getattr(feature, "np_dtype", None)
    return isinstance(feature, tfds.features.Tensor) and np.dtype(dtype).kind in "biuf"


def in_words(feature: Any) -> str:
    """What a feature is: its class and its shape.

    Args:
      feature: of a set.
    """
    kind = type(feature).__name__
    shape = getattr(feature, "shape", None)
    return f"{kind} {shape}" if isinstance(shape, tuple) else kind


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    first = [*names][:LISTED]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(first) + more
