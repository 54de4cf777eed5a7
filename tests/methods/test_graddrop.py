"""GradDrop: its draws, its leaks, and the signs of a representation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.errors import UserError
from mtopt.methods.graddrop import graddrop
from tests.helpers.close import assert_close
from tests.helpers.problems import squared_loss, tanh_encode


def purity(rows):
    total = np.abs(rows).sum(0)
    return 0.5 * (1 + rows.sum(0) / np.where(total > 0, total, 1))


def test_graddrop_keeps_one_sign_as_often_as_it_is_pure():
    tx = graddrop(3)
    rows = jnp.array([[1.0, -2.0, 1.0, 0.0], [3.0, -1.0, -1.0, 0.0], [-1, -1, 0, 0]])
    state = tx.init(jnp.zeros(4))
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = jax.jit(
        jax.vmap(
            lambda key: tx.update(rows, state, evaluation=mtopt.Evaluation(key=key))[0]
        )
    )(keys)
    np.testing.assert_array_equal(np.unique(drawn[:, 0]), [-1, 4])
    np.testing.assert_array_equal(np.unique(drawn[:, 1]), [-4])
    np.testing.assert_array_equal(np.unique(drawn[:, 2]), [-1, 1])
    assert not np.asarray(drawn[:, 3]).any()
    often = (np.asarray(drawn) > 0).mean(axis=0)
    # 2000 draws: three standard deviations are 0.034.
    np.testing.assert_allclose(
        often[[0, 2]], purity(np.asarray(rows))[[0, 2]], atol=0.04
    )


def test_graddrop_leaks():
    key = jax.random.key(3)
    rows = np.array([[1.0, 5.0], [-2.0, 1.0]], "float32")
    methods = graddrop(2), graddrop(2, leak=1.0), graddrop(2, leak=(0.0, 0.25))

    @jax.jit
    def directions(rows):
        seen = mtopt.Evaluation(key=key)
        init = [tx.init(jnp.zeros(2)) for tx in methods]
        each = zip(methods, init, strict=True)
        return [tx.update(rows, state, evaluation=seen)[0] for tx, state in each]

    kept, everything, leaked = map(np.asarray, directions(rows))
    np.testing.assert_array_equal(everything, rows.sum(0))
    winner_is_first = bool(kept[0] > 0)
    np.testing.assert_allclose(leaked[0], 1 - 0.5 if winner_is_first else -2)
    assert leaked[1] == 6


def test_graddrop_draws_anew_in_every_step():
    tx = graddrop(2)
    rows = np.stack([np.ones(64), -np.ones(64)]).astype("float32")
    update, state = jax.jit(tx.update), tx.init(jax.device_put(rows[0]))
    first, state = update(rows, state)
    second, _ = update(rows, state)
    assert not np.array_equal(first, second)


def small_problem(x_axis):
    rng = np.random.default_rng(5)

    def draw(*shape):
        return rng.normal(size=shape).astype("float32")

    tasks = mtopt.Tasks(("a", "b"), tanh_encode, squared_loss, x_axis)
    lead = () if x_axis is None else (2,)
    batch = mtopt.Batch(draw(*lead, 6, 3), draw(2, 6), np.ones((2, 6), bool))
    own = mtopt.PerTask(draw(2, 4), tasks.names)
    params = jax.device_put({"shared": draw(3, 4), "tasks": own})
    return tasks.problem(batch, jax.random.key(0)), params, batch


@pytest.mark.parametrize("x_axis", [None, 0])
def test_graddrop_on_the_representation(x_axis):
    """One sign for each feature, the draw weighed by the feature's own sign."""
    problem, params, batch = small_problem(x_axis)
    _, grads = jax.jit(problem.losses_and_grads)(params)
    w, heads = np.asarray(params["shared"]), np.asarray(params["tasks"].values)
    xs = [np.asarray(batch.x if x_axis is None else batch.x[k]) for k in range(2)]
    zs = [np.tanh(x @ w) for x in xs]
    ys = np.asarray(batch.y)
    gradients = [
        2 / 6 * (zs[k] @ heads[k] - ys[k])[:, None] * heads[k][None] for k in range(2)
    ]
    signed = np.stack([(gradients[k] * np.sign(zs[k])).sum(0) for k in range(2)])

    def direction(positive_wins):
        kept = np.where(positive_wins, signed > 0, signed < 0)
        return sum(
            xs[k].T @ (gradients[k] * kept[k] * (1 - zs[k] ** 2)) for k in range(2)
        )

    def compiled(**options):
        tx = graddrop(2, space="representation", **options)

        @jax.jit
        def update(key):
            state = tx.init(params)
            seen = problem.evaluate(params).replace(key=key)
            return tx.update(seen.gradients, state, params, evaluation=seen)[0]

        return update

    possible = [
        direction(np.array([bits >> j & 1 for j in range(4)], bool))
        for bits in range(16)
    ]
    update = compiled()
    for seed in range(3):
        found = np.asarray(update(jax.random.key(seed))["shared"])
        assert min(np.abs(found - one).max() for one in possible) < 1e-5
    whole = compiled(leak=1.0)(jax.random.key(0))
    np.testing.assert_allclose(whole["shared"], grads["shared"].sum(0), atol=1e-5)
    # Two programs, of which XLA rounds each in its own way.
    close = functools.partial(assert_close, rtol=1e-5)
    jax.tree.map(close, whole["tasks"], grads["tasks"])


