"""Questions about overlapping digits, few answers to each, and one planted wrong."""

from collections.abc import Sequence

import numpy as np

from mtopt.batch import Batch
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.division import SPLITS
from mtopt.data.images.multi_digits import LAYOUT, SHARES
from mtopt.data.images.pairs import (
    Images,
    check_counts,
    pair_up,
    shown_in_training,
    split_sources,
)
from mtopt.data.tasks_kept import keep_tasks
from mtopt.errors import expect

CLASSES = 10
ANSWERS = {
    "digit": np.arange(10),
    "even": np.array([1, 0] * 5),
    "large": np.repeat([0, 1], 5),
    "loops": np.array([1, 0, 0, 0, 0, 0, 1, 0, 2, 1]),
    "rest of 3": np.arange(10) % 3,
}
"""Question to the right answer for each digit."""
WRONG = "wrong: digit"
DIGITS = tuple(map(str, range(CLASSES)))
NAMES = {
    "digit": DIGITS,
    "even": ("odd", "even"),
    "large": ("0 to 4", "5 to 9"),
    "loops": ("none", "one", "two"),
    "rest of 3": ("0", "1", "2"),
    WRONG: DIGITS,
}
"""Question to what its classes are called."""


def digit_questions(
    *,
    num_train: int = 1_000,
    num_valid: int = 1_500,
    num_test: int = 3_000,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
) -> Dataset:
    """Five questions about one of two overlapping digits, and a task that is wrong.

    The images are those of :func:`multi_digits`: pairs of scikit-learn's 8 x 8 digits
    on a 10 x 10 canvas, divided before they are paired. All tasks are about the digit
    top left; the other one is in the way. A training image has the answer to a single
    question, so that each of the five has a fifth of the images, and what a task lacks
    in labels it can learn from the others. Validation and test images have all answers.

    ============== ================================================ =======
    task           label                                            classes
    ============== ================================================ =======
    ``digit``      the digit                                        10
    ``even``       1 if it is even                                  2
    ``large``      1 if it is five or more                          2
    ``loops``      how many closed loops it is usually written with 3
    ``rest of 3``  what is left of it divided by three              3
    ``wrong: ...`` planted: the digit of another image              10
    ============== ================================================ =======

    The wrong task has a label for every image: the digits of its part in random order.
    Nothing in an image tells them, and chance is all that a test can show.

    Args:
      num_train: training images, at least 5.
      num_valid: validation images.
      num_test: test images.
      seed: of the division, of the pairing, of who is asked what, and of what is wrong.
      tasks: the names of those to keep; None keeps all.

    Returns:
      The tasks of the table, sorted; ``x`` is float32 ``[B, 10, 10, 1]`` in [0, 1],
      ``y`` int32 ``[6, B]``. All heads have ten outputs, whatever a question needs.

    Raises:
      UserError: for a part of fewer images than one, or five of training, or a name
        that is no task.

    Example:
      >>> data = digit_questions(num_train=20, num_valid=5, num_test=5)
      >>> data.tasks
      ('digit', 'even', 'large', 'loops', 'rest of 3', 'wrong: digit')
      >>> data.train.samples.mask.sum(axis=1).tolist()
      [4, 4, 4, 4, 4, 20]

    References:
      The digits: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI
      Machine Learning Repository, 1998.
    """
    from sklearn.datasets import load_digits

    check_counts(num_train=num_train, num_valid=num_valid, num_test=num_test)
    least = len(ANSWERS)
    expect(num_train >= least, "num_train", num_train, f"{least} or more, one a task")
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    scaled = (images.reshape(-1, 8, 8) / 16).astype(np.float32)
    source = Images(scaled, labels)
    rng = np.random.default_rng(seed)
    pairs, parts = {}, {}
    for split, members, num, stream in zip(
        SPLITS,
        split_sources(source, SHARES, rng),
        (num_train, num_valid, num_test),
        rng.spawn(len(SPLITS)),
        strict=True,
    ):
        digits = source[members]
        pairs[split] = pair_up(digits, digits, num, LAYOUT, stream)
        named, _ = pairs[split].labels
        right = [answers[named] for answers in ANSWERS.values()]
        y = np.stack([*right, stream.permutation(named)]).astype(np.int32)
        mask = np.ones(y.shape, bool)
        if split == "train":
            # In the order of the pairs, which is random.
            mask[:-1] = np.arange(num) % len(right) == np.arange(len(right))[:, None]
        parts[split] = ArraySplit(Batch(pairs[split].draw(), y, mask), x_axis=None)
    dataset = Dataset(
        name="digit_questions",
        tasks=(*ANSWERS, WRONG),
        kind="classification",
        outputs=CLASSES,
        x_axis=None,
        reading={"equal inputs": shown_in_training(pairs), "classes": NAMES},
        **parts,
    )
    return keep_tasks(dataset, tasks)
