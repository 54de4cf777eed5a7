"""The projection on the simplex, slow and obviously right."""

import numpy as np


def nearest_on_simplex(values):
    """The projection by trying every support."""
    best = None
    for bits in range(1, 2 ** len(values)):
        chosen = np.array([bits >> k & 1 for k in range(len(values))], bool)
        shifted = values + (1 - values[chosen].sum()) / chosen.sum()
        point = np.where(chosen, shifted, 0)
        distance = np.sum((point - values) ** 2)
        if point.min() >= 0 and (best is None or distance < best[0]):
            best = distance, point
    return best[1]
