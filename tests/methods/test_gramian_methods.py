"""What holds for all rules on the Gramian, whatever the gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.methods.aligned_mtl import aligned_mtl
from mtopt.methods.conflict_free import conflict_free
from mtopt.methods.gradcraft import gradcraft
from mtopt.methods.gradvac import gradvac
from mtopt.methods.imtl_g import imtl_g
from mtopt.methods.krum import krum
from mtopt.methods.pcgrad import pcgrad
from tests.helpers.gradients import rows

METHODS = {
    "pcgrad": pcgrad,
    "gradvac": gradvac,
    "imtl_g": imtl_g,
    "aligned_mtl": aligned_mtl,
    "conflict_free": conflict_free,
    "gradcraft": gradcraft,
    "krum": krum,
}


every_method = pytest.mark.parametrize("name", sorted(METHODS))


@every_method
def test_gradients_that_differ_depend_repeat_or_vanish_stay_finite(name):
    """Float32, norms over 20 decades; the rules see one shape, compiled once."""
    base = rows(5, 6)
    near = base[0] + 1e-7 * base
    awkward = np.stack(
        [
            base * 10.0 ** np.array([[-10], [-3], [0], [5], [10]]),
            np.tile(base[:1], (5, 1)),
            base[:1] * np.array([[1], [1], [-1], [-2], [0]]),
            base * np.array([[1], [0], [0], [1], [1]]),
            np.zeros((5, 6)),
            near,
            near * np.array([[1], [-1], [1], [-1], [1]]),
            1e15 * base,
            1e-10 * base,
        ]
    )
    tx = METHODS[name](5)

    @jax.jit
    def update(jacobian, state, present):
        return tx.update(jacobian, state, present=present)

    state = tx.init(jnp.zeros(6))
    for jacobian in awkward:
        for present in (np.ones(5, bool), np.arange(5) > 1, np.zeros(5, bool)):
            direction, state = update(
                jnp.asarray(jacobian, jnp.float32), state, jnp.asarray(present)
            )
            for leaf in jax.tree.leaves((direction, state)):
                assert np.isfinite(leaf).all()
            assert present.any() or not direction.any()
            # Nothing may be amplified: the step is of the size of the gradients.
            largest = np.linalg.norm(jacobian[present], axis=1).max(initial=0)
            assert np.linalg.norm(direction) <= 25 * largest
