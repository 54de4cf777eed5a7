"""Linear programs on the simplex by HiGHS, the reference."""

import numpy as np
import scipy.optimize


def best(objective, matrix, bounds):
    """The reference: HiGHS in float64, None where nothing satisfies the bounds."""
    result = scipy.optimize.linprog(
        -objective,
        A_ub=-matrix,
        b_ub=-bounds,
        A_eq=np.ones((1, len(objective))),
        b_eq=[1],
    )
    return result.x if result.status == 0 else None
