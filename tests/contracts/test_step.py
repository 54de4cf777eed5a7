"""The training step: what it costs, how often it compiles, what it carries."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.close import assert_close

KEY = jax.random.key(3)
SHARED = (8, 128, 1024, (512, 512), 10, None)
DISJOINT = (29, 32, 32, (64, 64), 10, 0)


def step_flops(tasks, params, batch, tx):
    state = mtopt.TrainState.create(params, tx, KEY)
    step = mtopt.make_train_step(tasks, tx)
    return step.lower(state, batch).compile().cost_analysis()["flops"]


def plain_flops(tasks, params, batch):
    """jax.grad of the mean loss written by hand, and an SGD step with it."""
    num_tasks = len(tasks.names)

    def head_losses(heads, z, y, mask):
        z_axis = tasks.x_axis
        return jax.vmap(
            lambda h, z, y, m: problems.classify(h, z, y, m, None), (0, z_axis, 0, 0)
        )(heads, z, y, mask)

    def encode(shared, x):
        one = lambda x: problems.encode(shared, x, None)  # noqa: E731
        return one(x) if tasks.x_axis is None else jax.vmap(one)(x)

    def train(params, batch):
        def loss(params):
            z = encode(params["shared"], batch.x)
            losses = head_losses(params["tasks"].values, z, batch.y, batch.mask)
            return losses.sum() / num_tasks

        grad = jax.grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grad)

    return problems.flops(train, params, batch)


@pytest.mark.parametrize("shape", [SHARED, DISJOINT], ids=["shared", "disjoint"])
def test_a_scalarizer_costs_what_the_gradient_of_the_weighted_loss_costs(shape):
    tasks, params, batch = problems.classification(*shape)
    tx = mtopt.chain(mtopt.equal_weighting(shape[0]), optax.sgd(0.1))
    ratio = step_flops(tasks, params, batch, tx) / plain_flops(tasks, params, batch)
    # Half a percent, and two operations for each entry of the heads, whose gradients
    # say whether a task rests; here they are three times the shared parameters.
    heads = sum(leaf.size for leaf in jax.tree.leaves(params["tasks"]))
    told = 2 * heads / plain_flops(tasks, params, batch)
    assert ratio <= 1.005 + told


def test_rows_of_disjoint_inputs_are_free():
    tasks, params, batch = problems.classification(*DISJOINT)

    def gradient(params, batch):
        problem = tasks.problem(batch, KEY)
        return jax.grad(lambda p: problem.losses(p).mean())(params)

    def rows(params, batch):
        return tasks.problem(batch, KEY).losses_and_grads(params)

    assert problems.flops(rows, params, batch) <= 1.02 * problems.flops(
        gradient, params, batch
    )


def test_mgda_costs_one_forward_k_backwards_and_the_solve():
    tasks, params, batch = problems.classification(*SHARED)
    num_tasks = SHARED[0]
    tx = mtopt.chain(mtopt.mgda(num_tasks), optax.sgd(0.1))
    forward = problems.flops(
        lambda p, b: tasks.problem(b, KEY).losses(p), params, batch
    )

    def gradient(params, batch):
        problem = tasks.problem(batch, KEY)
        return jax.grad(lambda p: problem.losses(p).mean())(params)

    backward = problems.flops(gradient, params, batch) - forward
    rows = jax.eval_shape(
        lambda: tasks.problem(batch, KEY).losses_and_grads(params)[1]["shared"]
    )
    size = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(rows)) / num_tasks
    gramian = 2 * num_tasks**2 * size
    update = 2 * num_tasks * size + 3 * size
    solve = problems.flops(mtopt.solvers.min_norm_weights, jnp.eye(num_tasks))
    budget = forward + num_tasks * backward + gramian + update + solve
    assert step_flops(tasks, params, batch, tx) <= 1.005 * budget


def test_the_upper_bound_of_mgda_costs_the_heads_and_one_encoder_backward():
    tasks, params, batch = problems.classification(*SHARED)
    tx = mtopt.chain(mtopt.mgda(8, space="representation"), optax.sgd(0.1))
    ratio = step_flops(tasks, params, batch, tx) / plain_flops(tasks, params, batch)
    assert ratio <= 1.06


def test_the_program_does_not_grow_with_the_number_of_tasks():
    def instructions(num_tasks):
        tasks, params, batch = problems.classification(num_tasks, 8, 32, (64,), 3, 0)
        tx = mtopt.chain(mtopt.mgda(num_tasks), optax.adam(1e-3))
        state = mtopt.TrainState.create(params, tx, KEY)
        return (
            mtopt.make_train_step(tasks, tx).lower(state, batch).as_text().count("\n")
        )

    assert instructions(139) <= 1.1 * instructions(29)


@pytest.mark.parametrize("x_axis", [None, pytest.param(0, marks=pytest.mark.slow)])
def test_seeds_vmapped_equal_seeds_alone(x_axis):
    tasks, params, batch = problems.classification(3, 8, 5, (7,), 4, x_axis)
    tx = mtopt.chain(mtopt.mgda(3), optax.adam(1e-2))
    step = mtopt.make_train_step(tasks, tx)

    def start(seed):
        moved = jax.tree.map(lambda leaf: leaf * (1 + 0.1 * seed), params)
        return mtopt.TrainState.create(moved, tx, jax.random.key(seed))

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), start(0), start(1))
    together = jax.jit(jax.vmap(step, in_axes=(0, None)))
    alone = [start(0), start(1)]
    for _ in range(3):
        stacked, metrics = together(stacked, batch)
        alone = [step(state, batch)[0] for state in alone]
    assert metrics["losses"].shape == (2, 3)
    for seed in (0, 1):
        jax.tree.map(
            lambda a, b, s=seed: np.testing.assert_allclose(
                np.asarray(a)[s], b, rtol=1e-4, atol=1e-5
            ),
            stacked.params,
            alone[seed].params,
        )


def test_every_pass_of_a_step_sees_the_same_randomness_and_every_step_another():
    seen = []

    def noisy_encode(shared, x, key):
        seen.append(key)
        keep = jax.random.bernoulli(key, 0.5, x.shape)
        return jnp.where(keep, x, 0) @ shared

    tasks = mtopt.Tasks(("a", "b"), noisy_encode, problems.regress)
    heads = mtopt.PerTask({"v": jnp.ones((2, 4))}, ("a", "b"))
    params = {"shared": jnp.ones((3, 4)), "tasks": heads}
    batch = mtopt.Batch(jnp.ones((5, 3)), jnp.zeros((2, 5)), jnp.ones((2, 5), bool))
    problem = tasks.problem(batch, KEY)
    passes = jax.jit(lambda p: (problem.losses(p), problem.losses_and_grads(p)[0]))
    losses, again = map(np.asarray, passes(params))
    np.testing.assert_array_equal(losses, again)
    np.testing.assert_array_equal(losses[0], losses[1])
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.sgd(0.0))
    state = mtopt.TrainState.create(params, tx, KEY)
    step = mtopt.make_train_step(tasks, tx)
    values = []
    for _ in range(4):
        state, metrics = step(state, batch)
        values.append(float(np.asarray(metrics["losses"])[0]))
    assert len(set(values)) > 1


def test_the_state_is_a_copy_so_that_donation_takes_nothing_from_the_caller():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = mtopt.chain(mtopt.mgda(3), optax.contrib.schedule_free_sgd(0.1))
    key = jax.random.key(0)
    step = mtopt.make_train_step(tasks, tx)
    for _ in range(2):
        step(mtopt.TrainState.create(params, tx, key), batch)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(params))


def test_the_model_state_moves_once_whatever_the_method_evaluates():
    def counting_encode(shared, x, key, model_state, labelled):
        return x @ shared, {"mean": 0.9 * model_state["mean"] + 0.1 * x.mean(0)}

    tasks = mtopt.Tasks(("a", "b"), counting_encode, problems.regress, stateful=True)
    heads = mtopt.PerTask({"v": jnp.ones((2, 4))}, ("a", "b"))
    x = jax.random.normal(KEY, (5, 3))
    batch = mtopt.Batch(x, jnp.zeros((2, 5)), jnp.ones((2, 5), bool))
    for name in ("equal_weighting", "mgda"):
        params = {"shared": jnp.ones((3, 4)), "tasks": heads}
        tx = mtopt.chain(mtopt.METHODS[name](2), optax.sgd(0.1))
        state = mtopt.TrainState.create(params, tx, KEY, {"mean": jnp.zeros(3)})
        state, _ = mtopt.make_train_step(tasks, tx)(state, batch)
        assert_close(state.model_state["mean"], 0.1 * x.mean(0), rtol=1e-6)


def test_statistics_of_disjoint_inputs_are_each_task_s_own():
    def counting_encode(shared, x, key, model_state, labelled):
        return x @ shared, {"mean": x.mean(0)}

    tasks = mtopt.Tasks(("a", "b", "c"), counting_encode, problems.regress, 0, True)
    x = jax.random.normal(KEY, (3, 5, 2))
    mask = jnp.ones((3, 5), bool).at[1].set(False)
    batch = mtopt.Batch(x, jnp.zeros((3, 5)), mask)
    problem = tasks.problem(batch, KEY, {"mean": jnp.full((3, 2), 7.0)})
    state = jax.jit(problem.next_model_state)({"shared": jnp.ones((2, 4))})
    assert_close(state["mean"][::2], x[::2].mean(1), rtol=1e-5)
    np.testing.assert_array_equal(state["mean"][1], [7.0, 7.0])  # it was absent
    pooled = tasks.problem(batch, KEY, {"mean": jnp.zeros(2)})
    with pytest.raises(mtopt.UserError, match="a leading axis of the 3 tasks"):
        pooled.next_model_state({"shared": jnp.ones((2, 4))})


@pytest.mark.parametrize(
    "tx",
    [optax.sgd(0.1), optax.adam(0.1), mtopt.normalize_rows(3)],
    ids=["sgd", "adam", "rows alone"],
)
def test_a_chain_without_an_aggregator_is_an_error(tx):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    state = mtopt.TrainState.create(params, mtopt.chain(tx), jax.random.key(0))
    step = mtopt.make_train_step(tasks, mtopt.chain(tx))
    with (
        jax.numpy_rank_promotion("allow"),  # as it is for users: Adam broadcasts
        pytest.raises(mtopt.UserError, match="no aggregator among its members"),
    ):
        step(state, batch)
