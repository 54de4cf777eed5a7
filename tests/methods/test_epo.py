"""EPO search, against the released algorithm in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.methods.epo import epo
from tests.helpers.close import assert_close
from tests.helpers.linear_programs import best


def epo_reference(jacobian, losses, r, tolerance=1e-4):
    """The released algorithm, task by task, in float64; None without a solution."""
    num_tasks = len(losses)
    r = r / np.linalg.norm(r)
    gramian = jacobian @ jacobian.T
    scaled = r * losses
    share = scaled / scaled.sum()
    mu = sum(s * np.log(s * num_tasks) for s in share)
    a = np.array([r[k] * (np.log(share[k] * num_tasks) - mu) for k in range(num_tasks)])
    slopes = gramian @ a
    if mu > tolerance:
        bounds = np.zeros(num_tasks)
        if (slopes > 0).any():
            for k in range(num_tasks):
                bounds[k] = -1e9 if slopes[k] > 0 else slopes[k]
                if scaled[k] == scaled.max():
                    bounds[k] = 0
        objective, matrix = slopes, gramian
    else:
        objective = gramian.sum(axis=0)
        matrix = np.vstack([gramian, slopes])
        bounds = np.append(np.zeros(num_tasks), -max(-slopes.max(), 0))
    return objective, best(objective, matrix, bounds)


@pytest.mark.parametrize("on_the_ray", [False, True], ids=["balance", "descent"])
def test_epo_is_the_released_algorithm(on_the_ray):
    rng = np.random.default_rng(0)
    preference = (1.0, 3.0, 0.5)
    solved = 0
    with jax.enable_x64(True):
        tx = epo(3, preference=preference)
        state = tx.init(jnp.zeros(6))
        update = jax.jit(tx.update)
        for _ in range(20):
            jacobian = rng.normal(size=(3, 6)) + 0.4
            losses = rng.uniform(0.1, 2, 3)
            if on_the_ray:  # up to a mu of 1e-5 or so
                losses = (2 + 0.005 * losses) / np.array(preference)
            objective, reference = epo_reference(jacobian, losses, np.array(preference))
            _, after = update(
                jnp.array(jacobian),
                state,
                evaluation=mtopt.Evaluation(losses=jnp.array(losses)),
            )
            weights = np.asarray(after.weights)
            assert weights.sum() == pytest.approx(3)
            if reference is None:
                expected = 3 * np.array(preference) / sum(preference)
                np.testing.assert_allclose(weights, expected, rtol=1e-6)
                continue
            solved += 1
            scale = np.abs(objective).max()
            assert objective @ weights / 3 == pytest.approx(
                objective @ reference, abs=1e-7 * scale
            )
    assert solved > 10


@pytest.mark.parametrize("preference", [(1, 4), (5, 1)])
def test_epo_reaches_the_point_on_the_ray(preference):
    """Two quadratic losses |x - c|^2 / 2: the front joins their centres."""
    centres = jnp.array([[-1.0, 0.0], [1.0, 0.0]])
    tx = epo(2, preference=preference)

    def step(_, carry):
        x, state = carry
        rows = x[None] - centres
        losses = 0.5 * jnp.sum(rows**2, axis=1)
        direction, state = tx.update(
            rows, state, x, evaluation=mtopt.Evaluation(losses=losses)
        )
        return x - 0.01 * direction, state

    x = jnp.array([0.3, 1.0])
    x, _ = jax.jit(lambda x: jax.lax.fori_loop(0, 1000, step, (x, tx.init(x))))(x)
    first, second = 0.5 * np.sum((np.asarray(x) - np.asarray(centres)) ** 2, axis=1)
    assert first * preference[0] / (second * preference[1]) == pytest.approx(1, abs=0.1)
    assert abs(x[1]) < 0.02


def test_epo_balances_the_tasks_of_the_batch():
    """As if the absent one did not exist: the reference without it."""
    rng = np.random.default_rng(1)
    preference, pair = np.array([1.0, 2.0, 3.0]), np.array([0, 2])
    with jax.enable_x64(True):
        tx = epo(3, preference=tuple(preference.tolist()))
        state = tx.init(jnp.zeros(6))
        update = jax.jit(tx.update)
        for _ in range(5):
            jacobian = rng.normal(size=(3, 6)) + 0.4
            losses = rng.uniform(0.1, 2, 3)
            _, after = update(
                jnp.array(jacobian),
                state,
                evaluation=mtopt.Evaluation(
                    losses=jnp.array(losses), present=jnp.array([True, False, True])
                ),
            )
            _, expected = epo_reference(jacobian[pair], losses[pair], preference[pair])
            np.testing.assert_allclose(after.weights[pair], 2 * expected, atol=1e-6)
            assert after.weights[1] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: epo(2, preference=(1, 2, 3)),
            "preference is .*: expected 2 finite numbers",
        ),
        (
            lambda: epo(2, preference=(1, 0)),
            "preference is .*: expected 2 finite numbers",
        ),
        (lambda: epo(2, preference=(1, 1), tolerance=-1), "tolerance is -1"),
    ],
)
def test_options_out_of_range_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda k: epo(k, preference=(1,) * k),
    ],
    ids=[
        "epo",
    ],
)
def test_degenerate_rows_and_losses_stay_finite(make):
    base = jax.random.normal(jax.random.key(0), (3, 4))
    stack = jnp.stack(
        [
            base * 1e-10,
            base * 1e15,
            jnp.zeros((3, 4)),
            base.at[1].set(0),
            base.at[2].set(base[0]),
            base.at[2].set(-base[0]),
        ]
    )
    tx = make(3)
    losses = jnp.array([[1.0, 2.0, 3.0], [0.0, 1e9, 1e-9], [0.0, 0.0, 0.0]])

    @jax.jit
    @jax.vmap
    def directions(rows):
        start = tx.init(jnp.zeros(4))
        over_losses = jax.vmap(
            lambda own: tx.update(rows, start, evaluation=mtopt.Evaluation(losses=own))[
                0
            ]
        )
        return over_losses(losses)

    assert np.isfinite(directions(stack)).all()


def test_one_task_is_plain_descent():
    row, tx = jnp.array([[1.0, -2.0]]), epo(1, preference=(2,))
    direction, _ = jax.jit(tx.update)(
        row, tx.init(jnp.zeros(2)), evaluation=mtopt.Evaluation(losses=jnp.ones(1))
    )
    assert_close(direction, row[0], rtol=1e-6)
