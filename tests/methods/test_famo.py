"""FAMO: what it costs, what it remembers, and whether it balances."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.methods.famo import famo
from tests.helpers import problems
from tests.helpers.compilations import compiled_once

KEY = jax.random.key(3)


def setting(missing_task=None):
    tasks, params, batch = problems.classification(3, 12, 5, (7,), 4, None)
    if missing_task is not None:
        mask = batch.mask.at[missing_task].set(False)
        batch = mtopt.Batch(batch.x, batch.y, mask)
    return tasks, params, batch


def by_hand(before, after, present, floor, gamma, memory):
    """One update of FAMO in float64, as in the paper; returns weights, memory."""
    logits, mean, square, count = memory
    here = np.flatnonzero(present)
    z = np.exp(logits[here]) / np.exp(logits[here]).sum()
    distance = before[here] - np.array(floor)[here] + 1e-8
    weights = np.zeros(3)
    weights[here] = z / distance / (z / distance).sum()
    fell = np.log(distance) - np.log(after[here] - np.array(floor)[here] + 1e-8)
    jacobian = np.diag(z) - np.outer(z, z)
    slope = jacobian.T @ fell + gamma * logits[here]
    count[here] += 1
    mean[here] = 0.9 * mean[here] + 0.1 * slope
    square[here] = 0.999 * square[here] + 0.001 * slope**2
    corrected = mean[here] / (1 - 0.9 ** count[here])
    scale = np.sqrt(square[here] / (1 - 0.999 ** count[here])) + 1e-8
    logits[here] -= 0.1 * corrected / scale
    return weights, (logits, mean, square, count)


def test_the_logits_follow_the_losses_after_the_whole_chain():
    """Clipping and momentum count; an absent task keeps logit, moments and count."""
    with jax.enable_x64(True):
        tasks, params, batch = setting()
        params = jax.tree.map(lambda leaf: np.asarray(leaf, float), params)
        batch = mtopt.Batch(np.asarray(batch.x, float), batch.y, batch.mask)
        _, _, without = setting(missing_task=1)
        without = mtopt.Batch(batch.x, batch.y, without.mask)
        floor = (0.1, 0.0, 0.2)
        tx = mtopt.chain(
            famo(3, learning_rate=0.1, gamma=0.3, min_losses=floor),
            optax.clip_by_global_norm(0.5),
            optax.sgd(0.5, momentum=0.9),
        )
        state = mtopt.TrainState.create(params, tx, KEY)
        step = compiled_once(mtopt.make_train_step(tasks, tx))

        @jax.jit
        def losses(batch, params):
            return tasks.problem(batch, KEY).losses(params)

        memory = (np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3))
        for now in (batch, batch, without, batch):
            before = np.asarray(losses(now, state.params))
            state, _ = step(state, now)
            present = np.asarray(now.mask.any(1))
            expected, memory = by_hand(
                before,
                np.asarray(losses(now, state.params)),
                present,
                floor,
                0.3,
                memory,
            )
            weights = optax.tree.get(state.opt_state, "weights")
            np.testing.assert_allclose(weights, expected, rtol=1e-6)
            logits = state.opt_state[0].memory.values
            np.testing.assert_allclose(logits, memory[0], rtol=1e-5, atol=1e-7)


def test_it_costs_one_forward_more_than_a_plain_step():
    shape = (4, 64, 128, (128,), 10, None)
    tasks, params, batch = problems.classification(*shape)

    def step_flops(tx):
        state = mtopt.TrainState.create(params, tx, KEY)
        step = mtopt.make_train_step(tasks, tx)
        return step.lower(state, batch).compile().cost_analysis()["flops"]

    plain = step_flops(mtopt.chain(mtopt.equal_weighting(4), optax.sgd(0.1)))
    forward = problems.flops(
        lambda p, b: tasks.problem(b, KEY).losses(p), params, batch
    )
    budget = plain + forward
    assert step_flops(mtopt.chain(famo(4), optax.sgd(0.1))) <= 1.01 * budget


def test_it_evens_out_the_progress_of_losses_of_different_size():
    """Two quadratics, one 1000 times the other, each with a coordinate of its own."""

    def encode(shared, x, key):
        del x, key
        return 1 + jnp.square(shared)

    def head_loss(head, z, y, mask, key):
        del key
        loss = jax.lax.stop_gradient(head["size"]) * (z @ y[0])
        return mtopt.masked_mean(jnp.full(mask.shape, loss), mask)

    tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
    sizes = jnp.array([1.0, 1000.0])
    params = {
        "shared": jnp.array([3.0, 3.0]),
        "tasks": mtopt.PerTask({"size": sizes}, tasks.names),
    }
    batch = mtopt.Batch(jnp.zeros((1, 1)), jnp.eye(2)[:, None], jnp.ones((2, 1), bool))

    def fallen(method):
        tx = mtopt.chain(method, optax.normalize_by_update_norm(), optax.sgd(0.05))
        state = mtopt.TrainState.create(params, tx, KEY)
        step = mtopt.make_train_step(tasks, tx)
        for _ in range(20):
            state, metrics = step(state, batch)
        return np.log(10 * sizes / np.asarray(metrics["losses"]))

    equal, even = fallen(mtopt.equal_weighting(2)), fallen(famo(2))
    assert equal[0] < 0.01 * equal[1]
    np.testing.assert_allclose(even[0], even[1], rtol=0.05)


def clipped(inner=mtopt.chain):
    return inner(famo(3), optax.clip_by_global_norm(0.1))


def test_a_chain_in_a_chain_judges_the_whole_step():
    tasks, params, batch = setting()

    def logits(*members):
        tx = mtopt.chain(*members)
        state = mtopt.TrainState.create(params, tx, KEY)
        step = mtopt.make_train_step(tasks, tx)
        for _ in range(2):
            state, _ = step(state, batch)
        return optax.tree.get(state.opt_state, "memory").values

    flat = logits(famo(3), optax.clip_by_global_norm(0.1), optax.sgd(0.1))
    assert np.abs(flat).max() > 0.01
    np.testing.assert_allclose(logits(clipped(), optax.sgd(0.1)), flat, rtol=1e-5)
    behind = optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1))
    np.testing.assert_allclose(logits(famo(3), behind), flat, rtol=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: optax.chain(famo(3), optax.sgd(0.1)),
        lambda: optax.chain(clipped(), optax.sgd(0.1)),
        lambda: mtopt.chain(clipped(optax.chain), optax.sgd(0.1)),
        lambda: mtopt.chain(
            optax.chain(mtopt.smoothed_weights(famo(3)), optax.sgd(0.1))
        ),
    ],
    ids=["alone", "a chain of mtopt within", "around", "wrapped"],
)
def test_an_ordinary_chain_is_told_what_to_do(build):
    """It would judge a step that the members behind it never take."""
    tasks, _, _ = setting()
    with pytest.raises(mtopt.UserError, match=r"stands in optax\.chain.*mtopt\.chain"):
        mtopt.make_train_step(tasks, build())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: famo(2, learning_rate=0), "learning_rate is 0"),
        (lambda: famo(2, gamma=-1), "gamma is -1"),
        (lambda: famo(2, min_losses=(0, 0, 0)), "expected 2 finite numbers"),
        (lambda: famo(2, heads="none"), "heads is 'none'"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
