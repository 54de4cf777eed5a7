"""Columns brought to scale."""

import numpy as np
import pytest

from mtopt.data.tables.npz_encoding import NpzEncoding
from mtopt.data.tables.npz_inputs import read_inputs
from mtopt.data.tables.scaling import CLIP, Scaling, moments
from tests.helpers.close import assert_close


def test_scaling_clips_and_ignores_constant_columns():
    x = np.ones((100, 2), np.float32) * np.float32(0.1)
    x[:50, 0] = 0.2
    x[99, 0] = 1e6
    scaled = Scaling.of(x[:99])(x)
    assert scaled[99, 0] == CLIP
    assert (scaled[:, 1] == 0).all()
    mean, std = moments(np.array([[np.nan, 1.0], [np.nan, 3.0]]))
    assert (mean.tolist(), std.tolist()) == ([0, 2], [0, 1])


ROW = np.arange(2000)
WAVE = np.sin(ROW)
FINE = {
    "nanoseconds": 1_700_000_000_000_000_000 + ROW * 50_000_000,
    "nanoseconds as floats": 1.7e18 + ROW * 5e7,
    "unsigned": (2**63 + ROW.astype(np.uint64) * 2**20),
    "pascals": 101_325e3 + WAVE,
    "small": 1e-30 * WAVE,
    "float32": (1000 + WAVE).astype(np.float32),
    "float16": (4 + WAVE).astype(np.float16),
}
"""Columns whose spread their own type resolves, float32 some of them not."""


@pytest.mark.parametrize("name", FINE)
def test_a_spread_that_its_type_resolves_is_standardised(name):
    column = FINE[name]
    found = Scaling.of(column[:, None])(column[:, None])[:, 0].astype(np.float64)
    exact = column.astype(np.longdouble)
    exact = (exact - exact.mean()) / exact.std()
    # Float64 holds 1.7e18 to 256, a hundred-millionth of that column's deviation.
    assert_close(found, exact, rtol=1e-6)


def test_a_spread_of_its_own_rounding_is_constant():
    for dtype in (np.float16, np.float32, np.float64):
        column = np.full(100, 0.1, dtype)
        column[::7] = np.nextafter(dtype(0.1), dtype(1))
        assert moments(column[:, None])[1] == 0, dtype
    assert moments(np.array([[3], [3]], np.int64))[1] == 0


def test_every_block_of_a_file_is_scaled_in_its_own_precision(tmp_path):
    rounding = np.full(100, 0.1, np.float32)
    rounding[::7] = np.nextafter(np.float32(0.1), np.float32(1))
    arrays = {"y": np.zeros(100), "x": rounding[:, None]}
    arrays["desc"] = FINE["pascals"][:100, None]
    train = np.ones(100, bool)
    inputs = read_inputs(arrays, tmp_path, 100)
    np.testing.assert_allclose(
        NpzEncoding.of(inputs, train).encoded(inputs).std(axis=0), [0, 1], rtol=1e-6
    )
    said = inputs.description(train)
    assert said["x"].endswith("1 constant in training became 0")
    assert said["desc"] == "1 columns, standardised"
