"""Models of a run's folder: their predictions are those of training, in its units."""

import json
import subprocess
import sys

import jax
import numpy as np
import pandas as pd
import pytest

import mtopt
from mtopt.data import from_frame, join, multi_digits, npz
from mtopt.errors import UserError
from tests.helpers.frames import PART, planted
from tests.helpers.npz import disjoint, reviews, save, shared
from tests.helpers.trained import TINY, trained, trained_apart

MIXED = ["size", "shape", "lit"]
ELSEWHERE = """
import sys, numpy as np, pandas as pd, mtopt
run, rows, out, seed = sys.argv[1:]
model = mtopt.load(run, seed=int(seed))
np.savez(out, **model.outputs(pd.read_parquet(rows)))
"""


def frame(**changes):
    return planted(**changes)


def elsewhere(tmp_path, rows, seed):
    """The outputs of the model in another process."""
    rows.to_parquet(tmp_path / "rows.parquet")
    out = tmp_path / f"out{seed}.npz"
    words = [tmp_path, tmp_path / "rows.parquet", out, seed]
    command = [sys.executable, "-c", ELSEWHERE, *map(str, words)]
    subprocess.run(command, check=True, timeout=300)
    return dict(np.load(out))


@pytest.mark.parametrize("seeds", [(0,), (3, 5)])
def test_predictions_elsewhere_are_those_of_training_bit_for_bit(tmp_path, seeds):
    data = from_frame(frame(), MIXED, split="part")
    program, fitted = trained(tmp_path, data, seeds=seeds)
    test = frame()[PART == "test"]
    x = next(data.test.in_order(8)).x
    x = np.pad(x, [(0, 2), (0, 0)])  # 6 rows in a batch of 8
    there = program.predict(fitted.best.params, fitted.best.model_state, x)
    for s, seed in enumerate(seeds):
        found = elsewhere(tmp_path, test, seed)
        for group, outputs in zip(data.groups, there, strict=True):
            for k, task in enumerate(group.tasks):
                expected = np.asarray(outputs)[s, k, :6]
                if group.target_std is not None:
                    wide = expected.astype(np.float64)
                    expected = wide * group.target_std[k] + group.target_mean[k]
                np.testing.assert_array_equal(found[task], expected)


def test_scores_on_the_test_rows_are_those_of_the_run(tmp_path):
    data = from_frame(frame(), MIXED, split="part")
    _, fitted = trained(tmp_path, data)
    model = mtopt.load(tmp_path)
    stored = json.loads((tmp_path / "ours" / "result.json").read_text())
    by_task = dict(zip(stored["tasks"], stored["test"][0], strict=True))
    found = model.score(frame()[PART == "test"])
    assert found.keys() == set(MIXED)
    for task, metrics in found.items():
        for name, value in metrics.items():
            expected = by_task[task][stored["metrics"].index(name)]
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    on_split = model.evaluate(data, data.test)
    np.testing.assert_allclose(on_split.metrics, fitted.test.metrics, rtol=1e-5)


def test_what_is_predicted_has_the_units_and_names_of_the_data(tmp_path):
    data = from_frame(frame(), MIXED, split="part")
    trained(tmp_path, data)
    model = mtopt.load(tmp_path)
    found, sure = model.predict(frame()), model.predict_proba(frame())
    assert {task: values.dtype.kind for task, values in found.items()} == {
        "lit": "U",
        "shape": "U",
        "size": "f",
    }
    assert sure.keys() == {"lit", "shape"}
    for task, names in {
        "lit": ("False", "True"),
        "shape": ("flat", "long", "round"),
    }.items():
        assert model.class_names(task) == names
        np.testing.assert_allclose(sure[task].sum(axis=1), 1, rtol=1e-5)
        assert (np.array(names)[sure[task].argmax(axis=1)] == found[task]).all()
    assert model.class_names("size") == ()
    size = frame()["size"]
    spread = np.abs(found["size"] - size.mean()).mean()
    assert spread < 4 * size.std()  # in quarters of rows, not in deviations
    one = model.predict(frame().iloc[[7]])
    assert one["size"].shape == (1,)
    np.testing.assert_allclose(one["size"][0], found["size"][7], rtol=1e-5)
    with pytest.raises(UserError, match="has no rows"):
        model.predict(frame().iloc[:0])


