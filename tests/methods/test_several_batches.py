"""What holds for all methods that split the batch."""

import jax
import jax.numpy as jnp
import pytest

import mtopt
from mtopt.errors import UserError
from mtopt.methods.auto_lambda import auto_lambda
from mtopt.methods.modo import modo
from mtopt.methods.moml import moml
from mtopt.methods.sdmgrad import sdmgrad
from tests.helpers.several_batches import D, encode, head_loss

METHODS = [modo, sdmgrad, auto_lambda, moml]


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_too_small_to_split_is_an_error(method):
    tasks = mtopt.Tasks(("a",), encode, head_loss)
    y = {"direction": jnp.ones((1, 1, D)), "target": jnp.ones((1, 1))}
    batch = mtopt.Batch(jnp.ones((1, D)), y, jnp.ones((1, 1), bool))
    params = {"shared": jnp.ones(D), "tasks": mtopt.PerTask(jnp.ones((1, 1)), ("a",))}
    problem = tasks.problem(batch, jax.random.key(0))
    state = method(1).init(params)

    def update():
        seen = problem.evaluate(params)
        return method(1).update(seen.gradients, state, params, evaluation=seen)

    with pytest.raises(UserError, match="raise the batch size"):
        jax.eval_shape(update)


@pytest.mark.parametrize("method", METHODS)
def test_the_problem_is_asked_for_by_name(method):
    with pytest.raises(UserError, match="reads problem"):
        method(2).update(jnp.eye(2), method(2).init(jnp.zeros(2)), jnp.zeros(2))
