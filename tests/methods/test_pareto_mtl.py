"""Pareto MTL, against the released algorithm in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import mtopt
from mtopt.methods.pareto_mtl import pareto_mtl
from tests.helpers.close import assert_close

CIRCLE = tuple((np.cos(t), np.sin(t)) for t in np.linspace(0, np.pi / 2, 5))


def pareto_reference(jacobian, losses, rays, index, searching):
    """Weights by the released algorithm, the min-norm solve by brute force."""
    away = rays - rays[index]
    violated = [j for j in range(len(rays)) if away[j] @ losses > 0]
    rows = [away[j] for j in violated]
    if not searching or not violated:
        searching = False
        rows = [*np.eye(len(losses)), *rows]
    stack = np.array(rows) @ jacobian
    result = scipy.optimize.minimize(
        lambda w: np.sum((w @ stack) ** 2),
        np.full(len(rows), 1 / len(rows)),
        jac=lambda w: 2 * stack @ (w @ stack),
        bounds=[(0, 1)] * len(rows),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-15, "maxiter": 500},
    )
    weights = result.x @ np.array(rows)
    if not searching:
        weights *= len(losses) / np.abs(weights).sum()
    return weights, searching


@pytest.mark.parametrize("num_tasks", [2, 3])
def test_pareto_mtl_is_the_released_algorithm_for_any_number_of_tasks(num_tasks):
    rng = np.random.default_rng(num_tasks)
    rays = np.array(CIRCLE) if num_tasks == 2 else rng.uniform(0.05, 1, (6, 3))
    unit = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    with jax.enable_x64(True):
        tx = pareto_mtl(num_tasks, preferences=tuple(map(tuple, rays)), index=1)
        state = tx.init(jnp.zeros(6))
        update = jax.jit(tx.update)
        searching = True
        sequence = []
        for step in range(12):
            jacobian = rng.normal(size=(num_tasks, 6)) + 0.3
            losses = rng.uniform(0.1, 1, num_tasks)
            if step == 5:  # in the region itself
                losses = unit[1]
            expected, searching = pareto_reference(jacobian, losses, unit, 1, searching)
            direction, state = update(
                jnp.array(jacobian),
                state,
                evaluation=mtopt.Evaluation(losses=jnp.array(losses)),
            )
            sequence.append(searching)
            np.testing.assert_allclose(
                direction, expected @ jacobian, rtol=1e-4, atol=1e-4
            )
            assert bool(state.memory.searching) == searching
    assert sequence[0]
    assert not sequence[5]


def test_the_search_ends_after_its_steps_and_absent_batches_do_not_count():
    tx = pareto_mtl(2, preferences=CIRCLE, index=0, search_steps=2)
    state = tx.init(jnp.zeros(3))
    jacobian = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    nobody = jnp.zeros(2, bool)
    everyone = jnp.ones(2, bool)
    without = jnp.array([False, True])  # the only task of its region
    update = jax.jit(tx.update)
    sizes = []
    for present in (everyone, nobody, without, everyone, everyone):
        losses = jnp.array([0.2, 3.0])
        _, state = update(
            jacobian, state, evaluation=mtopt.Evaluation(losses=losses, present=present)
        )
        sizes.append(float(np.abs(state.weights).sum()))
    assert sizes[1] == 0
    assert sizes[2] == pytest.approx(1)  # no region, and one loss to descend
    assert abs(sizes[3] - 2) > 0.1  # the second step of the search
    assert sizes[4] == pytest.approx(2)


def test_the_regions_get_different_trade_offs():
    """Every run ends on the front, in its region or on the border that is nearest."""
    centres = jnp.array([[-1.0, 0.0], [1.0, 0.0]])
    ends = []
    for index in (0, 2, 4):
        tx = pareto_mtl(2, preferences=CIRCLE, index=index)

        def step(_, carry, tx=tx):
            x, state = carry
            rows = x[None] - centres
            losses = 0.5 * jnp.sum(rows**2, axis=1)
            direction, state = tx.update(
                rows, state, x, evaluation=mtopt.Evaluation(losses=losses)
            )
            return x - 0.01 * direction, state

        x = jnp.array([0.2, 1.0])
        x, _ = jax.lax.fori_loop(0, 500, step, (x, tx.init(x)))
        assert abs(x[1]) < 0.02
        ends.append(0.5 * np.sum((np.asarray(x) - np.asarray(centres)) ** 2, axis=1))
    cosines = np.array(ends) @ np.array(CIRCLE).T
    for own, index in zip(cosines, (0, 2, 4), strict=True):
        assert own[index] > 0.99 * own.max()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pareto_mtl(2, preferences=(), index=0), "preferences is"),
        (lambda: pareto_mtl(2, preferences=((1, 0, 0),), index=0), "preferences is"),
        (lambda: pareto_mtl(2, preferences=((1, -1),), index=0), "preferences is"),
        (lambda: pareto_mtl(2, preferences=((0, 0),), index=0), "preferences is"),
        (lambda: pareto_mtl(2, preferences=CIRCLE, index=5), "from 0 to 4"),
        (
            lambda: pareto_mtl(2, preferences=CIRCLE, index=0, search_steps=-1),
            "search_steps is -1",
        ),
    ],
)
def test_options_out_of_range_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda k: pareto_mtl(k, preferences=tuple(map(tuple, np.eye(k))), index=0),
    ],
    ids=[
        "pareto_mtl",
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
    row, tx = jnp.array([[1.0, -2.0]]), pareto_mtl(1, preferences=((3,),), index=0)
    direction, _ = jax.jit(tx.update)(
        row, tx.init(jnp.zeros(2)), evaluation=mtopt.Evaluation(losses=jnp.ones(1))
    )
    assert_close(direction, row[0], rtol=1e-6)
