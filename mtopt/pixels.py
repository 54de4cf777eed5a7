r"""Labels of pixels: their kinds, and which pixels have one.

Every pixel has a label of its own, or none: sensors leave holes, annotators leave
borders. What stands for none is what the field's files have:

================ ======================================== =========
kind             label of a pixel                         none
================ ======================================== =========
``segmentation`` a class, 0 to C - 1                      -1
``depth``        a number above 0, a distance or its      0
                 inverse
``normals``      a unit vector                            (0, 0, 0)
================ ======================================== =========

Released codes since Liu et al. (2019, arXiv 1803.10704) take a pixel for one without a
normal where the *sum* of its components is 0, which leaves out valid ones such as
:math:`(1, -1, 0) / \sqrt 2`; here all three must be 0.
"""

from typing import Any

import numpy as np
from jaxtyping import Array, Float, Num

from mtopt.errors import UserError

SEGMENTATION, DEPTH, NORMALS = "segmentation", "depth", "normals"
NO_LABEL = {SEGMENTATION: -1, DEPTH: 0, NORMALS: 0}
"""Kind to what stands for no label, in each component."""
PIXELS = tuple(NO_LABEL)
"""Kinds of labels of pixels."""
LENGTHS = "vectors of length 1, or (0, 0, 0) for none"
ROUNDING = 0.01
"""How much longer than 1 half precision may make a vector."""


def has_label(labels: Num[Array | np.ndarray, "..."], kind: str) -> Any:
    """Which pixels have a label.

    Args:
      labels: classes or depths ``[..., h, w]``, normals ``[..., h, w, 3]``, of NumPy or
        JAX.
      kind: an entry of :data:`PIXELS`.

    Returns:
      Booleans ``[..., h, w]``, of NumPy or JAX as the labels.

    Example:
      >>> has_label(np.array([[-1, 0, 2]]), "segmentation").tolist()
      [[False, True, True]]
      >>> has_label(np.array([[[1., -1., 0.], [0., 0., 0.]]]), "normals").tolist()
      [[True, False]]
    """
    if kind == SEGMENTATION:
        return labels >= 0
    known = labels != 0
    return known.any(axis=-1) if kind == NORMALS else known


def unit_normals(
    vectors: Num[np.ndarray, "*lead 3"], what: str
) -> Float[np.ndarray, "*lead 3"]:
    """Normals at length 1, or 0 where there is none.

    Args:
      vectors: of lengths up to 1: interpolation shortens them, and makes none longer.
      what: has them, for the message.

    Raises:
      UserError: for a longer one.

    Example:
      >>> unit_normals(np.array([[0.0, 0.5, 0.0], [0.0, 0.0, 0.0]]), "it").tolist()
      [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    length = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    if not (length <= 1 + ROUNDING).all():
        raise UserError(
            f"{what} has a vector of length {np.max(length):.4g}: expected {LENGTHS}"
        )
    return vectors / np.where(length > 0, length, 1)
