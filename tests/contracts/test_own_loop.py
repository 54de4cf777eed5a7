"""A loop of one's own costs what the step costs, without further arguments."""

import functools

import jax
import numpy as np
import optax

import mtopt
from tests.helpers import problems
from tests.helpers.methods import SOME, make, over

K = 8
# Large enough that drawing keys and counting labels are nothing beside the model.
TASKS, PARAMS, BATCH = problems.classification(K, 128, 1024, (512,), 10, None)
# What they weigh by takes no backward pass of its own, and no second forward pass.
SCALARIZERS = {
    *("cosmos_scalarization", "dynamic_weight_average", "equal_weighting"),
    *("fixed_weighting", "geometric_loss", "go4align", "imtl_l", "pbi"),
    *("improvable_gap_balancing", "ldc", "random_loss_weighting", "scale_invariant"),
    *("single_task", "smooth_tchebycheff", "smooth_tchebycheff_warmup", "tchebycheff"),
    "uncertainty_weighting",
}


def flops(compiled):
    return compiled.cost_analysis()["flops"]


def own_loop(tx):
    """The README's, as one program."""

    def update(params, opt_state, batch, key):
        evaluation = TASKS.problem(batch, key).evaluate(params)
        updates, opt_state = tx.update(
            evaluation.gradients, opt_state, params, evaluation=evaluation
        )
        return optax.apply_updates(params, updates), opt_state, evaluation.losses

    return jax.jit(update)


@functools.cache
def plain_flops():
    """jax.grad of the mean loss, and a step of SGD with it."""

    def losses(params):
        z = problems.encode(params["shared"], BATCH.x, None)
        return jax.vmap(
            lambda head, y, mask: problems.classify(head, z, y, mask, None)
        )(params["tasks"].values, BATCH.y, BATCH.mask)

    @jax.jit
    def update(params):
        gradient = jax.grad(lambda params: losses(params).mean())(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)

    return flops(update.lower(PARAMS).compile())


# The others are compiled twice for what their kind shows already.
@over(mtopt.METHODS, slow=set(mtopt.METHODS) - SOME - {"equal_weighting"})
def test_it_costs_what_the_step_costs(name):
    tx = mtopt.chain(make(name, K), optax.sgd(0.1))
    key = jax.random.key(0)
    state = mtopt.TrainState.create(PARAMS, tx, key)
    step = mtopt.make_train_step(TASKS, tx).lower(state, BATCH).compile()
    own = own_loop(tx).lower(PARAMS, state.opt_state, BATCH, key).compile()
    assert flops(own) <= 1.005 * flops(step)
    if name in SCALARIZERS:
        assert flops(own) <= 1.005 * plain_flops()


@over(["equal_weighting", "mgda"], slow={"mgda"})
def test_without_the_evaluation_a_method_of_gradients_sums_rows(name):
    """The same update, at the cost of K passes."""
    tx = make(name, K)

    @jax.jit
    def norms(params, batch):
        seen = TASKS.problem(batch, jax.random.key(0)).evaluate(params)
        state = tx.init(params)
        known, _ = tx.update(seen.gradients, state, params, evaluation=seen)
        plain, _ = tx.update(seen.gradients, state, params)
        return optax.tree.norm(optax.tree.sub(known, plain)), optax.tree.norm(known)

    gap, size = norms(PARAMS, BATCH)
    assert float(gap) <= 1e-6 * float(size)


def test_a_loop_without_a_key_draws_by_that_of_the_problem():
    """The same numbers for one seed, others for another, as in a step."""
    tx = mtopt.random_loss_weighting(3)
    tasks, params, batch = problems.classification(3, 4, 5, (4,), 2, None)

    @jax.jit
    def weights(key):
        seen = tasks.problem(batch, key).evaluate(params)
        return tx.update(seen.gradients, tx.init(params), evaluation=seen)[1].weights

    first, again, other = (weights(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
