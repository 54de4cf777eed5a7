"""What a data set was understood to be, and what tells it from another."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.batch import Batch
from mtopt.data import (
    ArraySplit,
    Dataset,
    StreamSplit,
    describe,
    fingerprint,
    npz,
    summary,
)
from mtopt.data.fingerprint import fingerprint_of
from tests.helpers.npz import N, disjoint, reviews, save, shared

ROW = np.arange(N)


def bits(tmp_path, **changes):
    y = np.stack([ROW % 2, ROW % 3 == 0], 1) * 1.0
    y[::10, 0] = np.nan
    names = np.array(["b", "a"])
    x = np.stack([ROW * 1.0, np.ones(N)], 1)
    x[3, 0] = np.nan
    arrays = {"x": x, "y": y, "target_names": names, "weight": ROW} | changes
    return npz(save(tmp_path, **arrays))


def test_a_file_is_described_as_it_was_read(tmp_path):
    data = bits(tmp_path, X=np.eye(N), x_cat=ROW[:, None] % 3)
    found = describe(data)
    assert found["kind"] == "binary"
    assert found["rows"] == {"train": 28, "valid": 6, "test": 6}
    assert found["inputs"] == {"of": "all tasks", "dtype": "float32", "shape": (5,)}
    a, b = found["tasks"]["a"], found["tasks"]["b"]
    assert (a["kind"], a["missing"], sum(a["labels"].values())) == ("binary", 0, N)
    assert a["values"] == {0: N - 14, 1: 14}
    assert (b["missing"], sum(b["labels"].values())) == (4, N - 4)
    reading = found["reading"]
    assert reading["file"] == str(tmp_path / "set.npz")
    assert reading["inputs"] == {
        "x": "2 columns, standardised, 1 missing values became the mean, 1 constant in "
        "training became 0",
        "x_cat": "3 columns, one-hot",
    }
    assert reading["missing labels"] == {"NaN": 4}
    assert reading["not read"] == ("X", "weight")


def test_a_run_prints_all_of_it(tmp_path):
    data = bits(tmp_path, X=np.eye(N))
    lines = dict(line.split(maxsplit=1) for line in summary(describe(data)).split("\n"))
    assert lines["data"] == "set: 2 tasks of kind binary, inferred from the values"
    assert lines["x"].startswith("2 columns, standardised")
    assert lines["rows"] == "28 train, 6 valid, 6 test"
    assert lines["a"] == f"{N} labels, 0 missing, 14 of them 1"
    assert lines["b"] == f"{N - 4} labels, 4 missing, 20 of them 1"
    assert lines["missing"] == "labels by reason: NaN: 4"
    assert lines["not"] == "read X, weight"


def test_regression_is_described_in_its_own_units(tmp_path):
    arrays = shared()
    y = arrays["y"][:, [1, 2, 0]]
    data = npz(save(tmp_path, **arrays))
    tasks = describe(data)["tasks"]
    for k, name in enumerate("abc"):
        np.testing.assert_allclose(
            tasks[name]["values"], (y[:, k].min(), y[:, k].max()), rtol=1e-4
        )
        np.testing.assert_allclose(tasks[name]["std"], data.target_std[k])
    assert "standardised by" in summary(describe(data))


def test_tasks_with_samples_of_their_own_miss_none(tmp_path):
    arrays = disjoint((20, 8, 3))
    arrays["y"][:2] = np.nan
    found = describe(npz(save(tmp_path, **arrays)))
    assert found["inputs"]["of"] == "each task its own"
    assert found["inputs"]["shape"] == (2,)
    sizes = [sum(t["labels"].values()) for t in found["tasks"].values()]
    assert sizes == [18, 8, 3]
    assert [t["missing"] for t in found["tasks"].values()] == [0, 0, 0]
    assert found["reading"]["missing labels"] == {"NaN": 2}


def test_word_counts_and_many_tasks_are_said_in_short(tmp_path):
    data = npz(save(tmp_path, **reviews()[1]), max_features=4)
    assert describe(data)["reading"]["inputs"] == {
        "counts": "log(1 + count) of 4 of 6 words"
    }
    y = np.tile(ROW[:, None] % 2, (1, 15))
    printed = summary(describe(npz(save(tmp_path, x=np.eye(N), y=y))))
    assert "task_11" in printed
    assert "task_12" not in printed
    assert "and 3 more tasks" in printed


# Arrays that no part of a file's key names, but that were not read.
UNREAD = {
    "the names of tasks with samples of their own": (
        disjoint(target_names=np.array(["a"])),
        ("target_names",),
    ),
    "a split beside parts": (
        {f"{k}_{p}": np.eye(4) for k in "xy" for p in ("train", "test")}
        | {"split": np.full(8, "train"), "x": np.eye(8)},
        ("split", "x"),
    ),
    "a part that the labels do not have": (
        shared() | {"x_test": np.eye(4)},
        ("x_test",),
    ),
    "sizes of categories without any": (
        shared(cat_cardinality=np.array([2]), vocab=np.array(["a"])),
        ("cat_cardinality", "vocab"),
    ),
    "second names": (shared(task_names=np.array(["d", "e", "f"])), ("task_names",)),
    "objects": (shared(notes=np.array([None])), ("notes",)),
}


@pytest.mark.parametrize("what", UNREAD)
def test_arrays_that_were_not_read_are_named(tmp_path, what):
    arrays, unread = UNREAD[what]
    assert npz(save(tmp_path, **arrays)).reading["not read"] == unread


def planted(y=None, x=None, mask=None, split=ArraySplit, **changes):
    samples = Batch(
        np.arange(12.0).reshape(6, 2) if x is None else x,
        np.arange(12).reshape(2, 6) % 2 if y is None else y,
        np.ones((2, 6), bool) if mask is None else mask,
    )
    parts = dict.fromkeys(("train", "valid", "test"), split(samples, None))
    data = Dataset("d", ("a", "b"), "binary", 1, None, **parts)
    return dataclasses.replace(data, **changes)


def test_the_fingerprint_is_that_of_the_arrays():
    one = fingerprint(planted())
    assert one == fingerprint(planted())
    assert one == fingerprint(planted(name="e", reading={"file": "elsewhere"}))
    assert len(one) == 16
    label = np.arange(12).reshape(2, 6) % 2
    label[1, 3] = 0
    seen = np.ones((2, 6), bool)
    seen[0, 0] = False
    others = [
        planted(y=label),
        planted(y=label.astype(np.float32)),
        planted(x=np.arange(12.0).reshape(6, 2) + 1e-6),
        planted(x=np.arange(12.0).reshape(6, 2).astype(jnp.bfloat16)),
        planted(x=np.arange(12.0).reshape(6, 2, 1)),
        planted(mask=seen),
        planted(tasks=("a", "c")),
        planted(kind="multilabel"),
        planted(target_std=np.ones(2)),
    ]
    assert len({one, *map(fingerprint, others)}) == 1 + len(others)


class OnDisk:
    """A source that counts what is read of it."""

    def __init__(self, size, changed=()):
        self.size, self.changed, self.read = size, changed, 0

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        self.read += 1
        return {"x": np.full(2, i), "y": np.array([i in self.changed, 1])}


def test_a_stream_is_known_by_samples_spaced_over_it():
    def stream(source):
        split = StreamSplit(source)
        return planted(train=split, valid=split, test=split)

    source = OnDisk(5000)
    one = fingerprint(stream(source))
    assert source.read == 3 * (1 + 256)
    assert one != fingerprint(stream(OnDisk(5000, changed=range(2500))))
    assert one != fingerprint(stream(OnDisk(4999)))
    few = fingerprint(stream(OnDisk(9)))
    assert few != fingerprint(stream(OnDisk(9, changed=[4])))
    found = describe(stream(OnDisk(9)))["tasks"]["a"]
    assert (found["labels"]["train"], found["missing"]) == (9, 0)


def test_a_stream_from_memory_is_known_and_counted_whole(tmp_path):
    arrays = shared(y=np.stack([ROW % 2, ROW // 2 % 2], 1), target_names=None)
    arrays["y"] = np.where(ROW[:, None] == 7, 255, arrays["y"]).astype(np.uint8)
    path = save(tmp_path, **arrays)
    held, streamed = npz(path), npz(path, on_device_bytes=1)
    assert isinstance(streamed.train, StreamSplit)
    one, other = describe(held), describe(streamed)
    assert one["fingerprint"] == other["fingerprint"]
    for name in held.tasks:
        for key in ("labels", "missing"):
            assert one["tasks"][name][key] == other["tasks"][name][key]


def test_any_arrays_have_a_fingerprint():
    assert fingerprint_of(np.zeros(0)) != fingerprint_of(np.zeros((0, 1)))
    assert fingerprint_of(np.float32(1)) == fingerprint_of(jnp.ones(()))
    assert fingerprint_of(None, "a") != fingerprint_of(None, "b")
