"""Epochs, resumption and padding of splits that live on the device."""

import itertools
import subprocess
import sys

import jax
import numpy as np
import pytest

import mtopt
from experiments.common.building import make_aggregators
from mtopt.data import DATASETS, ArraySplit, Dataset
from mtopt.data.sources import JointSplit
from mtopt.errors import UserError


def shared_split(n=10, tasks=2):
    y = {f"t{k}": np.arange(n) + 100.0 * k for k in range(tasks)}
    return ArraySplit(mtopt.Batch.shared({"a": np.arange(n)}, y), x_axis=None)


def disjoint_split(sizes):
    samples = {
        f"t{k}": (100 * k + np.arange(n), 100.0 * k + np.arange(n))
        for k, n in enumerate(sizes)
    }
    return ArraySplit(mtopt.Batch.disjoint(samples), x_axis=0)


def test_splits_of_one_form_make_their_batches_by_one_function():
    """What was compiled around it for one data set, another finds."""

    def make(split):
        return split.batches(4, seeds=(0,)).make

    def joined(*splits):
        return JointSplit(splits, [None] * len(splits), False)

    one, two, own = shared_split(), shared_split(12, 3), disjoint_split((4, 5))
    assert make(one) == make(two) != make(own)
    assert make(joined(one, own)) == make(joined(two, own)) != make(joined(one, two))
    assert hash(make(joined(one, own))) == hash(make(joined(two, own)))


def first(split, count, batch_size, seeds=(0,), start=0):
    stream = split.batches(batch_size, seeds=seeds, start=start)
    return list(itertools.islice(stream, count))


