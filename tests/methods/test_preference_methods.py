"""Methods that aim at a chosen point of the Pareto front, and their linear program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import mtopt
from mtopt.methods.epo import epo
from mtopt.methods.pareto_mtl import pareto_mtl
from mtopt.solvers.linear_program import maximise_on_simplex

solve = jax.jit(maximise_on_simplex)


def best(objective, matrix, bounds):
    """The reference: HiGHS in float64, None where nothing satisfies the bounds."""
    result = scipy.optimize.linprog(
        -objective,
        A_ub=-matrix,
        b_ub=-bounds,
        A_eq=np.ones((1, len(objective))),
        b_eq=[1],
    )
    return result.x if result.status == 0 else None


def programs(num_tasks, size, count):
    """Balance-like and descent-like programs of random Gramians, feasible ones."""
    rng = np.random.default_rng(num_tasks * size)
    while count:
        rows = rng.normal(size=(num_tasks, size)) + rng.uniform()
        gramian = rows @ rows.T
        matrix = gramian / np.abs(gramian).max(axis=1, keepdims=True)
        slopes = matrix @ rng.normal(size=num_tasks)
        bounds = np.where(slopes > 0, -2, slopes)
        bounds[rng.integers(num_tasks)] = 0
        for program in (
            (slopes, matrix, bounds),
            (gramian.sum(axis=0), matrix, np.zeros(num_tasks)),
        ):
            if best(*program) is not None:
                count -= 1
                yield program


# Random Gramians give 6e-4 in float32 at worst: near the end of the central path the
# normal equations of a degenerate program have the square of its conditioning.
@pytest.mark.parametrize(("dtype", "accuracy"), [("float32", 2e-3), ("float64", 1e-9)])
@pytest.mark.parametrize(("num_tasks", "size"), [(2, 2), (5, 3), (10, 4)])
def test_linear_programs_match_highs(num_tasks, size, dtype, accuracy):
    with jax.enable_x64(dtype == "float64"):
        present = jnp.ones(num_tasks, bool)
        for objective, matrix, bounds in programs(num_tasks, size, 12):
            reference = best(objective, matrix, bounds)
            found = solve(
                *(jnp.asarray(part, dtype) for part in (objective, matrix, bounds)),
                present,
            )
            assert found.dtype == dtype
            found = np.asarray(found, float)
            scale = np.abs(objective - objective.mean()).max()
            assert found.min() >= 0
            assert found.sum() == pytest.approx(1, abs=1e-6)
            assert (matrix @ found - bounds).min() > -accuracy
            assert abs(objective @ (found - reference)) < accuracy * scale


def test_an_infeasible_program_has_a_finite_answer():
    """Both entries at least 0.8: they end at 0.5, or beyond one of the bounds."""
    found = solve(
        jnp.array([1.0, 0.0]), jnp.eye(2), jnp.array([0.8, 0.8]), jnp.ones(2, bool)
    )
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1)


# --- EPO search -----------------------------------------------------------------------


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
            _, after = update(jnp.array(jacobian), state, losses=jnp.array(losses))
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
        direction, state = tx.update(rows, state, x, losses=losses)
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
                losses=jnp.array(losses),
                present=jnp.array([True, False, True]),
            )
            _, expected = epo_reference(jacobian[pair], losses[pair], preference[pair])
            np.testing.assert_allclose(after.weights[pair], 2 * expected, atol=1e-6)
            assert after.weights[1] == 0


# --- Pareto MTL -----------------------------------------------------------------------

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
                jnp.array(jacobian), state, losses=jnp.array(losses)
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
    update = jax.jit(tx.update)
    sizes = []
    for present in (everyone, nobody, everyone, everyone):
        losses = jnp.array([0.2, 3.0])
        _, state = update(jacobian, state, losses=losses, present=present)
        sizes.append(float(np.abs(state.weights).sum()))
    assert sizes[1] == 0
    assert abs(sizes[2] - 2) > 0.1  # the second step of the search
    assert sizes[3] == pytest.approx(2)


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
            direction, state = tx.update(rows, state, x, losses=losses)
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
        (
            lambda: epo(2, preference=(1, 2, 3)),
            "preference is .*: expected 2 finite numbers",
        ),
        (
            lambda: epo(2, preference=(1, 0)),
            "preference is .*: expected 2 finite numbers",
        ),
        (lambda: epo(2, preference=(1, 1), tolerance=-1), "tolerance is -1"),
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
        lambda k: epo(k, preference=(1,) * k),
        lambda k: pareto_mtl(k, preferences=tuple(map(tuple, np.eye(k))), index=0),
    ],
    ids=["epo", "pareto_mtl"],
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
        over_losses = jax.vmap(lambda own: tx.update(rows, start, losses=own)[0])
        return over_losses(losses)

    assert np.isfinite(directions(stack)).all()


def test_one_task_is_plain_descent():
    row = jnp.array([[1.0, -2.0]])
    for tx in (epo(1, preference=(2,)), pareto_mtl(1, preferences=((3,),), index=0)):
        update = jax.jit(tx.update)
        direction, _ = update(row, tx.init(jnp.zeros(2)), losses=jnp.ones(1))
        np.testing.assert_allclose(direction, row[0], rtol=1e-6)
