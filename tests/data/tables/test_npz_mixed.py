"""Columns of several kinds in one file: a group of tasks for each kind."""

import inspect
import pathlib

import jax
import numpy as np
import pytest

from mtopt.data import JointDataset, describe, fingerprint, npz
from mtopt.data.description import summary
from mtopt.data.tables import npz_kinds
from mtopt.errors import UserError
from tests.helpers.npz import PARTS, N, collect, disjoint, save

ROW = np.arange(N)
NAMES = np.array(["size", "sick", "stage"])
LEVELS = ROW % 3 * 1.0
COLUMNS = np.stack([ROW / 7 + 1, ROW % 2, LEVELS], 1)
KINDS = {"stage": "ordinal"}


def mixed(tmp_path, **changes):
    arrays = {"x": np.eye(N), "y": COLUMNS, "target_names": NAMES} | changes
    return save(tmp_path, **arrays)


def test_where_a_kind_is_from_is_said_group_by_group(tmp_path):
    """Of one task it is given; others of the same kind look like it."""
    given = {"stage": "ordinal", "size": "regression"}
    groups = npz(mixed(tmp_path), kind=given).groups
    said = {group.kind: group.reading["kind"] for group in groups}
    assert said["ordinal"] == "given"
    assert said["binary"] == "inferred from the values"


def test_each_column_is_read_as_it_would_be_alone(tmp_path):
    path = mixed(tmp_path)
    data = npz(path, kind=KINDS)
    assert isinstance(data, JointDataset)
    assert (data.name, data.tasks) == ("set", ("sick", "size", "stage"))
    kinds = {group.tasks: (group.kind, group.outputs) for group in data.groups}
    assert kinds == {
        ("sick",): ("binary", 1),
        ("size",): ("regression", 1),
        ("stage",): ("ordinal", 3),
    }
    for group in data.groups:
        alone = npz(path, tasks=group.tasks, kind=group.kind)
        for part in PARTS:
            read, expected = collect(group, part), collect(alone, part)
            jax.tree.map(np.testing.assert_array_equal, read, expected)
        assert group.target_std == alone.target_std


def test_shared_inputs_stand_on_the_device_once(tmp_path):
    data = npz(mixed(tmp_path), kind=KINDS)
    assert data.shared_inputs
    first, *others = (group.train.samples.x for group in data.groups)
    assert all(other is first for other in others)


def test_a_streamed_file_has_the_same_batches(tmp_path):
    """One sample order for all groups, since they read one input."""
    held = npz(mixed(tmp_path), kind=KINDS)
    streamed = npz(mixed(tmp_path), kind=KINDS, on_device_bytes=0)
    assert fingerprint(held) == fingerprint(streamed)
    batch = next(streamed.train.batches(5, seeds=(0,)))
    size = dict(zip(streamed.tasks, batch.y, strict=True))["size"]
    held_size = next(group for group in held.groups if group.kind == "regression")
    own_row = {tuple(x): y for x, y in zip(*_rows(held_size), strict=True)}
    assert [own_row[tuple(x)] for x in batch.x[0]] == size[0, 0].tolist()


def _rows(data):
    samples = collect(data, "train")
    return samples.x, samples.y[0]


def test_tasks_with_samples_of_their_own_may_be_of_several_kinds(tmp_path):
    y = np.concatenate([ROW[:20] / 7, ROW[:20] % 2])
    arrays = disjoint((20, 20), y=y)
    data = npz(save(tmp_path, **arrays), kind="each")
    assert not data.shared_inputs
    assert [group.kind for group in data.groups] == ["regression", "binary"]
    assert [group.train.labels.tolist() for group in data.groups] == [[14], [14]]


def test_one_kind_after_all_is_a_plain_data_set(tmp_path):
    data = npz(mixed(tmp_path), kind="each", tasks=("size",))
    assert (data.tasks, data.kind) == (("size",), "regression")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "each"}, "stage has whole numbers stored as floats from 0 to 2"),
        ({"kind": {"stag": "ordinal"}}, "kind names the task 'stag': did you mean"),
        ({"kind": {"stage": "ordinals"}}, "kind is 'ordinals': expected one of"),
        ({"kind": {"size": "binary", **KINDS}}, "binary takes 0 or 1"),
        ({"tasks": ("sise",)}, "tasks names 'sise': did you mean 'size'"),
        ({"tasks": ()}, "expected one name or more"),
        ({"tasks": ("size", "size")}, "none of it twice"),
        ({}, "kind='each' takes every task for what its own labels look like"),
        ({"kind": {**KINDS, "size": "ordinal"}, "common_units": True}, "ordinal takes"),
        ({"tasks": "sick", "common_units": True}, "common_units is of regressions"),
    ],
)
def test_misuse_is_one_line(tmp_path, options, message):
    with pytest.raises(UserError, match=message) as error:
        npz(mixed(tmp_path), **options)
    assert "\n" not in str(error.value)


def test_columns_that_are_not_kept_are_not_looked_at(tmp_path):
    """One of them has -1 and 1, which no kind takes, another names no kind."""
    y = COLUMNS.copy()
    y[:, 1] = 2 * y[:, 1] - 1
    data = npz(mixed(tmp_path, y=y), tasks=("size",))
    assert (data.tasks, data.kind) == (("size",), "regression")


def test_parts_are_those_of_all_tasks_whichever_are_kept(tmp_path):
    arrays = disjoint((20, 8, 30))
    every = npz(save(tmp_path, **arrays))
    some = npz(save(tmp_path, **arrays), tasks=("task_2", "task_0"))
    for part in PARTS:
        whole, kept = collect(every, part), collect(some, part)
        for k, task in enumerate(some.tasks):
            row = every.tasks.index(task)
            own = whole.mask[row]
            np.testing.assert_array_equal(whole.x[row][own], kept.x[k][kept.mask[k]])


def test_a_mixed_file_is_described_group_by_group(tmp_path):
    data = npz(mixed(tmp_path), kind=KINDS)
    found = describe(data)
    assert [group["kind"] for group in found["groups"]] == [g.kind for g in data.groups]
    assert found["fingerprint"] == fingerprint(data)
    words = summary(found)
    assert words.count("inputs   one for all tasks") == 1
    assert "3 groups of tasks, each on the same inputs" in words
    for line in ("20 of them 1", "levels 0 to 2", "standardised by"):
        assert line in words


def test_one_changed_label_of_any_group_is_another_fingerprint(tmp_path):
    one = fingerprint(npz(mixed(tmp_path), kind=KINDS))
    for column, value in enumerate((9.5, 0, 2)):
        y = COLUMNS.copy()
        y[1, column] = value
        assert fingerprint(npz(mixed(tmp_path, y=y), kind=KINDS)) != one


@pytest.mark.parametrize("kind", [3, ["ordinal"]])
def test_what_is_no_kind_is_one_line(kind):
    """As users call it, whose types nobody checks."""
    unchecked = inspect.unwrap(npz_kinds.kinds_of)
    with pytest.raises(UserError, match=r"kind is .*: expected one of"):
        unchecked({"a": np.arange(2)}, kind, pathlib.Path("set.npz"))
