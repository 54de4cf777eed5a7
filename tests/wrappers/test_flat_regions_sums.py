"""The two parts of F-MTL: the sum of what the aggregator makes of each, however."""

import functools

import jax
import jax.numpy as jnp
import pytest

import mtopt
from mtopt.evaluation import split
from mtopt.points import Point
from mtopt.transforms.perturbed import gradients_at, make_ball, perturbed_point
from tests.helpers import problems
from tests.helpers.close import assert_close
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
    "log_losses(imtl_g)": mtopt.log_losses(mtopt.imtl_g(3)),
    "log_losses(mgda)": mtopt.log_losses(mtopt.mgda(3)),
    "smoothed_weights(mgda)": mtopt.smoothed_weights(mtopt.mgda(3)),
}


FEW = ("equal_weighting", "mgda", "bloop", "db_mtl", "graddrop", "log_losses(imtl_g)")
WEIGHTS = (0.5, 1.0, 2.0)


@functools.cache
def both(names, task_weights):
    """What flat_regions makes of aggregators, and the sum: passes are compiled once."""
    weights = None if task_weights is None else jnp.array(task_weights)

    @jax.jit
    def all_of_them(params):
        seen = TASKS.problem(BATCH, jax.random.key(1)).evaluate(params)
        known = seen.replace(task_weights=weights)
        ball = make_ball(RHO, None, None, False, "vmap")
        there = perturbed_point(Point(params), seen.gradients, ball)
        sam = gradients_at(seen.problem, there, seen)
        flat = jax.tree.map(jnp.subtract, sam.rows, seen.rows)
        keys = seen.key, jax.random.fold_in(seen.key, 1)
        answers = {}
        for name in names:
            tx = AGGREGATORS[name]
            wrapped = mtopt.flat_regions(tx, rho=RHO, heads="aggregator")
            found, _ = wrapped.update(
                seen.gradients, wrapped.init(params), params, evaluation=known
            )
            parts = []
            for rows, key in zip((seen.rows, flat), keys, strict=True):
                plain = mtopt.Evaluation(
                    losses=seen.losses, key=key, task_weights=weights
                )
                part, _ = tx.update(rows, tx.init(params["shared"]), evaluation=plain)
                parts.append(part)
            answers[name] = split(found)[0], jax.tree.map(jnp.add, *parts)
        return answers

    return all_of_them(PARAMS)


def cases():
    """By default some with task weights; of these there is one program."""
    for name in AGGREGATORS:
        for task_weights in (None, WEIGHTS):
            few = name in FEW and task_weights == WEIGHTS
            names = FEW if few else (name,)
            marks = () if few else pytest.mark.slow
            label = f"{name}-{'plain' if task_weights is None else 'weighted'}"
            yield pytest.param(name, names, task_weights, id=label, marks=marks)


@pytest.mark.parametrize(("name", "names", "task_weights"), list(cases()))
def test_the_direction_is_the_sum_of_what_is_made_of_both_parts(
    name, names, task_weights
):
    assert_close(*both(names, task_weights)[name], rtol=1e-4)
