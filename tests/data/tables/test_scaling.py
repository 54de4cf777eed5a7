"""Columns brought to scale."""

import numpy as np

from mtopt.data.tables.scaling import CLIP, moments, standardise


def test_scaling_clips_and_ignores_constant_columns():
    x = np.ones((100, 2), np.float32) * np.float32(0.1)
    x[:50, 0] = 0.2
    x[99, 0] = 1e6
    scaled = standardise(x, np.arange(100) < 99)
    assert scaled[99, 0] == CLIP
    assert (scaled[:, 1] == 0).all()
    mean, std = moments(np.array([[np.nan, 1.0], [np.nan, 3.0]]))
    assert (mean.tolist(), std.tolist()) == ([0, 2], [0, 1])
