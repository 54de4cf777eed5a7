"""A user's own arrays: a documented ``.npz`` format for tabular multi-task data."""

import pathlib
from collections.abc import Mapping

import numpy as np
from absl import logging

from mtopt.data.dataset import Dataset
from mtopt.data.division import SPLITS, TEST, TRAIN, VALID, check_fractions, divide
from mtopt.data.stream import ON_DEVICE_BYTES, place
from mtopt.data.tables.npz_counts import LENGTHS, SPARSE, with_lengths
from mtopt.data.tables.npz_file import read_arrays
from mtopt.data.tables.npz_inputs import INPUTS, MAX_FEATURES, read_inputs
from mtopt.data.tables.npz_labels import KINDS, Labels, NpzKind, read_labels
from mtopt.errors import UserError

JOINED = (*INPUTS, LENGTHS, "indices", "counts", "y", "task")
PER_SPLIT = (*INPUTS, *SPARSE, "y", "task")
OTHERS = (
    "split",
    "cat_cardinality",
    "vocab",
    "target_names",
    "task_names",
    "task_ids",
)


def npz(
    path: str | pathlib.Path,
    *,
    kind: NpzKind | None = None,
    seed: int = 0,
    valid_fraction: float = 0.15,
    test_fraction: float = 0.15,
    min_labels: int = 1,
    max_features: int = MAX_FEATURES,
    name: str | None = None,
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset:
    """Reads a multi-task data set from one ``.npz`` file of plain arrays.

    **Inputs**, any of these side by side, for N samples:

    ========= ====================== =============================================
    key       array                  becomes
    ========= ====================== =============================================
    ``x``     number ``[N, D]``      standardised columns
    ``x_num`` number ``[N, D]``      standardised columns
    ``desc``  number ``[N, D]``      standardised columns
    ``x_cat`` int ``[N, C]``         one-hot columns; ``cat_cardinality`` int ``[C]``
                                     says how many each (else the largest code + 1)
    ``fp``    uint8 ``[N, F]``       8 F columns of 0 and 1 (``numpy.unpackbits``)
    ========= ====================== =============================================

    And word counts, as sparse rows: ``indptr`` int ``[N + 1]``, ``indices`` int ``[E]``
    and ``counts`` ``[E]``, where entries ``indptr[n]`` to ``indptr[n + 1]`` are the
    words of sample n and how often each stands there; ``vocab`` ``[V]`` says how many
    words there are (else the largest index + 1). They become log(1 + count) of the
    ``max_features`` words that stand in the most training samples, unscaled. As the
    only inputs they are kept as float16, 2 N ``max_features`` bytes in all; a model
    turns each batch into its own dtype.

    **Labels**, in one of two ways:

    * ``y`` ``[N, K]``: K tasks on shared inputs, a column each. NaN or infinity, or
      255 in a uint8 array, is a missing label. ``target_names`` or ``task_names``
      ``[K]`` name them.
    * ``y`` ``[N]`` and ``task`` int ``[N]``: every sample belongs to one of K tasks,
      0 to K - 1. ``task_names`` ``[K]`` (strings) or ``task_ids`` ``[K]`` (integers)
      name them. A sample without a label is left out.

    Names made of integers are padded with zeros (``task_007``), so that tasks, which
    are sorted by name, keep their order.

    **Splits**: arrays per split, their names ending in ``_train``, ``_valid`` and
    ``_test`` (``x_train``, ``y_train``, ...); or ``split`` ``[N]`` of the strings
    ``train``, ``valid`` and ``test``; or none. A part that the file does not have is
    drawn from the training samples, of each task in the same proportion where inputs
    are disjoint: every task of 3 or more samples then appears in every part.

    **Scaling** uses the training part alone: inputs as in
    :func:`~mtopt.data.tables.scaling.standardise` (missing values become the mean, all
    is clipped to 10 standard deviations; one-hot columns and bits stay as they are).
    Regression targets lose mean and standard deviation: their own per task on shared
    inputs, one of all tasks on disjoint inputs, where tasks are of one kind and
    differ in their means. A label behind a mask is stored as 0.

    Other keys are ignored.

    Args:
      path: the file.
      kind: what the labels are; None infers: values 0 and 1 alone are ``binary``,
        other integer arrays ``classification``, other floats ``regression``. (Classes
        that are stored as floats need ``kind="classification"``.)
      seed: of the division into parts.
      valid_fraction: share of the training samples for validation, in (0, 1), where
        the file has no validation part.
      test_fraction: likewise, for testing.
      min_labels: tasks with fewer training labels are dropped, and a warning names
        them; 0 drops none, and makes a task without any an error.
      max_features: the most words to keep of word counts, at least 1.
      name: what to call the set; None takes the folder's name for ``data.npz``, and
        the file's otherwise.
      on_device_bytes: the most that the three splits may take on the device; larger
        sets of shared inputs stay in memory and are streamed.

    Returns:
      The data set: ``x`` float32 ``[N, D]``, or float16 for word counts alone; ``y``
      float32 for regression, int32 otherwise. For classification, ``outputs`` is the
      largest class + 1.

    Raises:
      UserError: for a file that is no npz, a missing key, shapes that do not fit, or
        labels out of range.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "flowers.npz"
      >>> np.savez(path, x=np.eye(20), y=np.arange(40.).reshape(20, 2),
      ...          target_names=np.array(["width", "height"]))
      >>> data = npz(path)
      >>> data.name, data.tasks, data.kind, data.train.size, data.test.size
      ('flowers', ('height', 'width'), 'regression', 14, 3)
    """
    path = pathlib.Path(path).expanduser()
    if kind is not None and kind not in KINDS:
        raise UserError(
            f"kind is {kind!r}: expected one of {KINDS}, or None to infer it"
        )
    if min_labels < 0:
        raise UserError(f"min_labels is {min_labels}: expected 0 or more")
    if max_features < 1:
        raise UserError(f"max_features is {max_features}: expected 1 or more")
    check_fractions(valid_fraction=valid_fraction, test_fraction=test_fraction)
    read = with_lengths(read_arrays(path, _is_known), path)
    arrays, split = _join_splits(read, path)
    labels = read_labels(arrays, path, kind)
    inputs = read_inputs(arrays, path)
    split = np.where(labels.usable, split, -1)
    group = np.zeros(len(split), int) if labels.task is None else labels.task
    shares = {VALID: valid_fraction, TEST: test_fraction}
    missing = {part: f for part, f in shares.items() if not (split == part).any()}
    split = divide(split, group, missing, np.random.default_rng(seed))
    for part, title in enumerate(SPLITS):
        if not (split == part).any():
            raise UserError(f"{path}: no labelled sample left for {title}: add samples")
    train = split == TRAIN
    labels, mean, std = labels.keep(_enough(labels, train, min_labels, path)).scaled(
        train
    )
    x = inputs.scaled(train, max_features)
    batches = {
        title: labels.batch(x, split == part) for part, title in enumerate(SPLITS)
    }
    x_axis = None if labels.task is None else 0
    return Dataset(
        name=name or (path.parent.name if path.stem == "data" else path.stem),
        tasks=labels.names,
        kind=labels.kind,
        outputs=labels.outputs,
        x_axis=x_axis,
        target_mean=mean,
        target_std=std,
        **place(batches, x_axis, on_device_bytes),
    )


def _is_known(key: str) -> bool:
    base = key.removesuffix("_train").removesuffix("_valid").removesuffix("_test")
    return base in PER_SPLIT or key in OTHERS


def _join_splits(
    arrays: dict[str, np.ndarray], path: pathlib.Path
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """One array per key, and the part of every sample."""
    parts = [title for title in SPLITS if f"y_{title}" in arrays]
    if not parts:
        return arrays, _given_split(arrays, path)
    if "train" not in parts or "y" in arrays:
        raise UserError(
            f"{path} has {', '.join(sorted(arrays))}: expected either y, or y_train "
            "with y_valid and y_test beside it"
        )
    joined = {key: value for key, value in arrays.items() if key not in JOINED}
    for key in JOINED:
        found = [title for title in SPLITS if f"{key}_{title}" in arrays]
        if found and found != parts:
            raise UserError(
                f"{path} has {key} for {', '.join(found)} and y for "
                f"{', '.join(parts)}: expected the same splits of every array"
            )
        if found:
            pieces = [arrays[f"{key}_{title}"] for title in parts]
            if any(p.ndim == 0 or p.shape[1:] != pieces[0].shape[1:] for p in pieces):
                raise UserError(
                    f"{path}: {key} has shapes {[p.shape for p in pieces]} in "
                    f"{', '.join(parts)}: expected samples of equal shape"
                )
            joined[key] = np.concatenate(pieces)
    lengths = [len(arrays[f"y_{title}"]) for title in parts]
    return joined, np.repeat([SPLITS.index(title) for title in parts], lengths)


def _given_split(arrays: Mapping[str, np.ndarray], path: pathlib.Path) -> np.ndarray:
    if "y" not in arrays:
        raise UserError(
            f"{path} has {', '.join(sorted(arrays)) or 'no known array'}: expected "
            "labels y (or y_train, y_valid, y_test) and inputs; see mtopt.data.npz"
        )
    size = len(np.atleast_1d(arrays["y"]))
    if "split" not in arrays:
        return np.full(size, TRAIN)
    given = arrays["split"]
    unknown = sorted(set(np.unique(given).tolist()) - set(SPLITS), key=str)
    if unknown or given.shape != (size,):
        raise UserError(
            f"{path}: split has shape {given.shape} and values {unknown or SPLITS}: "
            f"expected ({size},) of {', '.join(map(repr, SPLITS))}"
        )
    return np.array([SPLITS.index(title) for title in given.tolist()])


def _enough(
    labels: Labels, train: np.ndarray, min_labels: int, path: pathlib.Path
) -> np.ndarray:
    """Which tasks have the training labels they need, ``[K]`` bool."""
    counts = labels.counts(train)
    enough = counts >= max(min_labels, 1)
    few = [
        f"{n} ({c})"
        for n, c, e in zip(labels.names, counts, enough, strict=True)
        if not e
    ]
    if few and (min_labels == 0 or not enough.any()):
        raise UserError(
            f"{path}: tasks with fewer than {max(min_labels, 1)} training labels: "
            f"{', '.join(few)}; drop them (min_labels=1 does), or add labels"
        )
    if few:
        logging.warning(
            "%s: dropped %d of %d tasks with fewer than %d training labels: %s",
            path,
            len(few),
            len(counts),
            min_labels,
            ", ".join(few),
        )
    return enough
