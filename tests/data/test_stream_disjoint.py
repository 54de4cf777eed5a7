"""Streams of disjoint tasks: each walks through its own samples."""

import itertools

import jax
import numpy as np
import pytest

import mtopt
from mtopt import Batch
from mtopt.data import ArraySplit, Dataset, StreamSplit, describe, fingerprint
from mtopt.data.stream import place
from mtopt.data.tasks_kept import keep_tasks
from mtopt.errors import UserError

SIZES = {"large": 10, "one": 1, "small": 4}


class Own:
    """A task's own samples, numbered from its own hundred."""

    def __init__(self, task, size):
        self.first = 100 * sorted(SIZES).index(task)
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        assert 0 <= index < self.size
        number = self.first + index
        return {"x": np.full((2, 2), number, np.uint8), "y": np.float16(number)}


def split(sizes=None, **options):
    sizes = sizes or SIZES
    return StreamSplit({task: Own(task, n) for task, n in sizes.items()}, **options)


def first(stream, count, batch_size, seeds=(0,), start=0):
    batches = stream.batches(batch_size, seeds=seeds, start=start)
    return list(itertools.islice(batches, count))


def equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(p, q) for p, q in pairs)


def test_a_step_has_a_sub_batch_of_every_task():
    (batch,) = first(split(), 1, 3, seeds=(0, 1))
    assert (batch.x.shape, batch.x.dtype) == ((2, 3, 3, 2, 2), np.uint8)
    assert (batch.y.shape, batch.y.dtype) == ((2, 3, 3), np.float16)
    assert batch.names == ("large", "one", "small")
    # A task with fewer samples than the batch size fills a part of its sub-batch.
    assert batch.mask.sum(axis=2).tolist() == [[3, 1, 3]] * 2
    tasks = batch.y // 100
    assert (tasks == np.arange(3)[:, None]).all()
    np.testing.assert_array_equal(batch.x[..., 0, 0], batch.y.astype(np.uint8))