def test_many_rows_go_in_batches(tmp_path):
    data = from_frame(frame(), MIXED, split="part")
    trained(tmp_path, data)
    model = mtopt.load(tmp_path)
    many = pd.concat([frame()] * 60)
    found = model.predict(many)["size"].reshape(60, -1)
    np.testing.assert_allclose(found, np.tile(found[0], (60, 1)), rtol=1e-4)


def test_models_of_one_task_each(tmp_path):
    rows = frame(width=np.arange(40) * 2.5)
    data = from_frame(rows, ["size", "width"], split="part")
    program, fitted = trained_apart(tmp_path, data, seeds=(0, 1))
    model = mtopt.load(tmp_path, seed=1)
    x = next(data.test.in_order(8)).x
    there = program.predict(fitted.best.params, fitted.best.model_state, x)
    found = model.outputs(rows[PART == "test"])
    for k, task in enumerate(data.tasks):
        expected = np.asarray(there)[1, k, :6] * data.target_std[k]
        np.testing.assert_allclose(
            found[task], expected + data.target_mean[k], rtol=1e-5
        )


@pytest.mark.parametrize("targets", [["size"], ["size", "width"]])
@pytest.mark.parametrize("numbered", [True, False])
def test_tasks_with_rows_of_their_own(tmp_path, targets, numbered):
    school = (
        np.arange(40) % 3 * 7
        if numbered
        else np.array(["b", "a", "c"])[np.arange(40) % 3]
    )
    rows = frame(school=school, width=np.arange(40) * 2.5)
    data = from_frame(rows, targets, task="school", features=["length", "lit"])
    trained(tmp_path, data)
    model = mtopt.load(tmp_path)
    assert not model.shared
    some = rows.iloc[[5, 2, 8, 0]]
    found = model.predict(some)
    assert found.keys() <= set(data.tasks)
    of_rows = model.rows_of(some)
    assert {task: len(values) for task, values in found.items()} == {
        task: len(own) for task, own in of_rows.items()
    }
    # Each row alone gets what it gets among others.
    for task, own in of_rows.items():
        for i, row in enumerate(own):
            alone = model.predict(some.iloc[[row]])
            np.testing.assert_allclose(alone[task][0], found[task][i], rtol=1e-4)
    by_task = {task: rows.iloc[[4, 7]] for task in data.tasks[:2]}
    assert model.predict(by_task).keys() == set(data.tasks[:2])
    assert set(model.score(rows)) == set(data.tasks)
    with pytest.raises(UserError, match="task column 'school' has"):
        model.predict(some.assign(school=99 if numbered else "z"))


@pytest.mark.parametrize("form", ["shared", "disjoint", "counts"])
def test_arrays_of_a_file(tmp_path, form):
    arrays = {"shared": shared, "disjoint": disjoint, "counts": lambda: reviews()[1]}
    path = save(tmp_path, **arrays[form]())
    data = npz(path)
    trained(tmp_path, data)
    model = mtopt.load(tmp_path)
    by_file, by_dict = model.predict(path), model.predict(dict(np.load(path)))
    assert by_file.keys() == set(data.tasks)
    for task in data.tasks:
        np.testing.assert_array_equal(by_file[task], by_dict[task])
    assert model.score(path).keys() == set(data.tasks)
    if form == "shared":
        x = np.load(path)["x"]
        np.testing.assert_array_equal(model.predict(x)["a"], by_file["a"])
    stored = json.loads((tmp_path / "ours" / "result.json").read_text())
    on_test = model.evaluate(data, data.test).metrics[0]
    np.testing.assert_allclose(
        on_test, np.array(stored["test"][0], float), rtol=1e-4, equal_nan=True
    )


def test_images_as_they_are(tmp_path):
    data = multi_digits(num_train=16, num_valid=8, num_test=8)
    trained(tmp_path, data, text=TINY)
    model = mtopt.load(tmp_path)
    images = np.asarray(data.test.samples.x)
    found = model.predict(images)
    assert found["left"].dtype.kind == "i"
    labels = {"left": np.asarray(data.test.samples.y[0])}
    right = (found["left"] == labels["left"]).mean()
    assert model.score(images, labels)["left"]["accuracy"] == right
    with pytest.raises(UserError, match="expected float32"):
        model.predict((images * 255).astype(np.uint8))


