"""The samples of a data set without labels, alone and joined."""

import functools

import numpy as np
import pytest

import mtopt
from mtopt.data import ArraySplit, Dataset, describe, join, summary, unlabelled
from mtopt.data.stream import StreamSplit


@functools.cache
def few(size=20, labelled=5, x_axis=None):
    """Shared inputs of which some are labelled."""
    x = np.random.default_rng(size).normal(size=(size, 3)).astype(np.float32)
    there = (np.arange(size) < labelled)[None]
    batch = mtopt.Batch(x, np.zeros((1, size), np.int32), there, ("digit",))
    if x_axis == 0:
        batch = mtopt.Batch(x[None], batch.y, there, ("digit",))
    split = ArraySplit(batch, x_axis)
    return Dataset("few", ("digit",), "classification", 2, x_axis, *[split] * 3)


def test_every_sample_counts_and_none_has_a_label():
    data = unlabelled(few(), ("masked",))
    assert (data.kind, data.outputs, data.x_axis) == ("pretext", 0, None)
    for split in (data.train, data.valid, data.test):
        assert split.samples.x is few().train.samples.x  # no copy
        assert split.samples.y.shape == (1, 20)
        assert np.asarray(split.samples.mask).all()
        assert not np.any(split.samples.y)


def test_joined_to_its_labels_both_see_the_same_samples():
    data = join(few(), unlabelled(few(), ("masked",)), shared_inputs=True)
    batches, alone = (part.train.batches(8, seeds=(0, 1)) for part in (data, few()))
    for _ in range(3):
        found, wanted = next(batches), next(alone)
        np.testing.assert_array_equal(found.x, wanted.x)
        np.testing.assert_array_equal(found.y[0], wanted.y)
        np.testing.assert_array_equal(found.mask[0], wanted.mask)
        assert np.asarray(found.mask[1]).all()
        assert found.names == (("digit",), ("masked",))


def test_joined_to_fewer_samples_it_has_batches_of_its_own():
    data = join(few(5), unlabelled(few(), ("masked",)), batch_size=(4, 10))
    batch = next(data.train.batches(1, seeds=(0,)))
    assert [x.shape for x in batch.x] == [(1, 4, 3), (1, 10, 3)]
    assert data.train.steps_per_epoch(1) == 2


def test_a_run_says_that_it_has_no_labels():
    described = describe(unlabelled(few(), ("masked",)))
    assert "values" not in described["tasks"]["masked"]
    assert "masked   makes its own labels" in summary(described)


def test_misuse_is_one_line():
    with pytest.raises(mtopt.UserError, match="inputs of their own: expected shared"):
        unlabelled(few(x_axis=0), ("masked",))

    class Stream(StreamSplit):
        def __init__(self):
            pass

    streamed = Dataset("s", ("a",), "binary", 1, None, *[Stream()] * 3)
    with pytest.raises(mtopt.UserError, match="expected samples in memory"):
        unlabelled(streamed, ("masked",))
    with pytest.raises(mtopt.UserError, match="'digit' stands in 'few' and in"):
        join(few(), unlabelled(few(), ("digit",)), shared_inputs=True)
    with pytest.raises(mtopt.UserError, match="task names must be sorted"):
        unlabelled(few(), ("b", "a"))
