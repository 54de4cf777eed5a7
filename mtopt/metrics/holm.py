"""Several tests at once, at one error rate: Holm's step-down correction."""

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from mtopt.errors import UserError


def holm(p_values: npt.ArrayLike) -> Float[np.ndarray, " m"]:
    r"""P-values that count for how many there are.

    Of m tests at the level α, one finds something by chance alone in up to m α of all
    studies. Those whose corrected p-value is at most α find anything by chance in at
    most α of them, however the tests depend on each other. In ascending order,

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min\{1, (m - j + 1) \, p_{(j)}\}

    Args:
      p_values: those of the m tests, in [0, 1]; nan for one that could not be made,
        which is not counted.

    Returns:
      The corrected ones in the same order, none below its own; nan stays.

    Raises:
      UserError: for more than one axis, or a number outside of [0, 1].

    Example:
      >>> holm([0.04, 0.01, 0.03, float("nan")])
      array([0.06, 0.03, 0.06,  nan])

    Source:
      Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian
      Journal of Statistics 6, 1979.
    """
    p_values = np.asarray(p_values, float)
    tested = ~np.isnan(p_values)
    some = p_values[tested]
    if p_values.ndim != 1 or ((some < 0) | (some > 1)).any():
        raise UserError(
            f"p_values is {p_values.tolist()}: expected a row of numbers from 0 to 1"
        )
    order = np.argsort(some)
    steps = np.arange(len(some), 0, -1) * some[order]
    corrected = np.full(p_values.shape, np.nan)
    corrected[np.flatnonzero(tested)[order]] = np.maximum.accumulate(
        np.minimum(steps, 1)
    )
    return corrected
