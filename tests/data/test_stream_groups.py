"""Streams of tasks of several kinds on one input: each sample is read once."""

import collections
import itertools

import jax
import numpy as np
import pytest

from mtopt.data import Dataset, StreamSplit, describe, fingerprint, join, summary
from mtopt.data.tasks_kept import keep_tasks
from mtopt.errors import UserError

KINDS = (("segmentation", 5), ("depth", 1), ("regression", 1))
NAMES = (("classes",), ("depth",), ("area", "count"))


class Scenes:
    """Samples with the labels of three groups of tasks, which counts what is read."""

    def __init__(self, size=9, masked=True, changed=0):
        self.size, self.masked, self.changed = size, masked, changed
        self.read = collections.Counter()

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.read[index] += 1
        y = (
            np.full((1, 2, 3), index % 5, np.int8),
            np.full((1, 2, 3), index + self.changed, np.float16),
            np.array([index, 10 * index], np.float32),
        )
        sample = {"x": np.full((2, 3, 3), index, np.uint8), "y": y}
        masks = (np.array([index != 3]), np.ones(1, bool), np.array([True, index > 4]))
        return {**sample, "mask": masks} if self.masked else sample


def joined(source):
    source = source if isinstance(source, list) else [source] * 3
    groups = [
        Dataset("scenes", names, *kind, None, *[StreamSplit(own, group=g)] * 3)
        for g, (own, names, kind) in enumerate(zip(source, NAMES, KINDS, strict=True))
    ]
    return join(*groups, shared_inputs=True, name="scenes")


def first(split, count, batch_size, seeds=(0,), start=0):
    batches = split.batches(batch_size, seeds=seeds, start=start)
    return list(itertools.islice(batches, count))


def equal(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.array_equal(p, q) for p, q in pairs)


# Groups are in the order of their first tasks.
ORDER = ("area", "classes", "depth")


@pytest.mark.parametrize("masked", [True, False])
def test_a_batch_has_the_labels_of_all_groups_on_one_input(masked):
    data = joined(Scenes(masked=masked))
    assert data.tasks == ("area", "classes", "count", "depth")
    (batch,) = first(data.train, 1, 4, seeds=(0, 1))
    assert (batch.x.shape, batch.x.dtype) == ((2, 4, 2, 3, 3), np.uint8)
    shapes = [(2, 2, 4), (2, 1, 4, 2, 3), (2, 1, 4, 2, 3)]
    assert [y.shape for y in batch.y] == shapes
    assert [y.dtype for y in batch.y] == [np.float32, np.int8, np.float16]
    number = batch.x[:, :, 0, 0, 0].astype(int)
    np.testing.assert_array_equal(batch.y[0], np.stack([number, 10 * number], axis=1))
    np.testing.assert_array_equal(batch.y[1][:, 0, :, 0, 0], number % 5)
    np.testing.assert_array_equal(batch.y[2][:, 0, :, 1, 1], number)
    expected = np.stack([np.full(number.shape, True), number > 4], axis=1)
    np.testing.assert_array_equal(batch.mask[0], expected | (not masked))
    np.testing.assert_array_equal(batch.mask[1][:, 0], (number != 3) | (not masked))
    assert batch.mask[2].all()


def test_each_sample_is_read_once():
    source = Scenes()
    data = joined(source)
    source.read.clear()
    assert sum(1 for _ in data.test.in_order(4)) == 3
    assert source.read == dict.fromkeys(range(9), 1)


def test_in_order_gives_every_sample_once_and_pads():
    *_, last = joined(Scenes()).valid.in_order(4)
    assert last.x[:, 0, 0, 0].tolist() == [8, 8, 8, 8]
    assert [m.tolist() for m in last.mask[1:]] == [[[True, False, False, False]]] * 2


@pytest.mark.parametrize("start", [1, 4, 7])
def test_a_resumed_stream_is_the_same_stream(start):
    whole = first(joined(Scenes()).train, 9, 4, seeds=(0, 5))
    resumed = first(joined(Scenes()).train, 9 - start, 4, seeds=(0, 5), start=start)
    assert all(equal(a, b) for a, b in zip(whole[start:], resumed, strict=True))


def test_a_group_alone_sees_the_samples_of_all():
    data = joined(Scenes())
    for g, group in enumerate(data.groups):
        assert group.tasks[0] == ORDER[g]
        for own, both in zip(
            first(group.train, 5, 4), first(data.train, 5, 4), strict=True
        ):
            assert equal(own.x, both.x)
            assert equal((own.y, own.mask), (both.y[g], both.mask[g]))


def some_tasks(source):
    """The last task of each group."""
    parts = [keep_tasks(group, group.tasks[-1:]) for group in joined(source).groups]
    return join(*parts, shared_inputs=True)


def test_some_tasks_of_a_group():
    data = some_tasks(Scenes())
    assert data.tasks == ("classes", "count", "depth")
    (batch,) = first(data.train, 1, 4)
    assert [y.shape for y in batch.y] == [(1, 1, 4, 2, 3), (1, 1, 4), (1, 1, 4, 2, 3)]
    np.testing.assert_array_equal(batch.y[1][0], 10 * batch.x[..., 0, 0, 0])
    source = Scenes()
    data = some_tasks(source)
    source.read.clear()
    assert sum(1 for _ in data.test.in_order(9)) == 1
    assert set(source.read.values()) == {1}
    # A view of a view is still one of the source.
    both = keep_tasks(
        keep_tasks(joined(Scenes()).groups[0], ("area", "count")), "count"
    )
    np.testing.assert_array_equal(first(both.train, 1, 4)[0].y, batch.y[1])


def test_it_is_described_and_known_by_its_samples():
    one, same, other = (joined(Scenes(changed=c)) for c in (0, 0, 1))
    assert fingerprint(one) == fingerprint(same) != fingerprint(other)
    found = describe(one)
    assert [group["kind"] for group in found["groups"]] == [
        "regression",
        "segmentation",
        "depth",
    ]
    assert found["groups"][1]["inputs"]["shape"] == (2, 3, 3)
    assert "labels not counted" in summary(found)
    counted = describe(joined(Scenes(masked=False)))["groups"]
    assert counted[0]["tasks"]["area"]["labels"]["train"] == 9


def test_misuse_is_one_line():
    with pytest.raises(UserError, match="group=3 of a source with 3 groups"):
        StreamSplit(Scenes(), group=3)
    with pytest.raises(UserError, match="inputs of 'scenes' and 'scenes' differ"):
        joined([Scenes(), Scenes(), Scenes()])
