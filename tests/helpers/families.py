"""Families of gradients that break solvers, as in TorchJD's suite."""

import numpy as np

SCALES = (0.0, 1e-10, 1e3, 1e5, 1e10, 1e15)
SHAPES = {
    (1, 1): (1,),
    (4, 3): (1, 2, 3),
    (4, 6): (1, 2, 4),
    (9, 11): (5, 9),
    (20, 10): (1, 5, 10),
    (20, 100): (1, 19),
}


def orthogonal(rng, size, count):
    return np.linalg.qr(rng.normal(size=(size, count)))[0]


def of_rank(rng, shape, rank, orthogonal_to=None):
    """Random rows of this rank, their left space orthogonal to a vector."""
    left = rng.normal(size=(shape[0], rank))
    if orthogonal_to is not None:
        unit = orthogonal_to / np.linalg.norm(orthogonal_to)
        left = left - np.outer(unit, unit @ left)
    left = np.linalg.qr(left)[0]
    return left * np.abs(rng.normal(size=rank)) @ orthogonal(rng, shape[1], rank).T


def family(shape):
    """All samples of a shape ``[n, K, D]``."""
    rng = np.random.default_rng(0)
    samples = [np.zeros(shape)]
    for rank in SHAPES[shape]:
        samples.append(of_rank(rng, shape, rank))
        if shape[0] > 2 and rank < shape[0]:
            positive = rng.uniform(0.1, 1, size=shape[0])
            samples.append(of_rank(rng, shape, rank, positive))  # strongly stationary
            some = positive * (np.arange(shape[0]) < shape[0] // 2)
            samples.append(of_rank(rng, shape, rank, some))  # weakly stationary
    scaled = [scale * sample for sample in samples[1:] for scale in SCALES]
    return np.stack(samples + scaled)