def equal(a, b):
    return all(
        np.array_equal(p, q)
        for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_an_epoch_of_shared_inputs_has_every_sample_once():
    epochs = first(shared_split(12), 6, 4)
    seen = [np.concatenate([b.x["a"][0] for b in epochs[e : e + 3]]) for e in (0, 3)]
    for epoch in seen:
        assert sorted(epoch.tolist()) == list(range(12))
    assert seen[0].tolist() != seen[1].tolist()


def test_an_incomplete_batch_of_shared_inputs_is_left_out():
    batches = first(shared_split(10), 4, 4)
    for epoch in (batches[:2], batches[2:]):
        assert len({int(i) for b in epoch for i in b.x["a"][0]}) == 8


def test_labels_stay_with_their_inputs():
    for batch in first(shared_split(), 5, 3, seeds=(0, 1)):
        np.testing.assert_array_equal(batch.y[:, 0], batch.x["a"])
        np.testing.assert_array_equal(batch.y[:, 1], batch.x["a"] + 100)
    for batch in first(disjoint_split((7, 3)), 5, 4, seeds=(0, 1)):
        np.testing.assert_array_equal(
            np.where(batch.mask, batch.y, 0), np.where(batch.mask, batch.x, 0)
        )


def test_an_epoch_is_as_long_as_the_largest_task_needs():
    """A large task and nine small ones: 13 batches, not the 2 of their mean."""
    split = disjoint_split([50] + [1] * 9)
    assert split.steps_per_epoch(4) == 13
    batches = first(split, 13, 4)
    seen = np.concatenate([b.x[0, 0][b.mask[0, 0]] for b in batches])
    assert {*seen.tolist()} == {*range(50)}
    padded = jax.tree.map(lambda a: np.pad(a, ((0, 0), (0, 70))), split.samples)
    assert ArraySplit(padded, x_axis=0).steps_per_epoch(4) == 13
    assert [shared_split(10).steps_per_epoch(b) for b in (1, 4, 10, 99)] == [
        10,
        2,
        1,
        1,
    ]


def test_methods_are_told_the_epoch_of_the_data():
    told = []

    class Method:
        def with_options(self, options):
            assert not options
            return self

        def build(self, num_tasks, **known):
            told.append((num_tasks, known))

    split = disjoint_split([50] + [1] * 9)
    names = tuple(f"t{k}" for k in range(10))
    data = Dataset("d", names, "regression", 1, 0, *[split] * 3)
    make_aggregators({"it": Method()}, data, 4)
    assert told == [(10, {"steps_per_epoch": 13})]


def test_disjoint_tasks_walk_through_their_own_samples():
    sizes, width = (10, 4, 1), 5
    batches = first(disjoint_split(sizes), 2, width)
    assert batches[0].x.shape == (1, 3, 5)
    for k, n in enumerate(sizes):
        seen = [b.x[0, k][b.mask[0, k]].tolist() for b in batches]
        assert all(len(s) == min(n, width) == len(set(s)) for s in seen)
        assert {i for s in seen for i in s} == set(range(100 * k, 100 * k + n))
    largest = np.concatenate([b.x[0, 0] for b in batches])
    assert sorted(largest.tolist()) == list(range(10))


def test_no_padding_is_ever_unmasked():
    split = disjoint_split((9, 2))
    for batch in first(split, 6, 4) + list(split.in_order(4)):
        x = np.asarray(batch.x).reshape(-1, 2, 4)
        mask = np.asarray(batch.mask).reshape(-1, 2, 4)
        assert (x[:, 0][mask[:, 0]] < 9).all()
        assert np.isin(x[:, 1][mask[:, 1]], (100, 101)).all()


@pytest.mark.parametrize("split", [shared_split(10), disjoint_split((7, 3))])
@pytest.mark.parametrize("start", [1, 2, 5])
def test_a_resumed_stream_is_the_same_stream(split, start):
    whole = first(split, 8, 4, seeds=(0, 5))
    resumed = first(split, 8 - start, 4, seeds=(0, 5), start=start)
    assert all(equal(a, b) for a, b in zip(whole[start:], resumed, strict=True))


def test_a_seed_has_the_same_stream_whatever_runs_beside_it():
    split = shared_split()
    both, alone = first(split, 4, 3, seeds=(3, 8)), first(split, 4, 3, seeds=(8,))
    for a, b in zip(both, alone, strict=True):
        assert equal(jax.tree.map(lambda leaf: leaf[1:], a), b)
    orders = [tuple(b.x["a"][s].tolist() for b in both) for s in (0, 1)]
    assert orders[0] != orders[1]


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_in_order_reads_every_sample_once(batch_size):
    batches = list(shared_split(10).in_order(batch_size))
    seen = np.concatenate([b.x["a"][b.mask[0]] for b in batches])
    assert seen.tolist() == list(range(10))
    split = disjoint_split((7, 3))
    labels = [b.y[b.mask] for b in split.in_order(batch_size)]
    assert sorted(np.concatenate(labels).tolist()) == [*range(7), 100, 101, 102]
    assert split.size == 10


def test_missing_labels_stay_masked():
    y = {"a": np.array([0.0, np.nan, 2.0, 3.0]), "b": np.arange(4.0)}
    split = ArraySplit(mtopt.Batch.shared(np.arange(4), y), x_axis=None)
    for batch in first(split, 4, 2):
        np.testing.assert_array_equal(batch.mask[0, 0], batch.x[0] != 1)
        assert batch.mask[0, 1].all()


def test_a_split_without_samples_is_an_error():
    with pytest.raises(UserError, match="no samples"):
        ArraySplit(mtopt.Batch.shared(np.zeros((0, 2)), {"a": np.zeros(0)}), None)


def test_importing_the_loaders_imports_no_reader_of_data():
    code = (
        "import sys, mtopt.data\n"
        "heavy = {'tensorflow_datasets', 'grain', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_loader_has_a_name():
    assert all(callable(load) for load in DATASETS.values())
    assert (
        DATASETS["multi_digits"](num_train=4, num_valid=1, num_test=1).train.size == 4
    )


def aligned(array):
    """The same in memory that a CPU need not copy."""
    memory = np.zeros(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    found = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


def test_a_split_keeps_its_samples_whatever_becomes_of_the_arrays():
    ones = np.ones((64, 1), "float32"), np.ones((1, 64), int), np.ones((1, 64), bool)
    x, y, mask = map(aligned, ones)
    split = ArraySplit(mtopt.Batch(x, y, mask), x_axis=None)
    x[...], y[...], mask[...] = 0, 0, False
    for leaf in jax.tree.leaves(split.samples):
        np.testing.assert_array_equal(leaf, 1)
