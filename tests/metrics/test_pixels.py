"""Metrics of pixels, against values worked out by hand, in both forms."""

import inspect

import numpy as np
import pytest

from mtopt import metrics
from mtopt.errors import UserError
from mtopt.metrics.pixels import PIXEL_METRICS

NAN = float("nan")
# Two images of 2 x 3 pixels. Class 2 of four is in neither predictions nor labels.
TRUTH = np.array([[[0, 0, 1], [1, -1, -1]], [[3, 3, 0], [0, 0, -1]]])
TAKEN = np.array([[[0, 1, 1], [1, 3, 0]], [[3, 0, 0], [0, 1, 1]]])
LOGITS = np.eye(4)[TAKEN]
DEPTH = np.array(
    [[[1.0, 2.0, 0.0], [4.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]]]
)
GUESS = np.array([[[2.0, 2.0, 9.0], [2.0, 9.0, 9.0]], [[9.0] * 3, [9.0, 4.0, 9.0]]])
UP, SIDE, SLANTED = [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.5**0.5, -(0.5**0.5), 0.0]


def turned(degrees):
    """A unit vector that far from UP."""
    angle = np.radians(degrees)
    return [0.0, np.sin(angle), np.cos(angle)]


NORMALS = np.array([[[UP, UP, [0.0] * 3]], [[UP, SLANTED, UP]]])
VECTORS = np.array([[[turned(10), turned(20), UP]], [[turned(25), SIDE, turned(80)]]])


def test_confusion_counts_labelled_pixels_of_each_image():
    first, second = metrics.confusion(LOGITS, TRUTH)
    assert first.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [0] * 4, [0] * 4]
    assert second.tolist() == [[2, 1, 0, 0], [0] * 4, [0] * 4, [1, 0, 0, 1]]


def test_classes_may_be_bytes():
    thirteen = np.eye(13)[np.full((1, 2, 3), 12)]
    (matrix,) = metrics.confusion(thirteen, np.full((1, 2, 3), 12, np.int8))
    assert matrix[12, 12] == matrix.sum() == 6


def test_mean_iou_leaves_out_a_class_of_neither_or_is_nan_as_asked():
    matrices = metrics.confusion(LOGITS, TRUTH)
    # Class 0: 3 of 6 (5 true, 4 taken); 1: 2 of 4 (2 true, 4 taken); 3: 1 of 2.
    assert metrics.mean_iou(matrices) == pytest.approx((3 / 6 + 2 / 4 + 1 / 2) / 3)
    assert np.isnan(metrics.mean_iou(matrices, absent="nan"))
    others = np.delete(np.delete(matrices, 2, axis=1), 2, axis=2)
    assert metrics.mean_iou(others, absent="nan") == metrics.mean_iou(matrices)
    assert metrics.pixel_accuracy(matrices) == 6 / 9


def test_a_class_that_is_predicted_but_not_there_has_no_overlap():
    logits = np.eye(2)[np.array([[[0, 1]]])]
    matrices = metrics.confusion(logits, np.array([[[0, 0]]]))
    assert metrics.mean_iou(matrices) == pytest.approx((1 / 2 + 0) / 2)


def test_depth_errors_are_over_pixels_or_the_mean_of_batches():
    sums = metrics.depth_sums(GUESS, DEPTH)
    assert sums.tolist() == [[3.0, 1.5, 3.0], [1.0, 0.2, 1.0]]
    assert metrics.absolute_error(sums) == 1.0
    assert metrics.relative_error(sums) == pytest.approx(1.7 / 4)
    by_one = metrics.by_batches(metrics.absolute_error, 1)
    assert by_one(sums) == (1.0 + 1.0) / 2
    relative = metrics.by_batches(metrics.relative_error, 1)(sums)
    assert relative == pytest.approx((0.5 + 0.2) / 2)
    assert metrics.by_batches(metrics.absolute_error, 2)(sums) == 1.0
    unlabelled = np.concatenate([sums, [[0.0, 0.0, 0.0]]])
    assert metrics.absolute_error(unlabelled) == 1.0
    assert np.isnan(by_one(unlabelled))


def test_angles_are_over_pixels_whose_normal_is_not_zero():
    found = metrics.angles(VECTORS, NORMALS)
    wanted = [[10, 20, NAN], [25, 45, 80]]
    np.testing.assert_allclose(found, np.array(wanted, np.float32), rtol=1e-6)
    assert metrics.mean_angle(found) == pytest.approx(180 / 5, rel=1e-6)
    assert metrics.median_angle(found) == pytest.approx(25, rel=1e-6)
    shares = [metrics.share_below(limit)(found) for limit in (11.25, 22.5, 30.0)]
    assert shares == [1 / 5, 2 / 5, 3 / 5]


def test_the_sum_of_components_leaves_out_normals_that_are_there():
    found = metrics.angles(VECTORS, NORMALS, valid="sum")
    assert np.isnan(found[1]).tolist() == [False, True, False]
    assert metrics.mean_angle(found) == pytest.approx(135 / 4, rel=1e-6)
    by_one = metrics.by_batches(metrics.median_angle, 1)(found)
    assert by_one == pytest.approx((15 + 52.5) / 2, rel=1e-6)


def cases(rng):
    """Outputs and labels of each kind, of nine images."""
    shape = (9, 3, 4)
    normals = rng.normal(size=(2, *shape, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    holes = rng.random(shape) < 0.7
    return {
        "segmentation": (rng.normal(size=(*shape, 5)), rng.integers(-1, 5, shape)),
        "depth": (rng.random(shape), rng.random(shape) * holes),
        "normals": (normals[0], normals[1] * holes[..., None]),
    }


@pytest.mark.parametrize("kind", PIXEL_METRICS)
@pytest.mark.parametrize("seed", range(5))
def test_no_order_of_images_and_no_cut_into_batches_changes_a_metric(kind, seed):
    rng = np.random.default_rng(seed)
    output, target = cases(rng)[kind]
    order, cut = rng.permutation(9), int(rng.integers(1, 9))
    mask = np.ones(9, bool)
    for metric in PIXEL_METRICS[kind]:
        whole = metric.value(output, target, mask)
        assert np.isfinite(whole)
        mixed = metric.value(output[order], target[order], mask)
        parts = [
            metric.statistic(output[part], target[part])
            for part in (slice(cut), slice(cut, None))
        ]
        assert mixed == pytest.approx(whole, rel=1e-12)
        assert metric.function(np.concatenate(parts)) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("kind", PIXEL_METRICS)
def test_outputs_of_pixels_without_a_label_are_not_read(kind):
    output, target = cases(np.random.default_rng(1))[kind]
    nothing = target < 0 if kind == "segmentation" else target == 0
    hidden = nothing.all(axis=-1) if kind == "normals" else nothing
    assert hidden.any()
    broken = output.copy()
    broken[hidden] = NAN
    for metric in PIXEL_METRICS[kind]:
        mask = np.ones(9, bool)
        assert metric.value(broken, target, mask) == metric.value(output, target, mask)


def test_misuse_is_told_in_one_line():
    with pytest.raises(
        UserError, match="a pixel is of class 4: expected -1, or 0 to 3"
    ):
        metrics.confusion(LOGITS, np.full_like(TRUTH, 4))
    with pytest.raises(UserError, match=r"have shape \(2, 2\): expected \(2, 2, 3\)"):
        inspect.unwrap(metrics.depth_sums)(GUESS, DEPTH[..., 0])
    with pytest.raises(UserError, match="absent is 'mean': expected"):
        metrics.mean_iou(metrics.confusion(LOGITS, TRUTH), absent="mean")
