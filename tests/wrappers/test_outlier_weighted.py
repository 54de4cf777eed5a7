"""Outlier tasks found in the step: the rule, its phases, planted outliers."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.transforms import per_task_sam
from mtopt.wrappers import outlier_weighted
from mtopt.wrappers.outlier_weighted import BOUNDS, alignment
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.methods import FEW, assert_finite, make, over, some_methods

ROWS = jnp.array([[1.0, 0.0, 0.5], [2.0, 0.4, 0.0], [-0.3, 0.1, -0.1], [0.1, 0.2, 0.3]])
PARAMS = jnp.zeros(3)
OF_THREE = outlier_weighted(mtopt.mgda(3), num_shared=0)
OF_FOUR = outlier_weighted(mtopt.mgda(4), num_shared=0)


def run(tx, stacks, present=True, **known):
    """The direction and state after every one of several steps of length 0.1."""
    params, state, found = PARAMS, tx.init(PARAMS), []
    num_tasks = len(stacks[0])
    seen = mtopt.Evaluation(
        losses=np.ones(num_tasks, "float32"),
        present=np.broadcast_to(present, num_tasks),
        **known,
    )
    update = jax.jit(tx.update)
    for rows in stacks:
        direction, state = update(rows, state, params, evaluation=seen)
        params = params - 0.1 * direction
        found.append((np.asarray(direction), state))
    return found


def weights(state):
    return np.asarray(optax.tree.get(state, "task_weights"))


def logits(state):
    return np.asarray(optax.tree.get(state, "outlier_logits"))


def test_logits_follow_the_published_equations_line_by_line():
    """In float64, with loops, for steps of changing rows and parameters."""
    rng = np.random.default_rng(0)
    stacks, levels = rng.normal(size=(30, 4, 3)), rng.uniform(0.2, 3, size=(30, 4))
    stacks += np.array([[1.0], [1.0], [0.0], [-1.0]])
    theta, asked = np.zeros(4), np.zeros(3)
    with jax.enable_x64(True):
        tx = outlier_weighted(
            mtopt.equal_weighting(4), learning_rate=3.0, num_shared=0, tolerance=0.2
        )
        state = tx.init(jnp.zeros(3, jnp.float64))
        update = jax.jit(tx.update)
        for rows, losses in zip(stacks, levels, strict=True):
            _, state = update(rows, state, evaluation=mtopt.Evaluation(losses=losses))
            for k in range(4):
                s = 1 / (1 + np.exp(-theta[k]))
                length = np.sqrt((rows[k] @ rows[k]) * (asked @ asked))
                cosine = rows[k] @ asked / length if length else 0
                theta[k] -= 3 * s * (1 - s) * (cosine + 0.2)
                theta[k] = max(BOUNDS[0], min(BOUNDS[1], theta[k]))
            regular = 1 - 1 / (1 + np.exp(-theta))
            trusted = regular / regular.max()
            for k in range(4):
                asked = asked + trusted[k] * rows[k] / losses[k]
            assert_close(logits(state), theta, rtol=1e-12)
            np.testing.assert_allclose(weights(state), trusted, rtol=1e-12)
            np.testing.assert_allclose(state.memory.majority, asked, rtol=1e-12)
    assert (theta[0], theta[3]) == BOUNDS


def test_the_derivation_is_the_derivative_of_the_loss():
    """d/d theta of log L(x_0 - (1 - sigma) F) for a small F, by differences."""
    with jax.enable_x64(True):
        matrix = np.random.default_rng(0).normal(size=(3, 3))
        start, learned = np.array([0.3, -1.0, 0.5]), 1e-4 * np.array([1.0, 2.0, -1.0])

        @jax.jit
        @jax.value_and_grad
        def loss(point):
            return jnp.sum(jnp.sin(matrix @ point) ** 2)

        def of_theta(theta):
            return np.log(loss(start - learned / (1 + np.exp(theta)))[0])

        theta, step = 0.4, 1e-3
        difference = (of_theta(theta + step) - of_theta(theta - step)) / (2 * step)
        s = 1 / (1 + np.exp(-theta))
        value, gradient = jax.tree.map(np.asarray, loss(start))
        expected = s * (1 - s) * (gradient @ learned) / value
        np.testing.assert_allclose(difference, expected, rtol=1e-2)
        lengths = np.linalg.norm(gradient) * np.linalg.norm(learned)
        cosine = jax.jit(alignment)(gradient[None], learned)[0]
        np.testing.assert_allclose(cosine * lengths, gradient @ learned, rtol=1e-12)


def test_units_of_the_losses_do_not_matter():
    tx = outlier_weighted(mtopt.equal_weighting(4), num_shared=0)
    update = jax.jit(tx.update)
    found = []
    for scale in (1.0, 1e-12, 1e12):
        unit = np.array([1.0, scale, 1.0, scale], "float32")
        state = tx.init(PARAMS)
        for _ in range(3):
            _, state = update(
                ROWS * unit[:, None], state, evaluation=mtopt.Evaluation(losses=unit)
            )
        found.append(logits(state))
    assert abs(found[0]).min() > 0.1
    assert_close(found[1], found[0], rtol=1e-5)
    assert_close(found[2], found[0], rtol=1e-5)


def test_the_phases_follow_the_count_of_updates():
    tx = outlier_weighted(
        mtopt.equal_weighting(4, heads="plain"),
        num_shared=3,
        num_partition=4,
        tolerance=0,
    )
    found = run(tx, [ROWS] * 9)
    mean = np.asarray(ROWS.mean(axis=0))
    for direction, state in found[:3]:  # all share
        assert_close(direction, mean, rtol=1e-6)
        np.testing.assert_array_equal(logits(state), 0)
        np.testing.assert_array_equal(weights(state), 1)
    for (_, before), (direction, state) in itertools.pairwise(found[2:7]):
        assert (logits(state) != logits(before)).all()
        assert weights(state)[2] < weights(before)[2]
        assert abs(direction).max() > 0
    for direction, state in found[7:]:  # shared parameters rest
        np.testing.assert_array_equal(logits(state), logits(found[6][1]))
        np.testing.assert_array_equal(direction, 0)
        np.testing.assert_array_equal(weights(state), 0)


def test_own_parameters_move_in_every_phase_by_their_own_gradient():
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = outlier_weighted(mtopt.mgda(3), num_shared=1, num_partition=1)

    @jax.jit
    def update(state, params):
        seen = tasks.problem(batch, jax.random.key(1)).evaluate(params)
        return seen.gradients, tx.update(seen.gradients, state, params, evaluation=seen)

    state = tx.init(params)
    for _ in range(3):
        grads, (direction, state) = update(state, params)
        jax.tree.map(np.testing.assert_array_equal, direction["tasks"], grads["tasks"])
    assert all(not leaf.any() for leaf in jax.tree.leaves(direction["shared"]))


def updated(tx, rows, count, state=None):
    """After several updates with one stack of rows."""
    state = tx.init(PARAMS) if state is None else state
    update = jax.jit(tx.update)
    for _ in range(count):
        direction, state = update(
            rows, state, evaluation=mtopt.Evaluation(losses=jnp.ones(3))
        )
    return np.asarray(direction), state


def test_an_outlier_is_absent_from_the_solve_and_can_come_back():
    """The min-norm direction of g, g and -g is 0; without the outlier it is g."""
    rows = jnp.array([[1.0, 0.0, 0.0], [1.0, 0.1, 0.0], [-1.0, 0.0, 0.0]])
    direction, state = updated(OF_THREE, rows, 60)
    np.testing.assert_allclose(direction, rows[0], rtol=0.01, atol=1e-4)
    assert optax.tree.get(state, "weights")[2] == 0
    assert weights(state)[2] < 0.1
    kept = outlier_weighted(mtopt.mgda(3), num_shared=0, drop_below=0)
    assert abs(updated(kept, rows, 60)[0]).max() < 0.6
    _, state = updated(OF_THREE, rows.at[2].set(rows[0]), 60, state)
    assert weights(state)[2] > 0.5


def test_tasks_that_agree_keep_all_their_weight():
    agreeing = [abs(np.asarray(ROWS)) + 0.1 * k for k in range(50)]
    _, state = run(OF_FOUR, agreeing)[-1]
    assert weights(state).min() > 0.9


def test_absent_tasks_and_zero_rows_neither_judge_nor_are_judged():
    present = np.array([True, True, True, False])
    direction, state = run(OF_FOUR, [ROWS.at[3].set(0.0)] * 3, present)[-1]
    expected, few = run(OF_THREE, [ROWS[:3]] * 3)[-1]
    assert_close(direction, expected, rtol=1e-5)
    assert_close(logits(state)[:3], logits(few), rtol=1e-5)
    assert logits(state)[3] == 0
    assert np.isfinite(run(OF_FOUR, [jnp.zeros((4, 3))] * 2)[-1][0]).all()


def test_weights_of_the_user_multiply():
    own = jnp.array([1.0, 0.5, 2.0, 1.0])
    tx = outlier_weighted(mtopt.equal_weighting(4))
    direction, state = run(tx, [ROWS], task_weights=own)[0]
    assert_close(direction, own @ ROWS / 4, rtol=1e-6)
    np.testing.assert_allclose(weights(state), own)


WITH = {
    "flat_regions": functools.partial(mtopt.flat_regions, rho=0.05),
    "rep_mtl": mtopt.rep_mtl,
    "log_losses": mtopt.log_losses,
    "smoothed_weights": mtopt.smoothed_weights,
}


@some_methods
def test_every_aggregator_is_a_step_with_it(name):
    """Traced with all four families; compiled for a few below."""
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = outlier_weighted(mtopt.rep_mtl(mtopt.flat_regions(make(name, 3), rho=0.05)))
    tx = mtopt.chain(tx, optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    after, _ = jax.eval_shape(mtopt.make_train_step(tasks, tx), state, batch)
    assert after.opt_state == jax.eval_shape(lambda: state).opt_state


@over(FEW | {"mgda"}, slow=FEW - {"famo"} | {"mgda"})
def test_it_takes_finite_steps_through_all_phases(name):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = outlier_weighted(make(name, 3), num_shared=1, num_partition=2)
    tx = mtopt.chain(tx, optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = mtopt.make_train_step(tasks, tx)
    for _ in range(5):
        state, metrics = step(state, batch)
        assert_finite((metrics["losses"], state.params, state.opt_state))
    assert step._cache_size() == 1


@over(WITH, slow=["log_losses", "smoothed_weights"])
def test_it_stands_around_other_wrappers(name):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = outlier_weighted(WITH[name](mtopt.imtl_g(3)), num_shared=0)
    # Flat regions perturb by themselves, and refuse gradients of other points.
    sam, unit = per_task_sam(3, rho=0.05), mtopt.normalize_rows(3)
    tx = mtopt.chain(unit if name == "flat_regions" else sam, tx, optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = mtopt.make_train_step(tasks, tx)
    for _ in range(2):
        state, _ = step(state, batch)
    assert_finite((state.params, state.opt_state))
    assert (logits(state.opt_state) != 0).all()


# --- planted outliers -----------------------------------------------------------------

REGULAR = 7
PROTECTED = over(
    ["equal_weighting", "mgda", "upgrad", "cagrad"],
    slow=["equal_weighting", "upgrad", "cagrad"],
)


def planted(num_tasks, seed):
    """Ten tasks of one network, each a bias of its own; the last three are flipped."""
    names = tuple(f"t{k}" for k in range(num_tasks))

    def encode(shared, x, key):
        return (jnp.tanh(x @ shared["in"]) @ shared["out"])[:, 0]

    def head_loss(bias, logit, y, mask, key):
        loss = optax.sigmoid_binary_cross_entropy(logit + bias, y)
        return mtopt.masked_mean(loss, mask)

    tasks = mtopt.Tasks(names, encode, head_loss, x_axis=0)
    first, second = jax.random.split(jax.random.key(seed))
    shared = {
        "in": jax.random.normal(first, (8, 16)) / jnp.sqrt(8.0),
        "out": jax.random.normal(second, (16, 1)) / 4,
    }
    heads = mtopt.PerTask(jnp.zeros(num_tasks), names)
    rng = np.random.default_rng(seed)
    rule, bends = rng.normal(size=8), rng.normal(size=(10, 8))

    def sample(count):
        x = rng.normal(size=(10, count, 8)).astype(np.float32)
        y = (x @ rule + 0.25 * np.einsum("knd,kd->kn", x, bends) > 0).astype(np.float32)
        y[REGULAR:] = 1 - y[REGULAR:]
        return x[:num_tasks], y[:num_tasks]

    return tasks, {"shared": shared, "tasks": heads}, sample


@functools.cache
def accuracy(name, num_tasks, *, protected, seed=0, steps=600):
    """Of the regular tasks on fresh samples, and the final task weights."""
    tasks, params, sample = planted(num_tasks, seed)
    method = mtopt.METHODS[name](num_tasks)
    aggregator = outlier_weighted(method) if protected else method
    tx = mtopt.chain(aggregator, optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(seed))
    step = mtopt.make_train_step(tasks, tx)
    samples = [sample(16) for _ in range(steps)]
    x, y = (np.stack(part) for part in zip(*samples, strict=True))
    batches = mtopt.Batch(x, y, np.ones(y.shape, bool))
    state, _ = jax.jit(functools.partial(jax.lax.scan, step))(state, batches)
    x, y = sample(2000)
    shared, bias = state.params["shared"], state.params["tasks"].values
    logit = (np.tanh(x @ shared["in"]) @ shared["out"])[..., 0] + bias[:, None]
    right = (logit > 0) == (y > 0.5)
    return right[:REGULAR].mean(), state.opt_state


@PROTECTED
def test_planted_adversaries_are_let_go_and_cost_nothing(name):
    with_them, state = accuracy(name, 10, protected=True)
    found = weights(state)
    assert found[REGULAR:].max() < 0.1 * found[:REGULAR].min()
    without, _ = accuracy(name, REGULAR, protected=False)
    assert with_them > without - 0.01


@PROTECTED
def test_without_outliers_no_task_is_dropped(name):
    found, state = accuracy(name, REGULAR, protected=True)
    plain, _ = accuracy(name, REGULAR, protected=False)
    assert weights(state).min() > 0.5
    assert found > plain - 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0}, "learning_rate is 0: expected a number above 0"),
        ({"num_shared": -1}, "num_shared is -1"),
        ({"num_partition": -2}, "num_partition is -2"),
        ({"tolerance": 1.0}, "tolerance is 1.0"),
        ({"drop_below": 1}, "drop_below is 1"),
    ],
)
def test_misuse_is_one_clear_line(options, message):
    with pytest.raises(mtopt.UserError, match=message):
        outlier_weighted(mtopt.mgda(3), **options)


def test_a_chain_is_refused():
    with pytest.raises(mtopt.UserError, match="expected an aggregator alone"):
        outlier_weighted(optax.chain(mtopt.mgda(3)))
