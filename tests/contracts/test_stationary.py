"""That a task without a gradient decides for all is said, by the step and the run."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.methods import make

NAMES = problems.names(3)
TASKS = mtopt.Tasks(NAMES, problems.tanh_encode, problems.squared_loss)


def train(aggregator, steps, label=0.0):
    params, batch = problems.solved_task(label)
    tx = mtopt.chain(aggregator, optax.sgd(0.05))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = mtopt.make_train_step(TASKS, tx)
    for _ in range(steps):
        state, metrics = step(state, batch)
    return state, metrics


@pytest.mark.parametrize("name", ["mgda", "famo"])
def test_a_solved_task_with_all_the_weight_is_named(name):
    state, metrics = train(make(name, 3), 3)
    assert metrics["stationary_decides"].tolist() == [False, True, False]
    assert state.stationary.steps.tolist() == [0, 3, 0]
    assert state.stationary.first.tolist() == [-1, 0, -1]


@pytest.mark.parametrize(
    ("aggregator", "label"),
    [
        (mtopt.equal_weighting(3), 0.0),  # it has a third of the weight
        (mtopt.nash_mtl(3), 0.0),  # it has weight 1, and nobody is held up
        (mtopt.without_stationary(mtopt.mgda(3)), 0.0),
        (mtopt.mgda(3), 1.0),  # it has a head at zero, which learns
    ],
    ids=["equal_weighting", "nash_mtl", "without_stationary", "a head at zero"],
)
def test_where_it_does_not_decide_nothing_is_said(aggregator, label):
    state, metrics = train(aggregator, 2, label)
    assert not metrics["stationary_decides"].any()
    assert (state.stationary.first == -1).all()


HEADS = mtopt.PerTask(jnp.array([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0]]), NAMES)
EVERYONE = np.ones(3, bool)


def found(weights, heads=HEADS, present=EVERYONE, before=None):
    state = mtopt.mgda(3).init(jnp.zeros(2))._replace(weights=jnp.asarray(weights))
    before = before or mtopt.Stationary.nothing(3)
    return before.after(7, heads, jnp.asarray(present), {"of a chain": (state,)})


def test_nearly_all_is_all_but_a_thousandth():
    for share, expected in (0.9995, True), (0.99, False):
        _, decides = found([0.0, share, 1 - share])
        assert decides.tolist() == [False, expected, False]


def test_a_gradient_is_judged_by_the_largest_of_its_task():
    before, decides = found([1.0, 0.0, 0.0])
    assert not decides.any()
    small = mtopt.PerTask(HEADS.values * jnp.array([[1e-6], [1.0], [1e-6]]), NAMES)
    after, decides = found([1.0, 0.0, 0.0], small, before=before)
    assert not decides.any()  # all are at rest: nobody is held up
    moved = mtopt.PerTask(HEADS.values * jnp.array([[1e-6], [1.0], [1.0]]), NAMES)
    after, decides = found([1.0, 0.0, 0.0], moved, before=after)
    assert decides.tolist() == [True, False, False]
    assert (after.steps.tolist(), after.first.tolist()) == ([1, 0, 0], [7, -1, -1])
    np.testing.assert_allclose(after.longest, [4, 0, 1])


def test_who_is_absent_or_has_no_parameters_does_not_decide():
    _, decides = found([0.0, 1.0, 0.0], present=[True, False, True])
    assert not decides.any()
    _, decides = found([0.0, 1.0, 0.0], mtopt.PerTask({}, NAMES))
    assert not decides.any()
