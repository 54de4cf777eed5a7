"""How heavy the tail of a weight matrix's spectrum is: the power-law exponent."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from mtopt.errors import UserError, expect
from mtopt.per_task import PerTask

MIN_EIGENVALUES = 10


class PowerLaw(NamedTuple):
    r"""A density :math:`p(x) \propto x^{-\alpha}` for x of at least ``x_min``.

    Attributes:
      alpha: the exponent, above 1; infinite where no two values differ.
      x_min: where the tail starts, one of the values.
      distance: Kolmogorov and Smirnov's, between the tail and the fit.
      tail: how many values are in the tail.
    """

    alpha: float
    x_min: float
    distance: float
    tail: int

    @property
    def standard_error(self) -> float:
        r"""Of alpha, to first order: :math:`(\alpha - 1) / \sqrt{n}`."""
        return (self.alpha - 1) / self.tail**0.5


class LayerAlpha(NamedTuple):
    """The spectrum of one layer.

    Attributes:
      name: the path of the leaf: ``shared/...``, or ``tasks/NAME/...``.
      alpha: the exponent of its tail.
      distance: Kolmogorov and Smirnov's: a fit with 0.2 is a poor one.
      tail: how many eigenvalues are in the tail.
      eigenvalues: how many there are.
    """

    name: str
    alpha: float
    distance: float
    tail: int
    eigenvalues: int


def fit_power_law(values: Float[np.ndarray, " n"]) -> PowerLaw:
    r"""The power law that the largest values follow best.

    For every candidate :math:`x_{min}` among the values, the exponent of largest
    likelihood on the n values from there on is

    .. math::
       \hat\alpha = 1 + n \Big/ \sum_{x_i \ge x_{min}} \ln \frac{x_i}{x_{min}},

    and the candidate is chosen whose fitted distribution function is nearest to the
    empirical one in the largest difference,

    .. math:: D = \max_{x \ge x_{min}} |S(x) - 1 + (x / x_{min})^{1 - \alpha}|.

    Args:
      values: the sample, in any order, above 0.

    Returns:
      The fit. The time is quadratic in n: 2,000 values take 0.2 s.

    Raises:
      UserError: for values that are not finite or not above 0, or none.

    Example:
      >>> law = fit_power_law((1 - np.arange(0.0005, 1, 0.001)) ** -0.5)
      >>> round(law.alpha, 1), law.tail
      (3.0, 1000)

    References:
      Clauset, Shalizi and Newman, Power-Law Distributions in Empirical Data, 2009,
      arXiv 0706.1062.

    Differences from released code:
      The authors' own compares S on the left of its jumps alone; this on both sides.
    """
    good = values.size > 0 and bool((np.isfinite(values) & (values > 0)).all())
    if not good:
        raise UserError(
            f"{values.size} values, not all finite and above 0: a power law has no "
            "other, leave them out"
        )
    values = np.sort(values.astype(np.float64))
    logs = np.log(values)
    starts = np.unique(values, return_index=True)[1][:-1]
    fits = [_tail(logs, start) for start in starts.tolist()]
    if not fits:
        return PowerLaw(float("inf"), float(values[0]), 1.0, len(values))
    distance, alpha, start = min(fits)
    return PowerLaw(alpha, float(values[start]), distance, len(values) - start)


def power_law_alpha(
    matrix: Float[np.ndarray, "... N M"] | Float[Array, "... N M"],
) -> float:
    r"""The exponent of the eigenvalues of :math:`W^\top W`, as Rep-MTL reports it.

    The spectrum of a trained layer has a tail: 2 is a heavy one, 6 nearly that of a
    random matrix. Eigenvalues are the squared singular values; those that are 0 up to
    rounding are left out. It is blind to the scale of the matrix, and to rotations.

    Args:
      matrix: a dense kernel ``[inputs, outputs]``. Leading axes are matrices of one
        layer whose eigenvalues are put together, so that a convolution ``[height,
        width, inputs, outputs]`` is one matrix for each offset of its kernel.

    Returns:
      Alpha; infinite where no two eigenvalues differ.

    Raises:
      UserError: for a matrix that is 0 or not finite.

    Example:
      >>> round(power_law_alpha(np.diag(np.arange(1., 1001) ** -1.)), 2)
      1.5

    References:
      Martin and Mahoney, Implicit Self-Regularization in Deep Neural Networks: Evidence
      from Random Matrix Theory and Implications for Learning, 2018, arXiv 1810.01075.
      Wang et al., Rep-MTL: Unleashing the Power of Representation-level Task Saliency
      for Multi-Task Learning, 2025, arXiv 2507.21049.

    Differences from released code:
      Rep-MTL has none. Martin's WeightWatcher pools convolutions likewise, and leaves
      out eigenvalues below a fixed size instead of one relative to the largest.
    """
    return fit_power_law(_eigenvalues(matrix)).alpha


def layer_alphas(
    params: Any, *, min_eigenvalues: int = MIN_EIGENVALUES
) -> list[LayerAlpha]:
    """The exponent of every layer of a model.

    Args:
      params: ``{"shared": tree, "tasks": PerTask or groups of them}``; every task's own
        layers are measured apart.
      min_eigenvalues: at least 2. Leaves with fewer are left out, as are those with
        one axis (biases, scales). From 10 eigenvalues an exponent is no more than a
        hint: its relative standard error is a third.

    Returns:
      One row a layer, shared ones first.

    Raises:
      UserError: as :func:`power_law_alpha`.

    Example:
      >>> import jax, mtopt
      >>> kernel = jax.random.normal(jax.random.key(0), (40, 20))
      >>> heads = mtopt.PerTask(jax.numpy.ones((2, 20, 3)), ("a", "b"))
      >>> params = {"shared": {"kernel": kernel, "bias": kernel[0]}, "tasks": heads}
      >>> [(row.name, row.eigenvalues) for row in layer_alphas(params)]
      [('shared/kernel', 20)]
    """
    expect(min_eigenvalues >= 2, "min_eigenvalues", min_eigenvalues, "at least 2")
    rows = []
    for name, leaf in _layers(params):
        count = int(np.prod(leaf.shape[:-2])) * min(leaf.shape[-2:])
        if count < min_eigenvalues:
            continue
        eigenvalues = _eigenvalues(leaf)
        law = fit_power_law(eigenvalues)
        rows.append(
            LayerAlpha(name, law.alpha, law.distance, law.tail, len(eigenvalues))
        )
    return rows


def _tail(logs: np.ndarray, start: int) -> tuple[float, float, int]:
    """Distance, exponent and start of the fit to the values from ``start`` on."""
    over = logs[start:] - logs[start]
    rate = len(over) / over.sum()
    fitted = -np.expm1(-rate * over)
    steps = np.arange(len(over) + 1) / len(over)
    distance = max(np.abs(fitted - steps[:-1]).max(), np.abs(fitted - steps[1:]).max())
    return float(distance), float(1 + rate), start


def _eigenvalues(matrix: Any) -> Float[np.ndarray, " n"]:
    """Squared singular values of all the matrices, without those that are 0."""
    matrix = np.asarray(matrix).astype(np.float64)
    if not (matrix.any() and np.isfinite(matrix).all()):
        raise UserError(
            f"a matrix {list(matrix.shape)} is all 0 or not finite: it has no spectrum "
            "to fit"
        )
    singular = np.linalg.svd(matrix, compute_uv=False).ravel()
    rounding = max(matrix.shape[-2:]) * np.finfo(np.float32).eps
    return singular[singular > rounding * singular.max()] ** 2


def _layers(params: Any) -> list[tuple[str, Any]]:
    """Path and array of every leaf that is a matrix or several."""

    def paths(prefix: str, tree: Any) -> Iterator[tuple[str, Any]]:
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            inside = jax.tree_util.keystr(path, simple=True, separator="/")
            if leaf.ndim >= 2:
                yield f"{prefix}/{inside}".rstrip("/"), leaf

    groups = jax.tree.leaves(
        params["tasks"], is_leaf=lambda node: isinstance(node, PerTask)
    )
    heads = sorted(
        (name, own) for group in groups for name, own in group.by_name().items()
    )
    found = [*paths("shared", params["shared"])]
    for name, own in heads:
        found += paths(f"tasks/{name}", own)
    return found
