"""Multi-Digits: two overlapping handwritten digits, from data that pip brings."""

from collections.abc import Sequence

import numpy as np

from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.images.pairs import (
    Images,
    Layout,
    check_counts,
    pair_up,
    shown_in_training,
    split_sources,
)
from mtopt.data.tasks_kept import keep_tasks

LAYOUT = Layout(offset=2, canvas=10)
SHARES = (0.6, 0.15, 0.25)


def multi_digits(
    *,
    num_train: int = 12_000,
    num_valid: int = 1_500,
    num_test: int = 3_000,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
) -> Dataset:
    """A small Multi-MNIST: name the digit top left, and the one bottom right.

    The 1,797 digits of scikit-learn (8 x 8 pixels) are first divided into 60 %
    training, 15 % validation and 25 % test digits, stratified by class, and paired
    within each part: no digit of a test image was ever trained on. One digit stands
    at ``[0:8, 0:8]`` of a 10 x 10 canvas, the other at ``[2:10, 2:10]``, the brighter
    pixel showing where they overlap. Nothing is downloaded.

    Args:
      num_train: training pairs, at least 1.
      num_valid: validation pairs.
      num_test: test pairs.
      seed: of the division and of the pairing.
      tasks: the names of those to keep; None keeps all.

    Returns:
      Tasks ``left`` and ``right``, 10 classes each; ``x`` is float32 ``[B, 10, 10, 1]``
      in [0, 1], ``y`` int32 ``[2, B]``.

    Raises:
      UserError: for a split of fewer than one pair, or a name that is no task.

    Example:
      >>> data = multi_digits(num_train=20, num_valid=5, num_test=5)
      >>> data.tasks, data.outputs, data.train.size
      (('left', 'right'), 10, 20)
      >>> next(data.train.in_order(4)).x.shape
      (4, 10, 10, 1)

    References:
      The digits: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI
      Machine Learning Repository, 1998. The construction on MNIST: Sener and Koltun,
      Multi-Task Learning as Multi-Objective Optimization, 2018, arXiv 1810.04650.
    """
    from sklearn.datasets import load_digits

    check_counts(num_train=num_train, num_valid=num_valid, num_test=num_test)
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    scaled = (images.reshape(-1, 8, 8) / 16).astype(np.float32)
    source = Images(scaled, labels)
    rng = np.random.default_rng(seed)
    parts = {}
    for split, members, num, stream in zip(
        ("train", "valid", "test"),
        split_sources(source, SHARES, rng),
        (num_train, num_valid, num_test),
        rng.spawn(3),
        strict=True,
    ):
        digits = source[members]
        parts[split] = pair_up(digits, digits, num, LAYOUT, stream)
    splits = {s: ArraySplit(part.batch(), x_axis=None) for s, part in parts.items()}
    dataset = Dataset(
        name="multi_digits",
        tasks=("left", "right"),
        kind="classification",
        outputs=10,
        x_axis=None,
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        reading={"equal inputs": shown_in_training(parts)},
    )
    return keep_tasks(dataset, tasks)
