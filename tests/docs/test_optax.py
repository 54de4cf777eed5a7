"""What ``docs/optax.md`` says does not work, or works otherwise than one may think."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers.pages import DOCS, run


@pytest.fixture(scope="module")
def page():
    """The names that the page's first block defines."""
    return run(DOCS / "optax.md", first=1)


def adam_after(method):
    return mtopt.chain(method, optax.adam(1e-2))


AROUND = {
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 4).gradient_transformation(),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "lookahead": lambda tx: optax.lookahead(tx, 5, 0.5),
    "sam": lambda tx: optax.contrib.sam(tx, optax.sgd(0.05)),
}


@pytest.mark.parametrize("name", AROUND)
def test_what_cannot_stand_around_a_chain_names_the_form_that_works(page, name):
    works = {
        "MultiSteps": "micro_batches=4",
        "apply_if_finite": "on_nonfinite",
        "lookahead": "behind the aggregator",
        "sam": "per_task_sam",
    }
    with pytest.raises(mtopt.UserError, match=rf"optax's {name}.*{works[name]}"):
        page["train"](AROUND[name](adam_after(mtopt.mgda(2))))


def test_a_search_along_the_update_names_the_loop(page):
    tx = mtopt.chain(mtopt.mgda(2), optax.sgd(1.0), optax.scale_by_zoom_linesearch(5))
    with pytest.raises(mtopt.UserError, match="write the loop"):
        page["train"](tx)


def update_of(page, tx):
    """At a batch, as a function to compile: operation by operation it is slow."""

    def update(batch, params, state):
        evaluation = page["tasks"].problem(batch, jax.random.key(0)).evaluate(params)
        return tx.update(evaluation.gradients, state, params, evaluation=evaluation)

    return update


def test_apply_if_finite_does_not_protect_what_an_aggregator_remembers(page):
    tx = mtopt.chain(mtopt.famo(2), optax.apply_if_finite(optax.adam(1e-2), 3))
    update = jax.jit(update_of(page, tx))
    batch = page["batch"]
    broken = dataclasses.replace(batch, x=batch.x.at[0, 0].set(jnp.nan))
    params, state = page["start"], tx.init(page["start"])
    for each in (batch, broken):
        updates, state = update(each, params, state)
        params = optax.apply_updates(params, updates)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    assert not np.isfinite(optax.tree.get(state, "weights")).all()


def test_a_frozen_part_takes_no_part_in_the_weights_only_under_a_partition(page):
    start = page["start"]
    parts = {"shared": {"first": True, "second": False}, "tasks": False}
    behind = mtopt.chain(mtopt.mgda(2), optax.sgd(0.1), optax.freeze(parts))
    labels = jax.tree.map(lambda frozen: "frozen" if frozen else "trained", parts)
    around = optax.partition(
        {
            "trained": mtopt.chain(mtopt.mgda(2), optax.sgd(0.1)),
            "frozen": mtopt.chain(mtopt.equal_weighting(2), optax.set_to_zero()),
        },
        labels,
    )

    def weights(tx):
        _, state = jax.jit(update_of(page, tx))(page["batch"], start, tx.init(start))
        found = optax.tree.get_all_with_path(state, "weights")
        return max((leaf for _, leaf in found), key=lambda leaf: abs(leaf[0] - 0.5))

    @jax.jit
    def exact():
        problem = page["tasks"].problem(page["batch"], jax.random.key(0))
        rows = problem.evaluate(start).rows
        return [
            mtopt.solvers.min_norm_weights(mtopt.gramian(of), jnp.ones(2, bool))
            for of in (rows, rows["second"])
        ]

    of_all, of_second = exact()
    with pytest.warns(UserWarning, match="freeze them before it"):
        np.testing.assert_allclose(weights(behind), of_all, atol=1e-5)
    np.testing.assert_allclose(weights(around), of_second, atol=1e-5)


def test_adam_before_an_aggregator_changes_the_shape_of_its_state(page):
    tx = mtopt.chain(optax.scale_by_adam(), mtopt.mgda(2), optax.sgd(0.1))
    start = page["start"]
    state = jax.eval_shape(tx.init, start)
    with jax.numpy_rank_promotion("allow"):  # as it is for users
        _, after = jax.eval_shape(update_of(page, tx), page["batch"], start, state)
    shapes = [leaf.shape for leaf in jax.tree.leaves(state)]
    assert shapes != [leaf.shape for leaf in jax.tree.leaves(after)]


def test_a_line_search_takes_a_step_that_raises_the_loss_if_none_lowers_it(page):
    tx = mtopt.chain(
        mtopt.single_task(2, task=0), optax.scale_by_backtracking_linesearch(15)
    )
    start = page["start"]

    @jax.jit
    def values():
        """Of the mean loss, before and after the step."""
        problem = page["tasks"].problem(page["batch"], jax.random.key(0))

        def mean_loss(params, evaluation=None):
            return problem.losses(params).mean()

        value, grad = jax.value_and_grad(mean_loss)(start)
        evaluation = problem.evaluate(start)
        updates, _ = tx.update(
            evaluation.gradients,
            tx.init(start),
            start,
            evaluation=evaluation,
            value=value,
            grad=grad,
            value_fn=mean_loss,
        )
        return value, mean_loss(optax.apply_updates(start, updates))

    before, after = values()
    assert after > before
