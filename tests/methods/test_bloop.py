"""Bloop, against its algorithm in float64; what it leaves the main task."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.errors import UserError
from mtopt.methods.bloop import bloop
from tests.helpers.row_methods import K, assert_follows, batches


def bloop_reference(variant, rescale, rows, present):
    average, lam = None, 0.5
    for row, here in zip(rows, present, strict=True):
        main = row[0]
        average = main if average is None else average + 0.1 * (main - average)
        aux = row[1:][here[1:]].mean(axis=0)
        ratio = average @ aux / (average @ average)
        if variant == "dynamic_barrier":
            ratio = min(ratio, 1 / lam)
        along = main if variant == "ratio_only" else average
        yield (main + lam * (aux - ratio * along)) / (1 + lam if rescale else 1)


@pytest.mark.parametrize("variant", ["bloop", "dynamic_barrier", "ratio_only"])
def test_bloop_follows_the_algorithm(variant):
    rows, losses, present = batches()
    rows[:, 2] += 5 * rows[:, 0]  # so that the barrier is met
    rescale = variant == "bloop"
    tx = bloop(K, aux_weight=0.5, variant=variant, rescale=rescale)
    reference = bloop_reference(variant, rescale, rows, present)
    assert_follows(tx, reference, (rows, losses, present))


def test_bloop_leaves_the_main_task_as_if_alone():
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.normal(size=(4, 20)), jnp.float32)
    tx = bloop(4, main=2, aux_weight=3.0)
    direction, _ = jax.jit(tx.update)(rows, tx.init(jnp.zeros(20)))
    np.testing.assert_allclose(rows[2] @ direction, rows[2] @ rows[2], rtol=1e-5)


def test_bloop_remembers_the_main_task_while_it_is_away():
    rows = jnp.array([[1.0, 0.0], [2.0, 3.0]])
    tx = bloop(2, aux_weight=1.0)
    update = jax.jit(tx.update)
    _, state = update(rows, tx.init(jnp.zeros(2)), present=jnp.array([True, True]))
    alone, state = update(rows.at[0].set(0), state, present=jnp.array([False, True]))
    np.testing.assert_allclose(alone, [0, 3], atol=1e-6)
    np.testing.assert_array_equal(state.memory[0], [1, 0])


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (bloop, {"main": 3}, "main is 3"),
        (bloop, {"ema": 0.0}, "ema is 0.0"),
        (bloop, {"variant": "barrier"}, "variant is 'barrier'"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
