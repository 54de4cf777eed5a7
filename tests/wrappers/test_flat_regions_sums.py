"""The two parts of F-MTL: the sum of what the aggregator makes of each, however."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.evaluation import split
from mtopt.transforms.perturbed import make_ball, sam_gradients
from tests.helpers import problems
from tests.helpers.methods import make

TASKS, PARAMS, BATCH = problems.classification(3, 12, 6, (8,), 4, None)
RHO = 0.3
# Weights pulled back, weights of a Gramian, rows of their own making, other losses.
AGGREGATORS = {
    name: make(name, 3)
    for name in (
        *("equal_weighting", "scale_invariant", "mgda", "excess_mtl"),
        *("bloop", "db_mtl", "graddrop", "moco", "trimmed_mean"),
    )
}
AGGREGATORS |= {
    "log_losses(equal_weighting)": mtopt.log_losses(mtopt.equal_weighting(3)),
    "log_losses(mgda)": mtopt.log_losses(mtopt.mgda(3)),
    "smoothed_weights(mgda)": mtopt.smoothed_weights(mtopt.mgda(3)),
}


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("task_weights", [None, (0.5, 1.0, 2.0)])
def test_the_direction_is_the_sum_of_what_is_made_of_both_parts(name, task_weights):
    tx = AGGREGATORS[name]
    wrapped = mtopt.flat_regions(tx, rho=RHO, heads="aggregator")

    @jax.jit
    def both(params):
        seen = TASKS.problem(BATCH, jax.random.key(1)).evaluate(params)
        weights = None if task_weights is None else jnp.array(task_weights)
        known = seen.replace(task_weights=weights)
        found, _ = wrapped.update(
            seen.gradients, wrapped.init(params), params, evaluation=known
        )
        ball = make_ball(RHO, None, None, False, "vmap")
        towards = {"shared": seen.rows, "tasks": seen.heads}
        _, sam = sam_gradients(seen.problem, params, towards, ball)
        flat = jax.tree.map(jnp.subtract, sam["shared"], seen.rows)
        keys = seen.key, jax.random.fold_in(seen.key, 1)
        parts = []
        for rows, key in zip((seen.rows, flat), keys, strict=True):
            plain = mtopt.Evaluation(losses=seen.losses, key=key, task_weights=weights)
            part, _ = tx.update(rows, tx.init(params["shared"]), evaluation=plain)
            parts.append(part)
        return split(found)[0], jax.tree.map(jnp.add, *parts)

    found, expected = both(PARAMS)
    for leaf, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        size = np.abs(other).max()
        np.testing.assert_allclose(leaf, other, rtol=0, atol=1e-4 * size)
