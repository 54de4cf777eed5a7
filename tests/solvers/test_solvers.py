"""What holds for several solvers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.solvers import (
    bargaining_weights,
    conflict_averse_weights,
    dual_cone_projections,
)
from tests.helpers.gramians import gramians, unit_rows


@pytest.mark.parametrize(
    "function",
    [bargaining_weights, lambda gramian: conflict_averse_weights(gramian, 0.5)],
)
def test_bad_input_is_told(function):
    with pytest.raises(UserError, match=r"bfloat16\[2, 2\]; expected float32"):
        function(jnp.eye(2, dtype=jnp.bfloat16))


def test_finite_whatever_the_matrix():
    """Indefinite, huge, tiny and contradictory matrices still give finite weights."""
    rng = np.random.default_rng(0)
    rough = gramians(8, "float32").astype(jnp.bfloat16).astype(np.float32)
    stack = [
        *rough,
        np.full((8, 8), 3e38),
        np.full((8, 8), 1e-42),
        -np.eye(8),
        rng.normal(size=(8, 8)),
    ]

    def every(gramian):
        return jnp.concatenate(
            [
                bargaining_weights(gramian),
                bargaining_weights(gramian, alpha=2.0),
                dual_cone_projections(unit_rows(gramian)).ravel(),
            ]
        )

    found = jax.jit(jax.vmap(every))(jnp.asarray(np.stack(stack), jnp.float32))
    assert bool(jnp.all(jnp.isfinite(found) & (found >= 0)))
