"""Labels of pixels that a trained model is scored on."""

import numpy as np
import pytest

from mtopt.data.encoding import AsTheyAre
from mtopt.errors import UserError
from mtopt.metrics import metrics_of
from mtopt.trained.description import GroupDescription
from mtopt.trained.labels import read_labels


def group(kind, outputs):
    shape = (2, 2, 3)
    encoding = AsTheyAre("uint8", shape)
    return GroupDescription((kind,), kind, outputs, None, shape, "uint8", encoding)


@pytest.mark.parametrize(
    ("kind", "labels", "line"),
    [
        ("depth", 3.0, r"float64\[\]: expected an array of numbers \[N, h, w\]"),
        ("depth", np.ones((1, 4, 2, 2)), r"float64\[1, 4, 2, 2\]: expected"),
        ("depth", [None, np.ones((2, 2))], "are no array"),
        ("depth", np.full((1, 2, 2), np.nan), "expected 0 where there is no label"),
        ("segmentation", np.full((1, 2, 2), np.nan), "expected -1 where there is no"),
        ("segmentation", np.full((1, 2, 2), "wall"), "<U4"),
        (
            "segmentation",
            np.full((1, 2, 2), 3),
            "have 3: expected whole numbers",
        ),
        ("segmentation", np.full((1, 2, 2), 0.5), "have 0.5: expected whole numbers"),
        ("depth", np.full((1, 2, 2), -1.0), "have -1.0: expected numbers above 0"),
        ("normals", np.ones((1, 2, 2, 3)), "has a vector of length 1.732: expected"),
        ("normals", np.ones((4, 2, 2)), r"expected an array of numbers \[N, h, w, 3\]"),
    ],
)
def test_what_are_no_labels_of_pixels_ends_in_one_line(kind, labels, line):
    with pytest.raises(UserError, match=line) as error:
        read_labels(group(kind, 1), kind, labels)
    assert "\n" not in str(error.value)


def test_labels_of_pixels_are_read_as_they_are():
    labels = np.array([[[0.0, 1.5], [2.0, 0.0]]])
    target, mask = read_labels(group("depth", 1), "depth", labels)
    np.testing.assert_array_equal(target, labels)
    assert mask.tolist() == [True]


def test_as_many_labels_as_outputs_are_expected():
    metric, *_ = metrics_of("depth")
    with pytest.raises(UserError, match="2 labels and a mask of 2 for 3 outputs"):
        metric.value(np.ones((3, 2, 2)), np.ones((2, 2, 2)), np.ones(2, bool))
