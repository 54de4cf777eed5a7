"""Weights by NumPy, for the loop that takes one task's loss back after another.

That loop is how libraries on PyTorch without an engine of their own balance gradients,
LibMTL's from its description: K backward passes, K flat vectors, a solve on the CPU.
"""

from collections.abc import Callable

import numpy as np

MAX_STEPS = 250
TOLERANCE = 1e-5


def frank_wolfe(gramian: np.ndarray) -> np.ndarray:
    r"""Min-norm weights, as the paper of MGDA for deep networks solves for them.

    Steps towards the task of least product with the direction, each as long as is best
    between the two. Sener and Koltun, Multi-Task Learning as Multi-Objective
    Optimization, 2018, arXiv 1810.04650, algorithm 2.

    Args:
      gramian: ``[K, K]``.

    Example:
      >>> frank_wolfe(np.array([[1., 0.], [0., 3.]])).round(3).tolist()
      [0.75, 0.25]
    """
    weights = np.full(len(gramian), 1 / len(gramian))
    for _ in range(MAX_STEPS):
        products = gramian @ weights
        towards = int(products.argmin())
        length = weights @ products
        apart = length - 2 * products[towards] + gramian[towards, towards]
        if apart <= 0:
            break
        step = np.clip((length - products[towards]) / apart, 0, 1)
        weights = (1 - step) * weights
        weights[towards] += step
        if step < TOLERANCE:
            break
    return weights


RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mgda": frank_wolfe,
}
"""Method of ours, as text, to its weights."""
