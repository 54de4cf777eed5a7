"""Every aggregator trains with flat regions, with saliency penalties, with both."""

import itertools

import jax
import optax
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.compilations import compiled_once
from tests.helpers.methods import FEW, assert_finite, make

TASKS, PARAMS, BATCH = problems.classification(3, 6, 5, (7,), 4, None)


def composition(name, f_mtl, rep_mtl):
    aggregator = make(name, len(TASKS.names))
    if f_mtl:
        aggregator = mtopt.flat_regions(aggregator, rho=0.05)
    return mtopt.rep_mtl(aggregator) if rep_mtl else aggregator


def cases(default):
    """By default both, for a few methods; compiling all 180 takes ten minutes."""
    params = []
    for name in sorted(mtopt.METHODS):
        for f_mtl, rep_mtl in itertools.product((False, True), repeat=2):
            parts = ["f_mtl"] * f_mtl + ["rep_mtl"] * rep_mtl
            both = f_mtl and rep_mtl and name in default
            marks = () if both else (pytest.mark.slow,)
            label = "-".join([*parts, name])
            params.append(pytest.param(name, f_mtl, rep_mtl, id=label, marks=marks))
    return pytest.mark.parametrize(("name", "f_mtl", "rep_mtl"), params)


@cases(default={"famo"})
def test_it_takes_three_finite_steps(name, f_mtl, rep_mtl):
    tx = mtopt.chain(composition(name, f_mtl, rep_mtl), optax.adam(1e-2))
    state = mtopt.TrainState.create(PARAMS, tx, jax.random.key(0))
    step = compiled_once(mtopt.make_train_step(TASKS, tx))
    for _ in range(3):
        state, metrics = step(state, BATCH)
        assert_finite((metrics["losses"], state.params, state.opt_state))
    assert optax.tree.get(state.opt_state, "weights").shape == (3,)
    moved = jax.tree.map(lambda new, old: abs(new - old).max(), state.params, PARAMS)
    assert all(float(distance) > 1e-3 for distance in jax.tree.leaves(moved["shared"]))


@cases(default=FEW)
def test_every_composition_is_a_step(name, f_mtl, rep_mtl):
    """Traced, not compiled: shapes and dtypes of the state stay what they were."""
    tx = mtopt.chain(composition(name, f_mtl, rep_mtl), optax.sgd(0.1))
    state = jax.eval_shape(
        lambda: mtopt.TrainState.create(PARAMS, tx, jax.random.key(0))
    )
    after, metrics = jax.eval_shape(mtopt.make_train_step(TASKS, tx), state, BATCH)
    assert after.opt_state == state.opt_state
    assert metrics["losses"].shape == (3,)
