"""Quadratic tasks, and what their gradients are, written out."""

import dataclasses

import jax.numpy as jnp
import numpy as np

import mtopt
from tests.helpers.updates import KEY

NAMES = ("a", "b", "c")


D, H, B = 4, 2, 6


def repeat(shared, x, key):
    del key
    return jnp.broadcast_to(shared[None], (len(x), len(shared)))


def quadratic(head, z, y, mask, key):
    del key
    own = jnp.broadcast_to(head[None], (len(z), len(head)))
    u = jnp.concatenate([z, own], axis=1)
    curved = 0.5 * jnp.einsum("bi,bij,bj->b", u, y["curve"], u, precision="highest")
    return mtopt.masked_mean(curved + jnp.sum(y["line"] * u, axis=1) + y["at"], mask)


@dataclasses.dataclass(frozen=True)
class Quadratics:
    """Losses u'Cu/2 + l'u + c, u the shared and the task's own parameters."""

    curve: np.ndarray
    line: np.ndarray
    at: np.ndarray
    shared: np.ndarray
    own: np.ndarray

    @property
    def points(self):
        return np.concatenate([np.tile(self.shared, (len(self.own), 1)), self.own], 1)

    def grads(self, points):
        return np.einsum("kij,kj->ki", self.curve, points) + self.line

    def sam(self, moves):
        return self.grads(self.points + moves)

    def only(self, tasks):
        return Quadratics(
            self.curve[tasks],
            self.line[tasks],
            self.at[tasks],
            self.shared,
            self.own[tasks],
        )

    @property
    def labels(self):
        def per_sample(array):
            return jnp.asarray(np.repeat(array[:, None], B, axis=1))

        return {n: per_sample(getattr(self, n)) for n in ("curve", "line", "at")}

    def problem(self, present=None):
        num_tasks = len(self.own)
        mask = np.ones((num_tasks, B), bool)
        if present is not None:
            mask &= np.asarray(present)[:, None]
        tasks = mtopt.Tasks(NAMES[:num_tasks], repeat, quadratic)
        own = mtopt.PerTask(jnp.asarray(self.own), tasks.names)
        params = {"shared": jnp.asarray(self.shared), "tasks": own}
        batch = mtopt.Batch(jnp.zeros(B), self.labels, jnp.asarray(mask))
        return tasks.problem(batch, KEY), params


def random_quadratics(num_tasks=3, seed=0):
    rng = np.random.default_rng(seed)
    n = D + H
    root = rng.normal(size=(num_tasks, n, n))
    curve = np.einsum("kij,klj->kil", root, root) / n
    centre = rng.normal(size=(num_tasks, n))
    line = -np.einsum("kij,kj->ki", curve, centre)
    at = 0.1 - 0.5 * np.einsum("ki,ki->k", line, centre)  # losses from 0.1 on
    shared, own = rng.normal(size=D), rng.normal(size=(num_tasks, H))
    return Quadratics(curve, line, at, shared, own)


def paper_quadratics():
    """L_1 = (3x^2 + y^2)/2 and L_2 = (x^2 + 2y^2)/2 - 5x - 5y, at (1, 4)."""
    curve = np.zeros((2, 3, 3))
    curve[0, :2, :2], curve[1, :2, :2] = np.diag([3.0, 1.0]), np.diag([1.0, 2.0])
    line = np.array([[0.0, 0.0, 0.0], [-5.0, -5.0, 0.0]])
    return Quadratics(curve, line, np.zeros(2), np.array([1.0, 4.0]), np.zeros((2, 1)))


def moves_of(points, towards, *, rho=None, separate=None, adaptive=False):
    """The displacement of every task, written out; rho is a number or [K]."""
    size = np.abs(points) if adaptive else np.ones_like(points)
    measured = size * towards
    parts = [slice(0, D), slice(D, None)] if separate else [slice(None)]
    moves = np.zeros_like(points)
    for part, radius in zip(parts, separate or [rho], strict=True):
        length = np.linalg.norm(measured[:, part], axis=1)
        scale = np.broadcast_to(radius, length.shape) / length
        moves[:, part] = scale[:, None] * (size * measured)[:, part]
    return moves


def joined(tree):
    """Rows and head gradients of quadratics side by side, ``[K, D + H]``."""
    return np.concatenate([tree["shared"], tree["tasks"].values], axis=1)
