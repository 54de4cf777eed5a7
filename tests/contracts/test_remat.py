"""Rematerialisation of the encoder changes what is kept, and no number."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

import mtopt
from experiments.common.building import make_model
from mtopt.data import DATASETS
from tests.helpers.close import assert_close
from tests.helpers.models import make_batch, normed
from tests.helpers.problems import classification

METHODS = {
    "a scalarizer": mtopt.equal_weighting(3),
    "weights by the Gramian": mtopt.imtl_g(3),
    "rows": mtopt.trimmed_mean(3),
    "a penalty on the representation": mtopt.rep_mtl(mtopt.equal_weighting(3)),
    "rows taken elsewhere": mtopt.chain(
        mtopt.per_task_sam(3, rho=0.1), mtopt.equal_weighting(3)
    ),
}


@pytest.mark.parametrize("x_axis", [None, pytest.param(0, marks=pytest.mark.slow)])
def test_a_step_is_the_same(x_axis):
    model = normed(x_axis, dropout=0.3)
    batch = make_batch((3,), "classification", 3, x_axis=x_axis)
    params, model_state = jax.jit(model.init)(jax.random.key(0))

    before = np.asarray(params["shared"]["linear"]["kernel"])

    def after(remat):
        tasks = dataclasses.replace(model.tasks, remat=remat)

        @jax.jit  # one program for all methods
        def advance(params, model_state):
            found = {}
            for name, method in METHODS.items():
                tx = mtopt.chain(method, optax.sgd(0.5))
                key = jax.random.key(1)
                state = mtopt.TrainState.create(params, tx, key, model_state)
                state, metrics = mtopt.make_train_step(tasks, tx)(state, batch)
                state = dataclasses.replace(state, key=None)
                found[name] = state, metrics["losses"]
            return found

        return advance(params, model_state)

    plain, again = after(False), after(True)
    assert_close(again, plain, rtol=2e-6)
    for state, _ in plain.values():
        assert not np.array_equal(state.params["shared"]["linear"]["kernel"], before)


def test_nothing_that_the_encoder_makes_is_kept():
    tasks, params, batch = classification(3, 8, 16, (32, 24), 3, None)

    def kept(remat):
        own = dataclasses.replace(tasks, remat=remat)
        features = own.problem(batch, jax.random.key(0)).features
        pull = jax.eval_shape(lambda p: jax.vjp(features, p)[1], params)
        return {leaf.shape for leaf in jax.tree.leaves(pull)}

    assert (8, 32) in kept(False)
    assert (8, 32) not in kept(True)


def test_gradients_without_rows_stay_without():
    tasks, params, batch = classification(4, 4, 32, (32, 32), 3, None)

    def are_rows(remat):
        own = dataclasses.replace(tasks, remat=remat)
        problem = own.problem(batch, jax.random.key(0))
        found = []
        jax.eval_shape(lambda p: found.append(problem.task_gradients(p)), params)
        return found[0].are_rows

    assert not are_rows(False)
    assert not are_rows(True)


def test_the_configuration_says_so_to_the_model():
    dataset = DATASETS["multi_digits"](num_train=64, num_valid=32, num_test=32)
    for remat in (False, True):
        model = make_model("mlp(hidden=(4,))", dataset, remat=remat)
        assert model.tasks.remat == remat
