"""New rows whose columns have other types than those of training."""

import numpy as np
import pandas as pd
import pytest

from mtopt.data import from_frame
from mtopt.data.encodings import encoding_of
from mtopt.errors import UserError
from tests.helpers.frames import PART, ROW, N, planted


def encoding(**changes):
    """What new rows go through, of the planted frame."""
    data = from_frame(planted(**changes), ["size"], split="part")
    return encoding_of(data)


@pytest.mark.parametrize("empty", [None, pd.NA, pd.NaT, np.nan])
@pytest.mark.parametrize("dtype", ["object", "category"])
@pytest.mark.parametrize("column", ["length", "seen", "colour"])
def test_a_column_without_a_value_is_empty_whatever_its_type(column, dtype, empty):
    encode, rows = encoding(), planted()
    values = pd.Series([empty] * N, dtype=dtype)
    np.testing.assert_array_equal(
        encode(rows.assign(**{column: values})), encode(rows.assign(**{column: None}))
    )


def test_columns_of_dates_and_integers_without_a_value():
    encode, rows = encoding(), planted()
    expected = encode(rows.assign(length=None))
    for dtype in ("datetime64[ns]", "Int64", "boolean", "string"):
        column = pd.Series([None] * N, dtype=dtype)
        np.testing.assert_array_equal(encode(rows.assign(length=column)), expected)


@pytest.mark.parametrize(
    "training",
    [
        pd.Categorical(ROW % 3),
        pd.Categorical(ROW % 3 * 1.0),
        (ROW % 3).astype(str),
        np.array(["00", "01", "02"])[ROW % 3],
    ],
)
@pytest.mark.parametrize("dtype", ["int64", "float64", "Int64", "Float32"])
def test_numbers_are_the_categories_that_have_their_value(training, dtype):
    encode = encoding(colour=training)
    new = planted(colour=pd.Series(ROW % 3, dtype=dtype))
    np.testing.assert_array_equal(encode(new), encode(planted(colour=training)))
    with_empty = new.assign(colour=new["colour"].astype("Float64").mask(ROW == 4))
    others = ROW != 4
    np.testing.assert_array_equal(encode(with_empty)[others], encode(new)[others])
    assert (encode(with_empty)[4, 2:5] == 0).all()


def test_numbers_are_no_booleans():
    with pytest.raises(UserError, match="'lit' has numbers: expected True and False"):
        encoding()(planted(lit=ROW % 2))


def test_order_and_type_of_columns_do_not_matter():
    encode, rows = encoding(), planted()
    other = rows[rows.columns[::-1]].assign(
        length=rows["length"].astype("Float64"),
        colour=pd.Categorical(rows["colour"], ["none", "red", "green", "blue"]),
        seen=rows["seen"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
    )
    np.testing.assert_array_equal(encode(other), encode(rows))
    assert encode(rows).shape == (N, 2 + 3 + 2 + 3)
    length = rows["length"][PART == "train"]
    expected = (rows["length"] - length.mean()) / length.std(ddof=0)
    np.testing.assert_allclose(encode(rows)[:, 0], expected, rtol=1e-6)
