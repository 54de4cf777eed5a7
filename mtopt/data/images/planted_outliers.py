"""Planted outlier tasks: annotators of handwritten digits, some of them wrong."""

from collections.abc import Sequence

import numpy as np

from mtopt.batch import Batch
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.images.multi_digits import SHARES
from mtopt.data.images.pairs import Images, split_sources
from mtopt.data.tasks_kept import keep_tasks
from mtopt.errors import expect, expect_one_of

PLANTS = ("adversarial", "noisy", "unrelated")
CLASSES = 10


def planted_outliers(
    *,
    plant: str = "adversarial",
    num_tasks: int = 10,
    num_outliers: int = 3,
    keep_outliers: bool = True,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
) -> Dataset:
    """Annotators as tasks: most name the digit, the planted ones answer otherwise.

    The 1,797 digits of scikit-learn (8 x 8 pixels) are divided into 60 % training,
    15 % validation and 25 % test digits, stratified by class. Every annotator labels
    his own share of the training digits (some hundred of them), and each labels all
    digits of the other two parts. Nothing is downloaded.

    ============= ======================================================
    plant         what an outlier answers, instead of the digit
    ============= ======================================================
    adversarial   nine minus the digit
    noisy         any class, drawn once per digit and annotator
    unrelated     how much ink the digit has, in ten classes of equal size
    ============= ======================================================

    Args:
      plant: what the outliers do, as above.
      num_tasks: annotators, 2 to 100.
      num_outliers: how many of them are outliers, 0 to ``num_tasks - 1``.
      keep_outliers: False leaves their tasks out; the others keep their digits, so
        that this is what training without the outliers at all can reach.
      seed: of the division and of the noise.
      tasks: the names of those to keep; None keeps all.

    Returns:
      Tasks ``outlier00`` and so on, then ``regular00`` and so on, 10 classes each, on
      disjoint inputs: ``x`` is float32 ``[K, b, 8, 8, 1]`` in [0, 1], ``y`` int32
      ``[K, b]``. Also the labels that outliers are validated and tested on are theirs.

    Raises:
      UserError: for an unknown plant, numbers out of range, or a name that is no task.

    Example:
      >>> data = planted_outliers(num_tasks=3, num_outliers=1)
      >>> data.tasks
      ('outlier00', 'regular00', 'regular01')
      >>> data.train.samples.x.shape, data.test.samples.x.shape
      ((3, 359, 8, 8, 1), (3, 450, 8, 8, 1))

    References:
      The digits: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI
      Machine Learning Repository, 1998.
    """
    from sklearn.datasets import load_digits

    expect_one_of("plant", plant, PLANTS)
    expect(2 <= num_tasks <= 100, "num_tasks", num_tasks, "2 to 100")
    expect(
        0 <= num_outliers < num_tasks,
        "num_outliers",
        num_outliers,
        f"0 to {num_tasks - 1}, one less than the tasks",
    )
    images, digits = map(np.asarray, load_digits(return_X_y=True))
    rng = np.random.default_rng(seed)
    train, *others = split_sources(Images(images, digits), SHARES, rng)
    noise = rng.integers(CLASSES, size=(num_tasks, len(digits)))
    answers = np.tile(digits, (num_tasks, 1))
    outliers = np.arange(num_tasks) < num_outliers
    answers[outliers] = {
        "adversarial": CLASSES - 1 - digits,
        "noisy": noise[outliers],
        "unrelated": CLASSES * images.sum(axis=1).argsort().argsort() // len(digits),
    }[plant]

    kept = np.flatnonzero(~outliers | keep_outliers)
    x = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    own = rng.permutation(train)[: len(train) // num_tasks * num_tasks]
    own = own.reshape(num_tasks, -1)
    everyone = [np.tile(part, (num_tasks, 1)) for part in others]
    splits = {}
    for split, index in zip(("train", "valid", "test"), (own, *everyone), strict=True):
        y = np.take_along_axis(answers, index, axis=1)[kept].astype(np.int32)
        batch = Batch(x[index[kept]], y, np.ones(y.shape, bool))
        splits[split] = ArraySplit(batch, x_axis=0)
    names = [f"outlier{k:02d}" for k in range(num_outliers)]
    names += [f"regular{k:02d}" for k in range(num_tasks - num_outliers)]
    dataset = Dataset(
        name="planted_outliers",
        tasks=tuple(names[k] for k in kept),
        kind="classification",
        outputs=CLASSES,
        x_axis=0,
        **splits,
    )
    return keep_tasks(dataset, tasks)
