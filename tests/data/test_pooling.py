"""One task in several sources is one task of all their samples."""

import dataclasses

import numpy as np
import pytest

import mtopt
from mtopt.data import ArraySplit, Dataset, JointDataset, join
from mtopt.errors import UserError

PARTS = ("train", "valid", "test")


def source(name, tasks, seed, size=8, *, x_axis=None, mean=0.0, std=1.0, columns=3):
    """Targets ``100 * (seed + 1) + row`` in their own units, some missing."""
    rng = np.random.default_rng(seed)

    def split(size):
        own = 100.0 * (seed + 1) + np.arange(size)
        y = np.tile((own - mean) / std, (len(tasks), 1)).astype("float32")
        shape = (size,) if x_axis is None else (len(tasks), size)
        x = rng.normal(size=(*shape, columns)).astype("float32")
        mask = rng.random((len(tasks), size)) < 0.8
        return ArraySplit(mtopt.Batch(x, y, mask, tasks), x_axis)

    scale = {
        "target_mean": np.full(len(tasks), mean),
        "target_std": np.full(len(tasks), std),
    }
    parts = (split(size), split(4), split(5))
    return Dataset(name, tasks, "regression", 1, x_axis, *parts, **scale)


def labels(data, part, task):
    """The labels of a task that are not missing, in its own units."""
    k = data.tasks.index(task)
    held = getattr(data, part).samples
    values = np.asarray(held.y[k])[np.asarray(held.mask[k])]
    return values * data.target_std[k] + data.target_mean[k]


AXES = pytest.mark.parametrize("x_axis", [None, 0])


@AXES
def test_every_label_is_kept_in_its_own_units(x_axis):
    one = source("one", ("a", "b"), 0, x_axis=x_axis, mean=3.0, std=2.0)
    two = source("two", ("b", "c"), 1, 6, x_axis=x_axis, mean=-7.0, std=50.0)
    whole = join(one, two, pool=True)
    assert isinstance(whole, Dataset)
    assert (whole.name, whole.tasks) == ("one and two", ("a", "b", "c"))
    for part in PARTS:
        for task in whole.tasks:
            own = [labels(d, part, task) for d in (one, two) if task in d.tasks]
            np.testing.assert_allclose(
                labels(whole, part, task), np.concatenate(own), rtol=1e-5
            )


@AXES
def test_targets_are_scaled_by_all_training_labels(x_axis):
    sources = [source(n, ("a",), i, x_axis=x_axis, std=2.0) for i, n in enumerate("mn")]
    whole = join(*sources, pool=True)
    held = whole.train.samples
    scaled = np.asarray(held.y[0])[np.asarray(held.mask[0])]
    assert abs(scaled.mean()) < 1e-5
    assert abs(scaled.std() - 1) < 1e-5


def test_rows_of_a_source_miss_the_labels_of_tasks_that_it_lacks():
    whole = join(source("m", ("a", "b"), 0), source("n", ("b", "c"), 1, 6), pool=True)
    mask = np.asarray(whole.train.samples.mask)
    assert not mask[0, 8:].any()
    assert not mask[2, :8].any()
    assert mask[1, :8].any()
    assert mask[1, 8:].any()


def test_sources_meet_over_a_third_one_and_others_stay_apart():
    sources = (
        source("m", ("a",), 0),
        source("other", ("z",), 1),
        source("n", ("c",), 2),
        source("between", ("a", "c"), 3),
    )
    both = join(*sources, pool=True)
    assert isinstance(both, JointDataset)
    assert [group.name for group in both.groups] == ["m and n and between", "other"]
    assert both.groups[0].train.size == 24
    assert both.groups[1] is sources[1]


def test_a_sample_that_is_trained_on_in_one_and_tested_in_the_other_is_counted():
    one = source("one", ("a",), 0)
    swapped = dataclasses.replace(one, name="two", train=one.test, test=one.train)
    whole = join(one, swapped, pool=True)
    # Each source's 8 or 5 test rows are the other's training rows, its 4 valid twice.
    assert whole.reading["equal inputs"] == {"valid": 0, "test": 13}


def test_misuse_is_one_line():
    one = source("one", ("a",), 0)
    others = {
        "inputs of a sample differ": source("two", ("a",), 1, columns=4),
        "x_axis differ": source("two", ("a",), 1, x_axis=0),
        "kind of labels differ": dataclasses.replace(one, kind="soft"),
        "common_units differ": dataclasses.replace(one, common_units=True),
    }
    for message, other in others.items():
        with pytest.raises(UserError, match=message) as error:
            join(one, other, pool=True)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="pool=True for one task of the samples"):
        join(one, source("two", ("a",), 1))
    with pytest.raises(UserError, match="none with pool"):
        join(one, one, pool=True, batch_size=(2, 2))
