"""The toy problem in two dimensions on which multi-task optimizers are drawn."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from mtopt.batch import Batch
from mtopt.errors import UserError
from mtopt.per_task import PerTask
from mtopt.problem import Params
from mtopt.tasks import Tasks

NAMES = ("L1", "L2")
LOWER = 5e-6

STARTS = {
    "nash_mtl": ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0)),
    "cagrad": ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0)),
}
"""Where papers start: Nash-MTL and FAMO with ``scale=0.1``, CAGrad with 1."""


def toy_tasks(scale: float = 0.1) -> Tasks:
    r"""Two losses of one point in the plane, with a narrow valley between them.

    .. math::
       f_1 &= \log \max(|-x_1/2 - 7/2 - \tanh(-x_2)|, 5 \cdot 10^{-6}) + 6 \\
       f_2 &= \log \max(|-x_1/2 + 3/2 + \tanh(-x_2) + 2|, 5 \cdot 10^{-6}) + 6 \\
       q_1 &= ((7 - x_1)^2 + 0.1 (x_2 + 8)^2) / 10 - 20 \\
       q_2 &= ((7 + x_1)^2 + 0.1 (x_2 + 8)^2) / 10 - 20 \\
       L_1 &= s (f_1 c_1 + q_1 c_2), \qquad L_2 = f_2 c_1 + q_2 c_2

    with :math:`c_1 = \max(h, 0)`, :math:`c_2 = \max(-h, 0)`, :math:`h = \tanh(x_2/2)`.
    Where a maximum is a tie, as at the start (0, 0), its derivative is that of the
    first argument: torch's ``clamp`` has it so.

    Args:
      scale: the s of the first loss: 1 in CAGrad's experiments, 0.1 in those of
        Nash-MTL and FAMO, which make the first task the smaller one.

    Returns:
      Tasks ``L1`` and ``L2``; see :func:`toy_params` and :func:`toy_batch`. They are
      trained with Adam at a learning rate of 1e-3, 50,000 steps.

    Raises:
      UserError: for a scale that is not positive.

    Example:
      >>> import jax
      >>> problem = toy_tasks().problem(toy_batch(), jax.random.key(0))
      >>> losses, grads = jax.jit(problem.losses_and_grads)(toy_params((0.0, -8.0)))
      >>> [round(float(loss), 3) for loss in losses], grads["shared"].shape
      ([-1.509, -15.09], (2, 2))

    References:
      Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning, 2021,
      arXiv 2110.14048. With five starts: Navon et al., Multi-Task Learning as a
      Bargaining Game, 2022, arXiv 2202.01017.
    """
    if scale <= 0:
        raise UserError(f"scale is {scale}: expected a positive number (1 or 0.1)")

    def encode(
        shared: Float[Array, " 2"], x: Any, key: PRNGKeyArray
    ) -> Float[Array, "1 2"]:
        del x, key
        return shared[None]

    def head_loss(
        head: dict[str, Array],
        z: Float[Array, "1 2"],
        y: Int[Array, "1"],
        mask: Bool[Array, "1"],
        key: Array,
    ) -> Float[Array, ""]:
        del head, mask, key
        first, second = losses(z[0], scale)
        return jnp.where(y[0] == 0, first, second)

    return Tasks(NAMES, encode, head_loss)


def losses(
    x: Float[Array, "2"], scale: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The two losses at one point; see :func:`toy_tasks`."""
    x1, x2 = x
    f1 = jnp.log(_clamp(jnp.abs(0.5 * (-x1 - 7) - jnp.tanh(-x2)), LOWER)) + 6
    f2 = jnp.log(_clamp(jnp.abs(0.5 * (-x1 + 3) + jnp.tanh(-x2) + 2), LOWER)) + 6
    q1 = ((-x1 + 7) ** 2 + 0.1 * (-x2 - 8) ** 2) / 10 - 20
    q2 = ((-x1 - 7) ** 2 + 0.1 * (-x2 - 8) ** 2) / 10 - 20
    c1 = _clamp(jnp.tanh(0.5 * x2), 0.0)
    c2 = _clamp(jnp.tanh(-0.5 * x2), 0.0)
    return scale * (f1 * c1 + q1 * c2), f2 * c1 + q2 * c2


def toy_params(point: Sequence[float] | np.ndarray | Array) -> Params:
    """Parameters at one point: ``shared`` is it, the tasks have none of their own.

    Args:
      point: (x1, x2), e.g. one of :data:`STARTS`.
    """
    return {"shared": jnp.asarray(point, float), "tasks": PerTask({}, NAMES)}


def toy_batch() -> Batch:
    """The one batch there is; its labels say which loss a task has."""
    return Batch(
        jnp.zeros((1,)), jnp.arange(2, dtype=jnp.int32)[:, None], jnp.ones((2, 1), bool)
    )


def pareto_front(num: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Points no loss of which can be lowered without raising the other.

    In the lower half-plane :math:`L_i = c \, q_i` with :math:`c = -\tanh(x_2 / 2)`. The
    minimiser of :math:`w L_1 + (1 - w) L_2` has :math:`x_1 = 14 w - 7` and, with
    :math:`m = 19.6 \, w (1 - w)`, the :math:`x_2 = u - 8` where

    .. math:: u = -\frac{(1 - c^2) (20 - m - u^2 / 100)}{c / 25}

    which is a contraction. The points do not depend on the scale of a loss.

    Args:
      num: the number of points, at least 2.

    Returns:
      The points ``[num, 2]`` from :math:`x_1 = -7` (best for L2) to 7 (best for L1),
      and their two losses with ``scale=1``, ``[num, 2]``; both float64.

    Example:
      >>> points, values = pareto_front(3)
      >>> points.round(3).tolist()
      [[-7.0, -8.434], [0.0, -8.355], [7.0, -8.434]]
    """
    w = np.linspace(0, 1, num)
    m = 19.6 * w * (1 - w)
    u = np.zeros(num)
    for _ in range(100):
        c = np.tanh((8 - u) / 2)
        u = -(1 - c**2) * (20 - m - u**2 / 100) / (c / 25)
    points = np.stack([14 * w - 7, u - 8], axis=1)
    distance = (points[:, :1] - np.array([7, -7])) ** 2 + 0.1 * u[:, None] ** 2
    return points, c[:, None] * (distance / 10 - 20)


def _clamp(value: Float[Array, ""], low: float) -> Float[Array, ""]:
    """The maximum; at equality the derivative is that of ``value``."""
    return jnp.where(value >= low, value, low)