def test_every_task_sees_each_of_its_samples_once_in_its_own_epoch():
    batches = first(split(), 20, 2)
    for k, (task, size) in enumerate(sorted(SIZES.items())):
        drawn = np.concatenate([b.y[0, k][b.mask[0, k]] for b in batches]) - 100 * k
        rounds = drawn[: len(drawn) // size * size].reshape(-1, size)
        assert (np.sort(rounds, axis=1) == np.arange(size)).all(), task
        assert size < 4 or len({tuple(one) for one in rounds.tolist()}) > 1
    assert [split().steps_per_epoch(size) for size in (1, 3, 10, 99)] == [10, 4, 1, 1]
    assert split().size == 15


def test_tasks_of_one_size_are_shuffled_apart():
    batches = first(split({"large": 8, "small": 8}), 4, 8)
    assert any((b.y[0, 0] != b.y[0, 1] - 200).any() for b in batches)


@pytest.mark.parametrize("start", [1, 5, 13])
def test_a_resumed_stream_is_the_same_stream(start):
    whole = first(split(), 16, 3, seeds=(0, 5))
    resumed = first(split(workers=3), 16 - start, 3, seeds=(0, 5), start=start)
    assert all(equal(a, b) for a, b in zip(whole[start:], resumed, strict=True))
    assert not equal(whole[0].y[0], whole[0].y[1])


def in_memory(sizes, names=("large", "one", "small")):
    own = {task: Own(task, n) for task, n in sizes.items()}
    width = max(sizes.values())
    y = np.zeros((3, width), np.float32)
    x = np.zeros((3, width, 2, 2), np.uint8)
    mask = np.zeros((3, width), bool)
    for k, task in enumerate(sorted(sizes)):
        for i in range(sizes[task]):
            x[k, i], y[k, i], mask[k, i] = own[task][i]["x"], own[task][i]["y"], True
    return Batch(x, y, mask, names)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("sizes", [SIZES, {**SIZES, "one": 0}])
def test_in_order_agrees_with_a_split_in_memory(sizes, batch_size):
    array = ArraySplit(in_memory(sizes), x_axis=0)
    pairs = zip(
        split(sizes).in_order(batch_size), array.in_order(batch_size), strict=True
    )
    for a, b in pairs:
        np.testing.assert_array_equal(a.mask, b.mask)
        for name in ("x", "y"):
            mine, theirs = getattr(a, name), np.asarray(getattr(b, name))
            np.testing.assert_array_equal(mine[a.mask], theirs[a.mask])


@pytest.mark.parametrize("names", [("large", "one", "small"), None])
def test_a_set_in_memory_too_large_for_the_device_is_streamed(names):
    samples = in_memory(SIZES, names)
    streamed = place({"train": samples}, 0, 10)["train"]
    for a, b in zip(first(streamed, 5, 3), first(split(), 5, 3), strict=True):
        assert a.names == names
        np.testing.assert_array_equal(a.y, b.y)
        np.testing.assert_array_equal(a.mask, b.mask)
    assert streamed.labels.tolist() == split().labels.tolist() == [10, 1, 4]


def dataset(part):
    return Dataset("own", ("large", "one", "small"), "regression", 1, 0, *[part] * 3)


def test_it_is_described_and_known_as_one_in_memory():
    samples = in_memory(SIZES)
    held, streamed = (
        dataset(made(samples, 0)) for made in (ArraySplit, StreamSplit.of)
    )
    assert fingerprint(held) == fingerprint(streamed)
    found, read = describe(streamed), describe(dataset(split()))
    for one in (found, read):
        assert one["inputs"]["shape"] == (2, 2)
        assert one["tasks"]["small"]["labels"]["train"] == 4
        assert one["tasks"]["one"]["missing"] == 0


@pytest.mark.parametrize("part", [split(), StreamSplit.of(in_memory(SIZES), 0)])
def test_tasks_that_are_left_out_are_not_read(part):
    some = keep_tasks(dataset(part), ("small", "one"))
    assert some.train.size == 5
    for a, b in zip(first(some.train, 3, 3), first(split(), 3, 3), strict=True):
        assert a.names == ("one", "small")
        kept = np.where(b.mask[:, 1:], b.y[:, 1:] // 100, -1)
        np.testing.assert_array_equal(np.where(a.mask, a.y // 100, -1), kept)


def test_weights_and_missing_labels_are_those_of_the_source():
    class Weighed(Own):
        def __getitem__(self, index):
            return {**super().__getitem__(index), "mask": np.float32(index)}

    sources = {"a": Own("one", 2), "b": Weighed("large", 3), "c": Weighed("small", 2)}
    stream = StreamSplit(sources)
    (batch,) = first(stream, 1, 3)
    # A source without masks has all of its labels.
    np.testing.assert_array_equal(batch.mask[0, 0], [1, 1, 0])
    np.testing.assert_array_equal(batch.mask[0, 1], batch.y[0, 1])
    np.testing.assert_array_equal(np.sort(batch.mask[0, 2]), [0, 0, 1])
    assert stream.labels is None


def test_a_step_takes_it():
    def encode(shared, x, key):
        return x.reshape(len(x), -1) @ shared["w"]

    def head_loss(head, z, y, mask, key):
        return mtopt.masked_mean((z @ head["v"] - y) ** 2, mask)

    tasks = mtopt.Tasks(tuple(sorted(SIZES)), encode, head_loss, x_axis=0)
    heads = mtopt.PerTask.stack({task: {"v": np.zeros(4)} for task in SIZES})
    params = {"shared": {"w": np.eye(4)}, "tasks": heads}
    (batch,) = first(split(), 1, 3)
    one = jax.tree.map(lambda leaf: leaf[0], batch)
    problem = tasks.problem(one, jax.random.key(0))
    losses = problem.losses(params)
    real = [one.y[k][one.mask[k]].astype(float) for k in range(3)]
    np.testing.assert_allclose(losses, [np.mean(y**2) for y in real], rtol=1e-6)


def test_misuse_is_one_line():
    with pytest.raises(UserError, match="no samples"):
        split({"large": 0, "small": 0})
    with pytest.raises(UserError, match="task names must be"):
        StreamSplit({})
