"""A user's own arrays: a documented ``.npz`` format for tabular multi-task data."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.division import TEST, TRAIN, VALID, check_fractions
from mtopt.data.equal_rows import on_both_sides
from mtopt.data.sources import JointDataset
from mtopt.data.stream import ON_DEVICE_BYTES
from mtopt.data.tables.assembly import assembled, divided
from mtopt.data.tables.class_weights import ClassWeights
from mtopt.data.tables.npz_encoding import NpzEncoding
from mtopt.data.tables.npz_file import Archive
from mtopt.data.tables.npz_images import ImageEncoding, read_images
from mtopt.data.tables.npz_inputs import MAX_FEATURES, read_inputs
from mtopt.data.tables.npz_kinds import GivenKind, how_known
from mtopt.data.tables.npz_labels import names_by_number, read_labels
from mtopt.data.tables.npz_parts import Parts
from mtopt.data.tasks_kept import kept_names
from mtopt.errors import UserError


def npz(
    path: str | pathlib.Path,
    *,
    kind: GivenKind | None = None,
    missing: float | int | None = None,
    tasks: Sequence[str] | None = None,
    seed: int = 0,
    valid_fraction: float = 0.15,
    test_fraction: float = 0.15,
    min_labels: int = 1,
    max_features: int = MAX_FEATURES,
    common_units: bool = False,
    class_weights: ClassWeights | None = None,
    name: str | None = None,
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset | JointDataset:
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

    Or images alone, for the convolutional models: ``x`` ``[N, H, W]`` or ``[N, H, W,
    C]``, bytes as they are, which models divide by 255, or numbers, of which each
    channel is standardised.

    And word counts, as sparse rows: ``indptr`` int ``[N + 1]``, ``indices`` int ``[E]``
    and ``counts`` ``[E]``, where entries ``indptr[n]`` to ``indptr[n + 1]`` are the
    words of sample n and how often each stands there; ``vocab`` ``[V]`` says how many
    words there are (else the largest index + 1). They become log(1 + count) of the
    ``max_features`` words that stand in the most training samples, unscaled. As the
    only inputs they are kept as float16, 2 N ``max_features`` bytes in all; a model
    turns each batch into its own dtype.

    **Labels**, in one of two ways:

    * ``y`` ``[N, K]``: K tasks on shared inputs, a column each. ``target_names`` or
      ``task_names`` ``[K]`` name them.
    * ``y`` ``[N]`` and ``task`` int ``[N]``: every sample belongs to one of K tasks,
      0 to K - 1. ``task_names`` ``[K]`` (strings) or ``task_ids`` ``[K]`` (integers)
      name them. A sample without a label is left out.

    A label is missing where ``y`` is NaN, or 255 in a uint8 array, or the value
    ``missing``; where weights ``w`` are 0, whatever ``y`` holds there; and where
    ``mask`` is False. Both have the shape of ``y``, or ``[N, 1]`` (``[N]``) for all
    tasks of a row. Weights that differ weigh training losses: that of a task is
    sum(w l) / sum(w) over a batch, so that a label of weight 2 counts as two. Scores,
    those of validation that choose models among them, and scaling take every label
    alike.

    Names made of integers are padded with zeros (``task_007``), so that tasks, which
    are sorted by name, keep their order.

    **Splits**: arrays per split, their names ending in ``_train``, ``_valid`` and
    ``_test`` (``x_train``, ``y_train``, ...); or ``split`` ``[N]`` of the strings
    ``train``, ``valid`` and ``test``; or none. A part that the file does not have is
    drawn from the training samples, of each task in the same proportion where inputs
    are disjoint: every task of 3 or more samples then appears in every part. Samples
    (of one task) with equal inputs stay together in what is drawn; how many there are
    on both sides of a split is printed, and stands in ``reading``.

    **Scaling** uses the training part alone: inputs as in
    :func:`~mtopt.data.tables.scaling.Scaling` (missing values become the mean, all
    is clipped to 10 standard deviations; one-hot columns and bits stay as they are).
    Regression targets lose the mean and the standard deviation of their task's training
    labels, so that metres beside millimetres are learned alike; with ``common_units``
    they lose those of all tasks together, and a task counts by the size of its errors.
    A task whose training labels are all equal is divided by the median deviation of the
    others. A label behind a mask is stored as 0.

    What the file was understood to be stands in ``reading``,
    with the arrays that were not read; a run prints it.

    Args:
      path: the file.
      kind: what the labels of all tasks are: ``binary`` (0 and 1), ``classification``
        (0, 1, 2 ...), ``ordinal`` or ``ordinal_adjacent`` (0, 1, 2 ... in order; see
        :mod:`mtopt.models.ordinal`) or ``regression``. None infers it where only one
        will do, and otherwise says what each task's labels look like; see
        :func:`~mtopt.data.tables.npz_kinds.infer_kind`. Whole numbers stored as
        floats may be classes or numbers: there it must be given, as it must be for
        levels in order. ``"each"`` infers one for every task by itself, and a dict has
        the kinds of some tasks by name, others as by ``"each"``; tasks of several kinds
        are a group each, as :func:`mtopt.data.join` makes them.
      missing: a value of ``y`` that stands for a missing label, -1 for example; None:
        no number does.
      tasks: the names of those to keep, the others are not looked at; None keeps all.
      seed: of the division into parts.
      valid_fraction: share of the training samples for validation, in (0, 1), where
        the file has no validation part.
      test_fraction: likewise, for testing.
      min_labels: tasks with fewer training labels are dropped, and a warning names
        them; 0 drops none, and makes a task without any an error.
      max_features: the most words to keep of word counts, at least 1.
      common_units: whether the targets of a regression are all in one unit; they are
        then scaled by one mean and one deviation, and errors pooled in that unit.
      class_weights: what a training label weighs by its class, times what ``w`` says:
        ``"balanced"`` for scikit-learn's rule, by which all classes of a task weigh the
        same in all, for every task of classes; or a dict of some tasks, each
        ``"balanced"`` or a dict of a number for every class. See
        :func:`~mtopt.data.tables.class_weights.with_class_weights`.
      name: what to call the set; None takes the folder's name for ``data.npz``, and
        the file's otherwise.
      on_device_bytes: the most that the three splits may take on the device; larger
        sets of shared inputs stay in memory and are streamed.

    Returns:
      The data set: ``x`` float32 ``[N, D]``, or float16 for word counts alone; ``y``
      float32 for regression, int32 otherwise. ``outputs`` is the largest class or
      level + 1, whichever part has it. Of several kinds, a
      :class:`mtopt.data.JointDataset` with a group for each; ``shared_inputs`` where
      ``y`` has a column for each task.

    Raises:
      UserError: for a file that is no npz, a missing key, shapes that do not fit,
        labels out of range, labels of unequal or unclear kinds, or a name that is no
        task.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "flowers.npz"
      >>> np.savez(path, x=np.eye(20), y=np.arange(40).reshape(20, 2) / 4,
      ...          target_names=np.array(["width", "height"]))
      >>> data = npz(path)
      >>> data.name, data.tasks, data.kind, data.train.size, data.test.size
      ('flowers', ('height', 'width'), 'regression', 14, 3)
    """
    path = pathlib.Path(path).expanduser()
    if min_labels < 0:
        raise UserError(f"min_labels is {min_labels}: expected 0 or more")
    if max_features < 1:
        raise UserError(f"max_features is {max_features}: expected 1 or more")
    check_fractions(valid_fraction=valid_fraction, test_fraction=test_fraction)
    archive = Archive(path)
    arrays = Parts(archive)
    split = arrays.split()
    labels = read_labels(arrays, path, kind, missing, tasks)
    kept = np.isin(labels.names, kept_names(labels.names, tasks))
    images = read_images(arrays, path)
    inputs: Any = images or read_inputs(arrays, path, len(arrays["y"]))
    split = np.where(labels.usable, split, -1)
    group = np.zeros(len(split), int) if labels.task is None else labels.task
    rows = inputs.rows(labels.task)
    shares = {VALID: valid_fraction, TEST: test_fraction}
    split = divided(split, group, rows, shares, seed, path)
    train = split == TRAIN
    form: Any = ImageEncoding if images else NpzEncoding
    encoding = dataclasses.replace(
        form.of(inputs, train, max_features),
        tasks=names_by_number(arrays, path),
        own_rows=labels.task is not None,
    )
    reading = {
        "file": str(path),
        "inputs": inputs.description(train, max_features),
        "missing labels": dict(labels.missing),
        "equal inputs": on_both_sides(rows, split),
        "not read": archive.unread,
    }
    if labels.weighing(train).weight is not None:
        reading["weights"] = "array w, of labels"
    return assembled(
        labels.keep(kept),
        encoding.encoded(inputs),
        split,
        min_labels=min_labels,
        common_units=common_units,
        on_device_bytes=on_device_bytes,
        name=name or (path.parent.name if path.stem == "data" else path.stem),
        reading=reading,
        kind_words=functools.partial(how_known, kind),
        source=path,
        encoding=encoding,
        class_weights=class_weights,
    )
