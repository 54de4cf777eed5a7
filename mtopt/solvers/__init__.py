"""The K x K solves of the field, in the graph: interior points, fixed work.

A method that weighs K tasks by their Gramian G = J J^T needs the minimiser of a
small convex function, in float32, under ``jit`` and ``vmap``, for row norms
that differ by many powers of ten and rows that repeat or depend on each other.
Three choices make that work:

* **Scaling.** With s_k about 1 / ``|g_k|``, the solve sees the correlation matrix
  C = diag(s) G diag(s), whose diagonal is about one whatever the scale of the
  losses. With s_k a power of two, scaling rounds nothing.
* **A row of ones.** min w^T G w on the simplex has the same minimising direction
  as min w^T G w + tau (sum w - 1)^2 on w >= 0, for every tau > 0: along t w the
  best t leaves tau n / (tau + n), which grows with n = w^T G w. Bounds are then
  the only constraints, and the minimiser stays bounded when the optimum is zero.
* **Interior point.** Its work does not depend on the conditioning, and its path
  is unique where the minimiser is not. What it replaces stops short in float32:
  Frank-Wolfe zigzags and closes the gap as 1 / iterations; projected and
  coordinate descent crawl along the valleys of dependent rows; pivoting between
  active sets cycles when a set of active rows is singular.
"""

from mtopt.solvers.bargaining import bargaining_residual as bargaining_residual
from mtopt.solvers.bargaining import bargaining_weights as bargaining_weights
from mtopt.solvers.conflict_averse import (
    conflict_averse_weights as conflict_averse_weights,
)
from mtopt.solvers.dual_cone import dual_cone_projections as dual_cone_projections
from mtopt.solvers.min_norm import min_norm_weights as min_norm_weights
from mtopt.solvers.nonnegative_qp import nonnegative_qp as nonnegative_qp
from mtopt.solvers.nonnegative_qp import (
    nonnegative_qp_residual as nonnegative_qp_residual,
)
