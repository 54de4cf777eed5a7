"""Names of classes where tasks of one kind have different ones."""

import jax
import numpy as np
import pandas as pd
import pytest

import mtopt
from experiments.predict import shared_table, task_table
from mtopt.data import from_frame
from mtopt.errors import UserError
from tests.helpers.frames import ROW, N, planted
from tests.helpers.trained import trained

FEW, MANY = np.array(["u", "v", "w"])[ROW % 3], np.array([*"abcde"])[ROW % 5]


def load(folder, frame, tasks, **options):
    trained(folder, from_frame(frame, tasks, **options))
    return mtopt.load(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    frame = pd.DataFrame({"x": ROW / 7, "few": FEW, "many": MANY})
    return load(tmp_path_factory.mktemp("classes"), frame, ["few", "many"])


def test_a_task_is_predicted_in_its_own_classes(model):
    far = pd.DataFrame({"x": np.linspace(-90, 90, 300)})
    found, sure = model.predict(far), model.predict_proba(far)
    for task, names in {"few": ("u", "v", "w"), "many": (*"abcde",)}.items():
        assert model.class_names(task) == names
        assert sure[task].shape == (300, len(names))
        np.testing.assert_allclose(sure[task].sum(axis=1), 1, rtol=1e-5)
        assert (np.array(names)[sure[task].argmax(axis=1)] == found[task]).all()


def test_a_program_has_them_too(model, tmp_path):
    model.export(tmp_path / "it.jaxexport")
    program = jax.export.deserialize(
        bytearray((tmp_path / "it.jaxexport").read_bytes())
    )
    rows = pd.DataFrame({"x": ROW / 7})
    found = program.call(model.encoding(rows))
    for task, values in model.predict_proba(rows).items():
        np.testing.assert_allclose(found[task], values, rtol=1e-5)


@pytest.mark.parametrize("kind", ["ordinal", "ordinal_adjacent"])
def test_levels_of_a_task_are_its_own(tmp_path, kind):
    frame = pd.DataFrame({"x": ROW / 7, "few": 1 + ROW % 3, "many": 2 + ROW % 6})
    model = load(tmp_path, frame, ["few", "many"], kind=kind)
    far = pd.DataFrame({"x": np.linspace(-90, 90, 300)})
    found, sure = model.predict(far)["few"], model.predict_proba(far)["few"]
    assert {*found} <= {"1", "2", "3"}
    assert sure.shape == (300, 3)
    np.testing.assert_allclose(sure.sum(axis=1), 1, rtol=1e-4)


def test_one_class_alone(tmp_path):
    frame = pd.DataFrame({"x": ROW / 7, "one": "a", "two": FEW == "u"})
    model = load(tmp_path, frame, ["one", "two"])
    far = pd.DataFrame({"x": np.linspace(-9000, 9000, 300)})
    assert model.class_names("one") == ("a", "1")
    sure = model.predict_proba(far)["one"]
    assert (model.predict(far)["one"] == np.array(["a", "1"])[sure.argmax(1)]).all()


def test_tables_of_tasks_with_different_classes(model, tmp_path):
    rows = pd.DataFrame({"x": ROW / 7, "of": np.array(["a", "b"])[ROW // 2 % 2]})
    head, *lines = shared_table(model, rows)
    assert [name for name in head if name.startswith("few")] == [
        *("few", "few: u", "few: v", "few: w")
    ]
    assert len(lines) == N
    own = load(tmp_path, rows.assign(few=FEW, many=MANY), ["few", "many"], task="of")
    head, *lines = task_table(own, rows)
    assert head == ["row", "task", "prediction", *"uvwabcde"]
    for _, task, _, *cells in lines:
        empty = cells[:3] if task.endswith("many") else cells[3:]
        full = cells[3:] if task.endswith("many") else cells[:3]
        assert {*empty} == {""}
        assert sum(map(float, full)) == pytest.approx(1, abs=1e-5)


def test_two_columns_of_one_name_are_not_written(tmp_path):
    frame = pd.DataFrame({"x": ROW / 7, "few": FEW, "few: u": ROW / 3})
    model = load(tmp_path, frame, ["few", "few: u"])
    with pytest.raises(UserError, match="would be called 'few: u'"):
        shared_table(model, frame)


def test_long_numbers_keep_their_digits(tmp_path):
    codes = np.array([1_000_001, 1_000_002, 20_000_000])[ROW % 3]
    frame = pd.DataFrame({"x": ROW / 7, "code": codes, "size": ROW / 3})
    kind = {"code": "classification"}
    model = load(tmp_path, frame, ["code", "size"], kind=kind)
    assert model.class_names("code") == ("1000001", "1000002", "20000000")
    right = (model.predict(frame)["code"].astype(int) == codes).mean()
    assert model.score(frame)["code"]["accuracy"] == pytest.approx(right)
    floats = model.score(frame.assign(code=codes.astype(float)))
    assert floats["code"]["accuracy"] == pytest.approx(right)


def test_rows_of_tasks_that_the_model_has_not_are_left_out(tmp_path):
    owner = np.array(["a", "b", "c"])[ROW % 3]
    rows = planted(of=owner, score=np.where(owner == "b", np.nan, ROW / 3))
    rows.loc[owner == "c", "size"] = np.nan
    rows.loc[owner == "b", "size"] = np.nan
    rows.loc[owner == "c", "score"] = ROW[owner == "c"] / 5
    model = load(
        tmp_path, rows, ["score", "size"], task="of", features=["length", "lit"]
    )
    assert model.tasks == ("a score", "a size", "c score")
    found = model.predict(rows)
    assert {task: len(values) for task, values in found.items()} == {
        "a score": 14,
        "a size": 14,
        "c score": 13,
    }
    assert model.score(rows).keys() == found.keys()
    with pytest.raises(UserError, match="no task 'b score' in the model"):
        model.predict(rows[owner == "b"])
