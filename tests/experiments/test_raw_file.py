"""Files of new rows, in which a column of names may hold digits alone."""

import numpy as np
import pandas as pd

import mtopt
from experiments.common.raw_file import read_raw
from mtopt.data import table
from tests.helpers.frames import ROW
from tests.helpers.trained import trained

NAMES = np.array(["2020", "2021", "2020-01", "old"])[ROW % 4]
DIGITS = ROW % 4 != 3
ROWS = pd.DataFrame({"x": ROW / 7, "year": NAMES, "size": ROW / 3})


def loaded(tmp_path, frame, **options):
    frame.to_csv(tmp_path / "rows.csv", index=False)
    trained(tmp_path, table(tmp_path / "rows.csv", **options))
    frame[DIGITS].to_csv(tmp_path / "new.csv", index=False)
    model = mtopt.load(tmp_path)
    return model, read_raw(tmp_path / "new.csv", model)


def test_names_of_inputs(tmp_path):
    model, new = loaded(tmp_path, ROWS, tasks=("size",))
    np.testing.assert_array_equal(model.encoding(new), model.encoding(ROWS[DIGITS]))


def test_names_of_classes(tmp_path):
    model, new = loaded(tmp_path, ROWS, tasks=("size", "year"))
    assert model.score(new) == model.score(ROWS[DIGITS])


def test_names_of_tasks(tmp_path):
    names = np.array(["01", "02", "03", "A"])[ROW % 4]
    rows = ROWS.assign(year=names)
    model, new = loaded(tmp_path, rows, tasks=("size",), task="year")
    assert {t: len(found) for t, found in model.predict(new).items()} == {
        "01": 10,
        "02": 10,
        "03": 10,
    }


def test_numbers_of_tasks(tmp_path):
    rows = ROWS.assign(year=ROW % 4 * 5)
    model, new = loaded(tmp_path, rows, tasks=("size",), task="year")
    assert [*model.predict(new)] == ["year_00", "year_05", "year_10"]
