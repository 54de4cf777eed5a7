"""task_momentum: an Adam for every task."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.aggregation import weights_of
from mtopt.transforms import task_momentum
from mtopt.transforms.task_momentum import undo_momentum
from tests.helpers.wrappers import PARAMS


def test_task_momentum_is_an_adam_for_every_task_without_its_direction():
    here = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 1], [1, 1, 1]], bool)
    rng = np.random.default_rng(0)
    stacks = rng.normal(size=(4, 3, 4)).astype(np.float32)
    for beta2 in (None, 0.99):
        tx = task_momentum(3, beta=0.8, beta2=beta2)
        state = tx.init(PARAMS)
        update = jax.jit(tx.update)
        m, v, t = np.zeros((3, 4)), np.zeros((3, 4)), np.zeros(3)
        for rows, present in zip(stacks, here, strict=True):
            found, state = update(
                jnp.array(rows), state, PARAMS, present=jnp.array(present)
            )
            for k in range(3):
                if not present[k]:
                    continue
                t[k] += 1
                m[k] = 0.8 * m[k] + 0.2 * rows[k]
                expected = m[k] / (1 - 0.8 ** t[k])
                if beta2 is not None:
                    v[k] = 0.99 * v[k] + 0.01 * rows[k] ** 2
                    expected /= np.sqrt(v[k] / (1 - 0.99 ** t[k])) + 1e-8
                np.testing.assert_allclose(found[k], expected, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(state.first, m, rtol=1e-5, atol=1e-7)


def test_momentum_of_the_tasks_then_of_adam_is_the_published_algorithm():
    """M-ConFIG with every task updated, around equal weighting and around MGDA."""
    beta, beta2 = 0.9, 0.999
    rng = np.random.default_rng(0)
    for inner, sums in ((mtopt.mgda(3), None), (mtopt.equal_weighting(3), 1 / 3)):
        tx = mtopt.chain(
            task_momentum(3, beta=beta),
            inner,
            undo_momentum(beta=beta),
            optax.adam(0.1, b1=beta, b2=beta2, eps=1e-8),
        )
        state = tx.init(PARAMS)
        update = jax.jit(tx.update)
        m, s, fake = np.zeros((3, 4)), np.zeros(4), np.zeros(4)
        for t in range(1, 6):
            rows = rng.normal(size=(3, 4)).astype(np.float32)
            move, state = update(jnp.array(rows), state, PARAMS)
            m = beta * m + (1 - beta) * rows
            weights = np.asarray(weights_of(state[1])) if sums is None else sums
            final = np.sum(np.reshape(weights, (-1, 1)) * m, axis=0) / (1 - beta**t)
            old, fake = fake, final * (1 - beta**t)
            s = beta2 * s + (1 - beta2) * ((fake - beta * old) / (1 - beta)) ** 2
            expected = final / (np.sqrt(s / (1 - beta2**t)) + 1e-8)
            np.testing.assert_allclose(move, -0.1 * expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: task_momentum(2, beta=1), "beta is 1"),
        (lambda: task_momentum(2, beta2=-0.1), "beta2 is -0.1"),
        (lambda: task_momentum(2, epsilon=0), "epsilon is 0"),
        (lambda: undo_momentum(beta=1), "beta is 1"),
    ],
)
def test_options_out_of_range_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