def test_graddrop_on_the_representation_of_groups():
    """Two groups of one task each are the two tasks of one group."""
    problem, params, batch = small_problem(None)
    tasks = problem.tasks
    groups = mtopt.TaskGroups(
        tuple(
            mtopt.Tasks((name,), tasks.encode, tasks.head_loss) for name in tasks.names
        ),
        shared_inputs=True,
    )
    halves = [slice(k, k + 1) for k in range(2)]
    y, mask = (tuple(leaf[h] for h in halves) for leaf in (batch.y, batch.mask))
    grouped = groups.problem(mtopt.Batch(batch.x, y, mask), jax.random.key(0))
    heads = tuple(
        mtopt.PerTask(params["tasks"].values[h], (name,))
        for h, name in zip(halves, tasks.names, strict=True)
    )
    tx = graddrop(2, space="representation")

    def direction(problem, params):
        seen = problem.evaluate(params).replace(key=jax.random.key(3))
        updates, _ = tx.update(seen.gradients, tx.init(params), params, evaluation=seen)
        return updates["shared"]

    assert_close(
        jax.jit(direction)(grouped, {"shared": params["shared"], "tasks": heads}),
        jax.jit(direction)(problem, params),
        rtol=1e-6,
    )


def test_graddrop_names_what_it_cannot_do():
    problem, params, batch = small_problem(None)
    groups = mtopt.TaskGroups((problem.tasks,), shared_inputs=False)
    grouped = groups.problem(
        mtopt.Batch((batch.x,), (batch.y,), (batch.mask,)), jax.random.key(0)
    )
    params = {"shared": params["shared"], "tasks": (params["tasks"],)}
    grads = {"shared": jnp.ones((2, 3, 4)), "tasks": params["tasks"]}
    tx = graddrop(2, space="representation")
    state = tx.init(params)

    def update():
        seen = grouped.evaluate(params)
        return tx.update(seen.gradients, state, params, evaluation=seen)

    with pytest.raises(UserError, match="no representation in common"):
        jax.eval_shape(update)
    with pytest.raises(UserError, match="reads problem"):
        tx.update(grads, state, params)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (graddrop, {"leak": 2.0}, "leak is 2.0"),
        (graddrop, {"leak": (0.1, 0.2)}, "1 or 3 numbers"),
        (graddrop, {"space": "features"}, "space is 'features'"),
    ],
)
def test_bad_options_are_named(method, options, message):
    with pytest.raises(UserError, match=message):
        method(3, **options)
