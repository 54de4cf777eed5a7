"""Any set that tensorflow-datasets has prepared: its features become tasks."""

import fnmatch
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.division import check_fractions
from mtopt.data.prepared.assembly import assembled, disjoint
from mtopt.data.prepared.choice import chosen_inputs, chosen_tasks
from mtopt.data.prepared.found import PreparedSet
from mtopt.data.prepared.parts import parts_of
from mtopt.data.prepared.samples import Chosen
from mtopt.data.sources import JointDataset
from mtopt.data.stream import ON_DEVICE_BYTES
from mtopt.errors import UserError, expect


def tfds(
    *,
    name: str | Sequence[str] | None = None,
    tasks: str | Sequence[str] | None = None,
    inputs: str | Sequence[str] | None = None,
    kind: Mapping[str, str] | None = None,
    size: int | tuple[int, int] | None = None,
    folder: str | pathlib.Path | None = None,
    seed: int = 0,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    on_device_bytes: int = ON_DEVICE_BYTES,
) -> Dataset | JointDataset:
    """Reads a set that tfds has prepared as array_record files, without TensorFlow.

    Every feature that is one number is a task it can be asked for by its nested name,
    such as ``attributes/Smiling`` of ``celeb_a``:

    ================ ======================= =========================================
    feature          kind                    labels
    ================ ======================= =========================================
    ``ClassLabel``   ``classification``      the set's classes, with their names; -1
                                             is a missing label
    truth value      ``binary``              1 where it is true
    float            ``regression``          standardised by the training labels of its
                                             task; NaN is a missing label
    integer          ``regression``          likewise: classes are ``ClassLabel``, and
                                             only ``kind`` makes them of other integers
    ================ ======================= =========================================

    Tasks of several kinds are a group each on one input, trained together as
    :func:`mtopt.data.join` makes them. Several sets, or configurations of one, are
    tasks with samples of their own: where each has one task of the same kind, they are
    the disjoint tasks of one group, named as the sets are, as the six domains of
    ``domainnet`` are; otherwise they are groups, and a task is named ``set/feature``.

    The splits ``train``, ``validation`` and ``test`` are the parts; those that a set
    lacks are drawn from ``train``. Parts that fit are decoded once and live on the
    device; larger ones stay on disk, and are decoded by threads as they are needed.
    Where there are numbers among the tasks, the training labels are then read first,
    without their images.

    Args:
      name: the set, as tfds names it: ``shapes3d``, ``domainnet/real``,
        ``cifar10:3.0.2``; several in a sequence, or separated by commas.
      tasks: features, by names or patterns such as ``label_*`` and ``attributes/*``;
        None: all classes and truth values. Case counts.
      inputs: the features that a model is given: None for ``image``, or the only
        image; one image or array of numbers, as it is stored; or several, which are a
        dict ``x`` by name.
      kind: pattern of features to ``classification``, ``binary``, ``ordinal``,
        ``ordinal_adjacent`` or ``regression``, in place of their own.
      size: height and width in pixels that images are brought to, or one number for
        both, 1 or more; see :func:`mtopt.data.prepared.pictures.resized`. Needed where
        a set's images have several sizes.
      folder: the folder of prepared sets; None for tfds's own,
        ``~/tensorflow_datasets`` or the variable ``TFDS_DATA_DIR``.
      seed: of the draw of missing parts.
      valid_fraction: share of ``train`` for validation, in (0, 1), where the set has no
        such split.
      test_fraction: likewise, for testing.
      on_device_bytes: the most that all samples may take on the device.

    Returns:
      The data set. ``x`` is uint8 NHWC in 0..255 of images. ``y`` is float32 for
      regression, int32 otherwise; ``outputs`` is the number of classes of the task
      that has most.

    Raises:
      UserError: for a set that is not prepared, or in another format, with the command
        that prepares it; a pattern that no feature fits; inputs of no one shape, or of
        other shapes in one set than in another.

    Example:
      >>> tfds(name="shapes3d", tasks="label_*", folder="/nowhere")
      Traceback (most recent call last):
      mtopt.errors.UserError: no shapes3d in /nowhere: expected it to be prepared, \
which `tfds build shapes3d --file_format=array_record --data_dir=/nowhere` does; it \
needs TensorFlow, here or on another machine

    References:
      TensorFlow Datasets, a collection of ready-to-use datasets,
      https://www.tensorflow.org/datasets.
    """
    check_fractions(valid_fraction=valid_fraction, test_fraction=test_fraction)
    names = _names(name)
    size = _size(size)
    sets = [PreparedSet.of(each, folder) for each in names]
    read = []
    for found in sets:
        used = chosen_inputs(found.features, inputs, found.name)
        patterns = None if tasks is None else _of_set(_several(tasks), found, sets)
        kinds = {p: kind[p] for p in _of_set(kind, found, sets)} if kind else None
        own = chosen_tasks(found.features, patterns, used, kinds, found.name)
        chosen = Chosen.of(used, size, own)
        shares = {"valid": valid_fraction, "test": test_fraction}
        read.append((chosen, parts_of(found, shares, seed)))
    if len(sets) == 1:
        ((chosen, parts),) = read
        return assembled(chosen, parts, on_device_bytes=on_device_bytes)
    return disjoint(read, on_device_bytes=on_device_bytes)


def _names(name: Any) -> list[str]:
    """The sets that are asked for, each once."""
    given = name.split(",") if isinstance(name, str) else [*(name or ())]
    names = [each.strip() for each in given if isinstance(each, str)]
    fits = len(names) == len(given) and all(names) and bool(names)
    expect(fits, "name", name, "a set of tfds, such as 'shapes3d', or several")
    if len({*names}) < len(names):
        raise UserError(f"name is {name!r}: expected no set twice")
    return names


def _several(tasks: Any) -> tuple[str, ...]:
    """The patterns of tasks."""
    patterns = (tasks,) if isinstance(tasks, str) else tasks
    fits = isinstance(patterns, Sequence) and all(isinstance(p, str) for p in patterns)
    expect(fits, "tasks", tasks, "names or patterns of features, or None")
    return tuple(patterns)


def _of_set(
    patterns: Iterable[str], found: PreparedSet, sets: Sequence[PreparedSet]
) -> list[str]:
    """The patterns that are of a set: without those that fit other sets alone.

    Those that fit no set at all are an error in each.
    """

    def fits(pattern: str, one: PreparedSet) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for name in one.features)

    return [
        pattern
        for pattern in patterns
        if fits(pattern, found) or not any(fits(pattern, each) for each in sets)
    ]


def _size(size: Any) -> tuple[int, int] | None:
    """Height and width."""
    if size is None:
        return None
    both = (size, size) if isinstance(size, int | np.integer) else size
    fits = (
        isinstance(both, Sequence)
        and len(both) == 2
        and all(
            isinstance(side, int | np.integer)
            and not isinstance(side, bool)
            and side >= 1
            for side in both
        )
    )
    expect(fits, "size", size, "a number of pixels, or (height, width), 1 or more each")
    height, width = both
    return int(height), int(width)
