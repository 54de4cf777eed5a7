"""The samples of a data set without their labels: what pretext tasks train on."""

import dataclasses

import numpy as np

from mtopt.batch import Batch
from mtopt.data.dataset import ArraySplit, Dataset, Split
from mtopt.errors import UserError


def unlabelled(dataset: Dataset, tasks: tuple[str, ...]) -> Dataset:
    """The inputs of a data set, for tasks that make their own labels.

    Every sample counts, whichever labels it lacks. Joined to the data set itself by
    ``join(dataset, unlabelled(dataset, ("masked",)), shared_inputs=True)``, the tasks
    see the inputs of every batch; joined to another, such as a few labelled samples,
    they have batches of their own. The kind ``pretext`` has no metrics, and no part in
    choosing a model.

    Args:
      dataset: on shared inputs, in memory.
      tasks: their names, sorted: one for each of
        :func:`mtopt.pretext.with_pretexts`, whose tasks are groups of their own.

    Raises:
      UserError: for tasks with inputs of their own, or data that is read from a source
        as it is needed.

    Example:
      >>> from mtopt.data import join, multi_digits
      >>> digits = multi_digits(num_train=8, num_valid=4, num_test=4)
      >>> both = join(digits, unlabelled(digits, ("masked",)), shared_inputs=True)
      >>> both.tasks, [group.kind for group in both.groups]
      (('left', 'masked', 'right'), ['classification', 'pretext'])
    """
    if dataset.x_axis is not None:
        raise UserError(
            f"the tasks of {dataset.name!r} have inputs of their own: expected shared "
            "inputs"
        )

    def of(split: Split) -> ArraySplit:
        if not isinstance(split, ArraySplit):
            raise UserError(
                f"{dataset.name!r} is read from its source as it is needed: expected "
                "samples in memory"
            )
        shape = len(tasks), split.size
        nothing = np.zeros(shape, np.float32)
        samples = Batch(split.samples.x, nothing, np.ones(shape, bool), tasks)
        return ArraySplit(samples, x_axis=None)

    return dataclasses.replace(
        dataset,
        name=f"{dataset.name} without labels",
        tasks=tasks,
        kind="pretext",
        outputs=0,
        train=of(dataset.train),
        valid=of(dataset.valid),
        test=of(dataset.test),
        target_mean=None,
        target_std=None,
        target_scale=None,
        common_units=False,
        reading={},
    )
