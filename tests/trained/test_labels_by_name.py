"""Labels and tasks of new samples are found by their names, where they have some."""

import numpy as np
import pytest

import mtopt
from mtopt.data import Dataset, join, npz
from mtopt.errors import UserError
from tests.helpers.npz import disjoint, save, shared
from tests.helpers.trained import trained


def test_labels_of_an_array_are_those_that_it_names(tmp_path):
    trained(tmp_path, npz(save(tmp_path, **shared())))
    model = mtopt.load(tmp_path)
    arrays = shared()
    turned = arrays | {
        "y": arrays["y"][:, ::-1],
        "target_names": arrays["target_names"][::-1],
    }
    assert model.score(turned) == model.score(arrays)
    nameless = {key: value for key, value in arrays.items() if key != "target_names"}
    assert model.score(nameless) == model.score(arrays)
    with pytest.raises(UserError, match="name the task 'd'"):
        model.score(arrays | {"target_names": np.array(["c", "a", "d"])})


def test_tasks_of_samples_are_those_that_an_array_names(tmp_path):
    names = np.array(["p", "q", "r"])
    arrays = disjoint(task_names=names)
    trained(tmp_path, npz(save(tmp_path, **arrays)))
    model = mtopt.load(tmp_path)
    turned = arrays | {"task": 2 - arrays["task"], "task_names": names[::-1]}
    found, expected = model.predict(turned), model.predict(arrays)
    for task, values in expected.items():
        np.testing.assert_array_equal(found[task], values)
    assert model.score(turned) == model.score(arrays)


def test_arrays_do_not_say_which_of_two_sources_they_are_of(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    other = disjoint(task_names=np.array(["p", "q", "r"]), x=disjoint()["x"] * 9)
    trained(tmp_path, join(npz(save(one, **disjoint())), npz(save(two, **other))))
    with pytest.raises(UserError, match="expected a dict of inputs by task"):
        mtopt.load(tmp_path).predict(disjoint())


def test_labels_that_are_none_of_the_task(tmp_path):
    x = np.ones((8, 2), np.float32)
    labels = {"a": np.arange(8) % 4, "b": np.arange(8) % 3}
    split = mtopt.data.ArraySplit(mtopt.Batch.shared(x, labels), x_axis=None)
    data = Dataset("own", ("a", "b"), "classification", 4, None, split, split, split)
    trained(tmp_path, data)
    model = mtopt.load(tmp_path)
    for wrong in (4, -1, 0.5):
        with pytest.raises(UserError, match="expected whole numbers from 0 to 3"):
            model.score(x, {"a": np.full(8, wrong)})
    with pytest.raises(UserError, match="labels of 'aa': known are a, b"):
        model.score(x, {"aa": labels["a"]})
    missing = np.where(np.arange(8) < 4, np.nan, labels["a"])
    assert model.score(x, {"a": missing}).keys() == {"a"}
