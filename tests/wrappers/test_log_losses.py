"""log_losses: an aggregator on the logarithms of the losses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.wrappers import log_losses
from mtopt.wrappers.log_losses import LogProblem
from tests.helpers.close import assert_close
from tests.helpers.wrappers import LOSSES, PARAMS, ROWS, model, steps, train


def test_log_losses_hand_an_aggregator_the_rows_of_the_logs():
    (direction, weights), *_ = steps(log_losses(mtopt.mgda(3)), [ROWS], losses=[LOSSES])
    (expected, solved), *_ = steps(mtopt.mgda(3), [ROWS / LOSSES[:, None]])
    assert_close(direction, expected, rtol=1e-5)
    assert_close(weights, solved, rtol=1e-5)


@pytest.mark.parametrize(
    "inner",
    [
        mtopt.equal_weighting(3),
        mtopt.mgda(3, normalize="loss+"),
        mtopt.imtl_g(3, space="representation"),
    ],
    ids=["pulled back", "rows", "representation"],
)
def test_log_losses_are_the_method_on_a_model_that_returns_logs(inner):
    """The same step as with the logarithm written into the model's loss."""
    tasks, params, batch = model(missing=0.2)

    def log_loss(*arguments):
        return jnp.log(tasks.head_loss(*arguments) + 1e-8)

    logged = mtopt.Tasks(tasks.names, tasks.encode, log_loss)
    sgd = optax.sgd(1.0)
    found, _ = train(mtopt.chain(log_losses(inner), sgd), [batch], tasks, params)
    expected, _ = train(mtopt.chain(inner, sgd), [batch], logged, params)
    assert_close(found.params, expected.params, rtol=1e-4)


def test_a_log_problem_is_the_problem_of_a_model_that_returns_logs():
    tasks, params, batch = model(missing=0.2)

    def log_loss(*arguments):
        return jnp.log(tasks.head_loss(*arguments) + 0.1)

    key = jax.random.key(1)
    found = LogProblem(tasks.problem(batch, key), 0.1)
    logged = mtopt.Tasks(tasks.names, tasks.encode, log_loss).problem(batch, key)
    assert found.names == logged.names
    weights = jnp.array([0.2, -1.0, 3.0])

    @jax.jit
    def answers(problem):
        parts = problem.split(2)
        return (
            problem.present,
            problem.losses(params),
            problem.losses_and_grads(params),
            problem.evaluate(params).representation_gramian(),
            problem.pullback(params, weights),
            [part.losses(params) for part in parts],
        )

    assert_close(answers(found), answers(logged), rtol=1e-4)


def test_log_losses_of_zero_and_of_absent_tasks_are_finite():
    tx = log_losses(mtopt.equal_weighting(3), epsilon=0.5)
    found = steps(
        tx,
        [ROWS.at[2].set(0)],
        losses=[jnp.array([0.0, 1.5, jnp.nan])],
        present=[jnp.array([True, True, False])],
    )
    expected = (ROWS[0] / 0.5 + ROWS[1] / 2) / 2
    assert_close(found[0][0], expected, rtol=1e-6)

    tasks, params, batch = model()
    batch = mtopt.Batch(batch.x, batch.y, batch.mask.at[1].set(False))
    state, _ = train(log_losses(mtopt.imtl_g(3)), [batch], tasks, params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_log_losses_need_the_losses():
    tx = log_losses(mtopt.mgda(3))
    with pytest.raises(mtopt.UserError, match="reads losses"):
        tx.update(ROWS, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: log_losses(mtopt.mgda(2), epsilon=0), "epsilon is 0"),
    ],
)
def test_options_out_of_range_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
