"""A small frame with columns of every type, and what is planted in it."""

import numpy as np
import pandas as pd

from tests.helpers.npz import PARTS

N = 40
ROW = np.arange(N)
PART = np.repeat(PARTS, [28, 6, 6])


def planted(**changes):
    """Labels are functions of the row, and inputs tell the row."""
    columns = {
        "length": ROW * 2.0 + 1,
        "colour": np.array(["red", "green", "blue"])[ROW % 3],
        "lit": ROW % 2 == 0,
        "seen": pd.Timestamp("2020-01-01") + pd.to_timedelta(ROW, "D"),
        "size": ROW / 4,
        "shape": np.array(["round", "flat", "long"])[ROW % 3],
        "part": PART,
    }
    return pd.DataFrame(columns | changes)


def group_of(data, task):
    """The group of a joint data set, or the plain one, that has a task."""
    (found,) = (group for group in data.groups if task in group.tasks)
    return found
