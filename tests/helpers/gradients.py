"""Gradients of several tasks, and their angles with a direction."""

import numpy as np


def rows(num_tasks, size, seed=0, mean=0.0):
    """Plain numpy, float64, of lengths that differ by tasks."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.normal(size=(num_tasks, 1)))
    return lengths * (rng.normal(size=(num_tasks, size)) + mean)


def cosines(jacobian, direction):
    jacobian = np.asarray(jacobian)
    norms = np.linalg.norm(jacobian, axis=1) * np.linalg.norm(direction)
    return jacobian @ direction / norms


def normal_rows(num_tasks, size, seed=0):
    return np.random.default_rng(seed).normal(size=(num_tasks, size)).astype("float32")
