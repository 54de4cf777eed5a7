"""Streams have every sample once an epoch, and can be entered anywhere."""

import itertools
import time

import jax
import numpy as np
import pytest

from mtopt import Batch
from mtopt.data.dataset import ArraySplit
from mtopt.data.random_access import BatchSource
from mtopt.data.stream import StreamSplit, place
from mtopt.errors import UserError


def samples(n=10):
    y = {"a": np.arange(n, dtype=float), "b": np.arange(n) + 100.0}
    y["a"][3] = np.nan
    return Batch.shared({"i": np.arange(n), "v": np.ones((n, 2), np.uint8)}, y)


def stream(n=10):
    return StreamSplit(BatchSource(samples(n)))


def first(split, count, batch_size, seeds=(0,), start=0):
    batches = split.batches(batch_size, seeds=seeds, start=start)
    return list(itertools.islice(batches, count))


def equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(p, q, equal_nan=True) for p, q in pairs)


def test_every_epoch_has_every_sample_once():
    batches = first(stream(), 10, 4)
    order = np.concatenate([b.x["i"][0] for b in batches])
    epochs = order.reshape(4, 10)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(10))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    # The third batch ends an epoch of ten, and begins the next.
    assert [stream().steps_per_epoch(size) for size in (1, 4, 10, 99)] == [10, 3, 1, 1]


def test_labels_and_masks_stay_with_their_inputs():
    for batch in first(stream(), 5, 4, seeds=(0, 1)):
        assert batch.x["v"].dtype == np.uint8
        assert batch.y.shape == batch.mask.shape == (2, 2, 4)
        np.testing.assert_array_equal(batch.y[:, 1], batch.x["i"] + 100)
        np.testing.assert_array_equal(batch.mask[:, 0], batch.x["i"] != 3)


@pytest.mark.parametrize("start", [1, 3, 7])
def test_a_resumed_stream_is_the_same_stream(start):
    whole = first(stream(), 9, 4, seeds=(0, 5))
    resumed = first(stream(), 9 - start, 4, seeds=(0, 5), start=start)
    assert all(equal(a, b) for a, b in zip(whole[start:], resumed, strict=True))


def test_a_seed_has_the_same_stream_whatever_runs_beside_it():
    both, alone = first(stream(), 4, 3, seeds=(3, 8)), first(stream(), 4, 3, seeds=(8,))
    for a, b in zip(both, alone, strict=True):
        assert equal(jax.tree.map(lambda leaf: leaf[1:], a), b)
        assert not equal(jax.tree.map(lambda leaf: leaf[:1], a), b)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_in_order_agrees_with_a_split_in_memory(batch_size):
    array = ArraySplit(samples(), x_axis=None)
    pairs = zip(stream().in_order(batch_size), array.in_order(batch_size), strict=True)
    for a, b in pairs:
        assert equal(a, jax.tree.map(np.asarray, b))


def test_samples_without_a_mask_are_labelled():
    source = [{"x": np.full(2, i), "y": np.arange(3)} for i in range(4)]
    batch = first(StreamSplit(source), 1, 2)[0]
    assert batch.mask.all()
    assert batch.y.tolist() == [[[0, 0], [1, 1], [2, 2]]]


def test_a_batch_is_read_in_one_call_where_the_source_can():
    class Counting(BatchSource):
        calls = 0

        def __getitems__(self, index):
            Counting.calls += 1
            return [self[i] for i in index]

    assert equal(first(StreamSplit(Counting(samples())), 1, 4), first(stream(), 1, 4))
    assert Counting.calls >= 1


def test_splits_are_placed_by_their_size():
    batches = {"train": samples(), "test": samples()}
    total = sum(leaf.nbytes for leaf in jax.tree.leaves(batches))
    for limit, kind in ((total, ArraySplit), (total - 1, StreamSplit)):
        splits = place(batches, None, limit)
        assert {type(split) for split in splits.values()} == {kind}
        assert [split.size for split in splits.values()] == [10, 10]


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_any_number_of_workers_reads_the_same_stream(workers):
    """Even where the first of them take longest."""

    class Slow(BatchSource):
        def __getitem__(self, index):
            time.sleep(0.002 * (index % 4))
            return super().__getitem__(index)

    many = StreamSplit(Slow(samples()), workers=workers)
    for a, b in zip(first(many, 9, 4), first(stream(), 9, 4), strict=True):
        assert equal(a, b)
    pairs = zip(many.in_order(3), stream().in_order(3), strict=True)
    assert all(equal(a, b) for a, b in pairs)


def test_what_cannot_be_streamed_is_an_error():
    with pytest.raises(UserError, match="no samples"):
        StreamSplit([])
    with pytest.raises(UserError, match="workers is 0: expected"):
        StreamSplit(BatchSource(samples()), workers=0)
    with pytest.raises(UserError, match="labels of one kind"):
        StreamSplit(BatchSource(samples()), group=0)