def test_sources_with_inputs_of_their_own(tmp_path):
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    np.savez(one, **shared())
    np.savez(two, **shared(target_names=np.array(["f", "d", "e"]), x=shared()["x"] * 9))
    data = join(npz(one), npz(two))
    trained(tmp_path, data)
    model = mtopt.load(tmp_path)
    x = shared()["x"]
    found = model.predict({"a": x, "d": x * 9, "e": x[:3] * 9})
    assert {task: len(values) for task, values in found.items()} == {
        "a": 40,
        "d": 40,
        "e": 3,
    }
    with pytest.raises(UserError, match="sources whose inputs differ"):
        model.predict(x)


def test_state_of_a_model_is_kept(tmp_path):
    rng = np.random.default_rng(0)
    samples = {
        name: (rng.normal(size=(12, 16, 16, 3)).astype(np.float32), np.arange(12) % 2)
        for name in ("one", "two")
    }
    split = mtopt.data.ArraySplit(mtopt.Batch.disjoint(samples), x_axis=0)
    data = mtopt.data.Dataset(
        "own", ("one", "two"), "classification", 2, 0, split, split, split
    )
    program, fitted = trained(tmp_path, data, text="resnet18(width=4)")
    assert jax.tree.leaves(fitted.best.model_state)
    x = next(data.test.in_order(16)).x
    there = program.predict(fitted.best.params, fitted.best.model_state, x)
    raw = {name: x for name, (x, _) in samples.items()}
    found = mtopt.load(tmp_path).outputs(raw)
    for k, task in enumerate(data.tasks):
        np.testing.assert_allclose(found[task], there[0, k, :12], rtol=1e-4, atol=1e-5)


def test_a_model_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no trained models in"):
        mtopt.load(tmp_path)
    data = from_frame(frame(), MIXED, split="part")
    trained(tmp_path, data)
    with pytest.raises(UserError, match="no method 'our': did you mean 'ours'"):
        mtopt.load(tmp_path, method="our")
    with pytest.raises(UserError, match="no seed 4 of ours: expected one of 0"):
        mtopt.load(tmp_path, seed=4)
    place = tmp_path / "ours" / "models.safetensors"
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot read"):
        mtopt.load(tmp_path)
    place.unlink()
    with pytest.raises(UserError, match="has not been trained to the end"):
        mtopt.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="length"), "names the column 'length'"),
        (lambda rows: rows.assign(length="long"), "'length' has categories"),
        (
            lambda rows: rows.assign(seen="soon"),
            "'seen' has categories: expected dates",
        ),
        (lambda rows: rows.to_numpy(), "expected a pandas.DataFrame"),
    ],
)
def test_rows_of_another_form(tmp_path, change, message):
    data = from_frame(frame(), ["size"], split="part")
    trained(tmp_path, data)
    with pytest.raises(UserError, match=message):
        mtopt.load(tmp_path).predict(change(frame()))


def test_labels_that_training_had_not(tmp_path):
    data = from_frame(frame(), MIXED, split="part")
    trained(tmp_path, data)
    model = mtopt.load(tmp_path)
    odd = frame(shape="cube")
    with pytest.raises(UserError, match="task 'shape' have 'cube': expected 'flat'"):
        model.score(odd)
    gone = frame(shape=None, size=np.nan)
    assert np.isnan([*model.score(gone)["size"].values()]).all()
    assert np.isnan(model.score(gone)["shape"]["accuracy"])


def test_of_a_model_that_diverged_a_warning_says_so(tmp_path, caplog):
    data = from_frame(frame(), MIXED, split="part")
    trained(tmp_path, data, seeds=(3, 5))
    place = tmp_path / "ours" / "result.json"
    stored = json.loads(place.read_text())
    stored["diverged"] = [{"seed": 5, "step": 2, "what": "the loss is not finite"}]
    place.write_text(json.dumps(stored))
    mtopt.load(tmp_path, seed=3)
    assert not caplog.records
    mtopt.load(tmp_path, seed=5)
    (record,) = caplog.records
    assert "ours: seed 5 diverged in step 2" in record.getMessage()
