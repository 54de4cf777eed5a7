r"""How well pixels are labelled: intersection over union, depth and angle errors.

Each metric is over all labelled pixels of a split together. Of every image a row is
kept, a *statistic*: its confusion matrix, its sums of errors, its angles. A metric is a
function of the rows, so that the outputs of no split need be held.

Released codes differ from that, and from each other. :func:`by_batches` and
``absent="nan"`` are their forms, ``valid="sum"`` in :func:`angles` their pixels:

============= =================== ======================== ========================
metric        here                MTAN, CAGrad, Nash-MTL   LibMTL
============= =================== ======================== ========================
mean IoU      without a class     nan for a class          nan for a class
              that is in neither  that is in neither       that is in neither
depth errors  mean over pixels    mean of batches' means   mean over pixels
angles        mean and median     mean of batches' means   mean and median
              over pixels         and medians              over pixels
normals       some component      the sum of components    the sum of components
              is not 0            is not 0                 is not 0
============= =================== ======================== ========================

A batch without any labelled pixel makes the mean of batches nan; and the classes of an
epoch are counted over all its batches everywhere.

Source:
  ``im2im_pred/utils.py`` of Liu et al. (2019, arXiv 1803.10704), ``experiments/nyuv2``
  of Navon et al. (2022, arXiv 2202.01017), ``examples/nyu/utils.py`` of LibMTL (2023,
  arXiv 2203.14338).
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Num

from mtopt.errors import UserError, expect_one_of
from mtopt.metrics.task_metrics import Metric
from mtopt.pixels import DEPTH, NORMALS, SEGMENTATION, has_label

Rows = Float[np.ndarray, "n ..."]
NAN = float("nan")


def confusion(
    output: Num[np.ndarray, "n h w C"], target: Num[np.ndarray, "n h w"]
) -> Float[np.ndarray, "n C C"]:
    """How many pixels of each class were taken for which, image by image.

    Args:
      output: logits.
      target: classes, -1 where there is none.

    Returns:
      ``[n, truth, prediction]``; nan for an image of which a labelled pixel has a logit
      that is not finite.

    Raises:
      UserError: for a class of C or more.

    Example:
      >>> logits = np.eye(2)[np.array([[[0, 1, 1]]])]
      >>> confusion(logits, np.array([[[0, 0, -1]]])).tolist()
      [[[1.0, 1.0], [0.0, 0.0]]]
    """
    _check(np.shape(output)[:-1], target)
    count = output.shape[-1]
    known = has_label(target, SEGMENTATION)
    if (target >= count).any():
        raise UserError(
            f"a pixel is of class {target.max()}: expected -1, or 0 to {count - 1}, as "
            "the head has"
        )
    # Classes that are kept as bytes would overflow.
    truth = target.astype(np.int64)
    cells = np.where(known, truth * count + output.argmax(axis=-1), count**2)
    cells = _by_image(cells)
    image = np.arange(len(target))[:, None] * (count**2 + 1)
    size = len(target) * (count**2 + 1)
    counts = np.bincount((cells + image).ravel(), minlength=size)
    found = counts.reshape(-1, count**2 + 1)[:, :-1].astype(np.float64)
    finite = np.isfinite(output).all(axis=-1) | ~known
    found[~_by_image(finite).all(axis=1)] = NAN
    return found.reshape(-1, count, count)


def mean_iou(matrices: Float[np.ndarray, "n C C"], *, absent: str = "skip") -> float:
    r"""Intersection over union, averaged over classes, in [0, 1]; higher is better.

    .. math::
       \operatorname{mean}_c
       \frac{M_{cc}}{\sum_j M_{cj} + \sum_i M_{ic} - M_{cc}}

    Args:
      matrices: of :func:`confusion`, added up.
      absent: of classes that no pixel is of, nor was taken for: ``"skip"``, or
        ``"nan"``, which the whole mean then is.

    Returns:
      The mean; nan without a labelled pixel.

    Raises:
      UserError: for another word.

    Example:
      >>> matrix = np.array([[[1., 1., 0.], [0., 2., 0.], [0., 0., 0.]]])
      >>> round(mean_iou(matrix), 4), mean_iou(matrix, absent="nan")
      (0.5833, nan)
    """
    expect_one_of("absent", absent, ("skip", "nan"))
    matrix = matrices.sum(axis=0)
    hit = np.diagonal(matrix)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hit
    if not np.isfinite(matrix).all() or not union.any():
        return NAN
    if absent == "nan" and (union == 0).any():
        return NAN
    seen = union > 0
    return float((hit[seen] / union[seen]).mean())


def pixel_accuracy(matrices: Float[np.ndarray, "n C C"]) -> float:
    """The share of labelled pixels that are taken for what they are.

    Args:
      matrices: of :func:`confusion`.

    Example:
      >>> pixel_accuracy(np.array([[[1., 1.], [0., 2.]]]))
      0.75
    """
    return _ratio(matrices.trace(axis1=1, axis2=2).sum(), matrices.sum())


def depth_sums(
    output: Num[np.ndarray, "n h w"], target: Num[np.ndarray, "n h w"]
) -> Float[np.ndarray, "n 3"]:
    r"""The sums of :math:`|\hat d - d|`, :math:`|\hat d - d| / d` and 1 of every image.

    Args:
      output: depths or inverse depths.
      target: likewise, 0 where there is none.

    Example:
      >>> depth_sums(np.array([[[1., 5., 7.]]]), np.array([[[2., 4., 0.]]])).tolist()
      [[2.0, 0.75, 2.0]]
    """
    _check(np.shape(output), target)
    known = has_label(target, DEPTH)
    target = np.where(known, target, 1).astype(np.float64)
    wrong = np.where(known, np.abs(output - target), 0)
    each = (wrong, wrong / np.abs(target), known)
    return np.stack([_by_image(part).sum(axis=1) for part in each], axis=1)


def absolute_error(sums: Float[np.ndarray, "n 3"]) -> float:
    """The mean distance of a pixel's depth from its label, in the label's unit.

    Args:
      sums: of :func:`depth_sums`.

    Example:
      >>> absolute_error(np.array([[2.0, 0.75, 2.0]]))
      1.0
    """
    return _ratio(sums[:, 0].sum(), sums[:, 2].sum())


def relative_error(sums: Float[np.ndarray, "n 3"]) -> float:
    """The mean distance of a pixel's depth from its label, over the label.

    Args:
      sums: of :func:`depth_sums`.

    Example:
      >>> relative_error(np.array([[2.0, 0.75, 2.0]]))
      0.375
    """
    return _ratio(sums[:, 1].sum(), sums[:, 2].sum())


def angles(
    output: Num[np.ndarray, "n h w 3"],
    target: Num[np.ndarray, "n h w 3"],
    *,
    valid: str = "any",
) -> Float[np.ndarray, "n pixels"]:
    """The angle between the normal of every pixel and its label, in degrees.

    Args:
      output: unit vectors.
      target: unit vectors, (0, 0, 0) where there is none.
      valid: which pixels have a label: ``"any"``, where some component is not 0, or
        ``"sum"``, where their sum is not.

    Returns:
      Single precision, 0 to 180; nan where there is no label, inf where an output with
      a label is not finite.

    Raises:
      UserError: for another word.

    Example:
      >>> up, side = np.array([0., 0., 1.]), np.array([1., 0., 0.])
      >>> found = angles(np.array([[[up, up, up]]]), np.array([[[up, side, 0 * up]]]))
      >>> found.tolist()
      [[0.0, 90.0, nan]]
    """
    expect_one_of("valid", valid, ("any", "sum"))
    _check(np.shape(output), target)
    by_sum = valid == "sum"
    known = target.sum(axis=-1) != 0 if by_sum else has_label(target, NORMALS)
    with np.errstate(invalid="ignore"):  # inf times 0
        cosine = (output.astype(np.float64) * target).sum(axis=-1)
    finite = np.isfinite(cosine)
    cosine = np.clip(np.where(finite, cosine, 0), -1, 1)
    found = np.where(finite, np.degrees(np.arccos(cosine)), np.inf)
    found = np.where(known, found, np.nan)
    return _by_image(found).astype(np.float32)


def mean_angle(found: Float[np.ndarray, "n pixels"]) -> float:
    """The mean angle in degrees; lower is better, 90 is what random directions have.

    Args:
      found: of :func:`angles`.

    Example:
      >>> mean_angle(np.array([[10.0, np.nan], [30.0, 50.0]]))
      30.0
    """
    return _of_known(found, np.mean)


def median_angle(found: Float[np.ndarray, "n pixels"]) -> float:
    """The median angle in degrees.

    Args:
      found: of :func:`angles`.

    Example:
      >>> median_angle(np.array([[10.0, np.nan], [30.0, 80.0]]))
      30.0
    """
    return _of_known(found, np.median)


def share_below(degrees: float) -> Callable[[Rows], float]:
    """The share of pixels whose angle is smaller, in [0, 1]; higher is better.

    Args:
      degrees: the limit; 11.25, 22.5 and 30 are the field's.

    Example:
      >>> share_below(30.0)(np.array([[10.0, np.nan], [30.0, 20.0]])) == 2 / 3
      True
    """
    return lambda found: _of_known(found, lambda known: np.mean(known < degrees))


def by_batches(function: Callable[[Rows], float], size: int) -> Callable[[Rows], float]:
    """The mean of a metric over batches of a split, in place of the metric of all.

    That is what tables of the line of MTAN have of depth and normals: the batches are
    those that the split is read in, of 2 images of NYUv2, of 8 of Cityscapes.

    Args:
      function: of the rows of a statistic.
      size: images in a batch; the last may have fewer.

    Example:
      The first batch has two pixels, the second one:

      >>> sums = np.array([[2.0, 0.5, 2.0], [4.0, 0.5, 1.0]])
      >>> absolute_error(sums), by_batches(absolute_error, 1)(sums)
      (2.0, 2.5)
    """

    def mean(rows: Rows) -> float:
        starts = range(0, len(rows), size)
        return float(np.mean([function(rows[i : i + size]) for i in starts]))

    return mean


PIXEL_METRICS: dict[str, tuple[Metric, ...]] = {
    SEGMENTATION: (
        Metric("miou", True, mean_iou, confusion),
        Metric("pixel_accuracy", True, pixel_accuracy, confusion),
    ),
    DEPTH: (
        Metric("abs_err", False, absolute_error, depth_sums),
        Metric("rel_err", False, relative_error, depth_sums),
    ),
    NORMALS: (
        Metric("angle_mean", False, mean_angle, angles, unit=90.0),
        Metric("angle_median", False, median_angle, angles, unit=90.0),
        Metric("within_11.25", True, share_below(11.25), angles),
        Metric("within_22.5", True, share_below(22.5), angles),
        Metric("within_30", True, share_below(30.0), angles),
    ),
}
"""The metrics of each kind of labels of pixels, in the order of the field's tables."""


def _by_image(pixels: np.ndarray) -> np.ndarray:
    """``[n, h, w]`` as ``[n, pixels]``, also of no image."""
    return pixels.reshape(len(pixels), math.prod(pixels.shape[1:]))


def _ratio(total: float, count: float) -> float:
    """A mean; nan of nothing, or where the sum is not finite."""
    return float(total / count) if count > 0 and np.isfinite(total) else NAN


def _of_known(found: Rows, function: Callable[[np.ndarray], np.floating]) -> float:
    known = found[~np.isnan(found)].astype(np.float64)
    return float(function(known)) if known.size and np.isfinite(known).all() else NAN


def _check(shape: tuple[int, ...], target: np.ndarray) -> None:
    if np.shape(target) != shape:
        raise UserError(
            f"labels of pixels have shape {np.shape(target)}: expected {shape}, as the "
            "outputs have"
        )
