"""``tasks=`` of every loader: some tasks, on the samples that all have."""

import inspect

import jax
import numpy as np
import pytest

from mtopt.data import DATASETS, Dataset, StreamSplit, multi_digits, planted_outliers
from mtopt.data.tasks_kept import keep_tasks, kept_names
from mtopt.errors import UserError

COUNTS = {"num_train": 12, "num_valid": 4, "num_test": 4}


@pytest.mark.parametrize("name", DATASETS)
def test_every_loader_takes_them(name):
    assert "tasks" in inspect.signature(DATASETS[name]).parameters


def test_shared_inputs_keep_their_batches():
    both, right = multi_digits(**COUNTS), multi_digits(tasks="right", **COUNTS)
    assert right.tasks == ("right",)
    one, two = (next(d.train.batches(5, seeds=(0, 1))) for d in (both, right))
    np.testing.assert_array_equal(one.x, two.x)
    np.testing.assert_array_equal(one.y[:, 1:], two.y)
    assert two.names == ("right",) or two.names is None


def test_inputs_of_left_out_tasks_go_with_them():
    every = planted_outliers(num_tasks=4, num_outliers=1)
    some = planted_outliers(
        num_tasks=4, num_outliers=1, tasks=("regular02", "outlier00")
    )
    assert some.tasks == ("outlier00", "regular02")
    for one, two in zip(
        jax.tree.leaves(every.train.samples),
        jax.tree.leaves(some.train.samples),
        strict=True,
    ):
        np.testing.assert_array_equal(np.asarray(one)[[0, 3]], two)


class OnDisk:
    """Samples of three tasks, some labels missing, read one by one or many at once."""

    def __init__(self):
        self.calls = 0

    def __len__(self):
        return 9

    def __getitem__(self, index):
        return self.__getitems__([index])[0]

    def __getitems__(self, index):
        self.calls += 1
        return [
            {"x": np.full(2, i), "y": np.arange(3) + i, "mask": np.arange(3) != i % 3}
            for i in index
        ]


def test_streamed_labels_are_dropped_sample_by_sample():
    source = OnDisk()
    split = StreamSplit(source)
    scale = {"target_mean": np.arange(3.0), "target_std": np.arange(3.0) + 1}
    data = Dataset("d", ("a", "b", "c"), "regression", 1, None, *[split] * 3, **scale)
    some = keep_tasks(data, ("c", "a"))
    assert (some.tasks, some.target_mean.tolist()) == (("a", "c"), [0, 2])
    source.calls = 0
    batch = next(some.train.in_order(9))
    assert source.calls == 1
    assert batch.y.tolist() == [list(range(9)), list(range(2, 11))]
    assert batch.mask[1].tolist() == [i % 3 != 2 for i in range(9)]


@pytest.mark.parametrize("tasks", [("lef",), (), ("left", "left")])
def test_misuse_is_one_line(tasks):
    with pytest.raises(UserError, match="tasks") as error:
        multi_digits(tasks=tasks, **COUNTS)
    assert "\n" not in str(error.value)


def test_what_is_no_name_is_one_line():
    """As users call it, whose types nobody checks."""
    unchecked = inspect.unwrap(kept_names)
    with pytest.raises(UserError, match="tasks is 3: expected names of tasks"):
        unchecked(("a", "b"), 3)
