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
from tests.helpers.methods import OF_EVERY_KIND, assert_finite, make

ROWS = jnp.array([[1.0, 0.0, 0.5], [2.0, 0.4, 0.0], [-0.3, 0.1, -0.1], [0.1, 0.2, 0.3]])
PARAMS = jnp.zeros(3)


def run(tx, stacks, **known):
    """The direction and state after every one of several steps of length 0.1."""
    params, state, found = PARAMS, tx.init(PARAMS), []
    seen = mtopt.Evaluation(**{"losses": jnp.ones(len(stacks[0])), **known})
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
        matrix = jax.random.normal(jax.random.key(0), (3, 3))
        start, learned = jnp.array([0.3, -1.0, 0.5]), 1e-4 * jnp.array([1.0, 2.0, -1.0])

        def loss(point):
            return jnp.sum(jnp.sin(matrix @ point) ** 2)

        def of_theta(theta):
            return jnp.log(loss(start - jax.nn.sigmoid(-theta) * learned))

        theta, step = 0.4, 1e-3
        difference = (of_theta(theta + step) - of_theta(theta - step)) / (2 * step)
        s = jax.nn.sigmoid(theta)
        gradient = jax.grad(loss)(start)
        expected = s * (1 - s) * (gradient @ learned) / loss(start)
        np.testing.assert_allclose(difference, expected, rtol=1e-2)
        lengths = jnp.linalg.norm(gradient) * jnp.linalg.norm(learned)
        cosine = alignment(gradient[None], learned)[0]
        np.testing.assert_allclose(cosine * lengths, gradient @ learned, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_units_of_the_losses_do_not_matter(scale):
    tx = outlier_weighted(mtopt.equal_weighting(4), num_shared=0)
    factors = jnp.array([1.0, scale, 1.0, scale])
    update = jax.jit(tx.update)
    found = []
    for unit in (jnp.ones(4), factors):
        state = tx.init(PARAMS)
        for _ in range(3):
            _, state = update(
                ROWS * unit[:, None], state, evaluation=mtopt.Evaluation(losses=unit)
            )
        found.append(logits(state))
    assert abs(found[0]).min() > 0.1
    assert_close(found[1], found[0], rtol=1e-5)


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
    tx = outlier_weighted(mtopt.mgda(3), num_shared=0)
    direction, state = updated(tx, rows, 60)
    np.testing.assert_allclose(direction, rows[0], rtol=0.01, atol=1e-4)
    assert optax.tree.get(state, "weights")[2] == 0
    assert weights(state)[2] < 0.1
    kept = outlier_weighted(mtopt.mgda(3), num_shared=0, drop_below=0)
    assert abs(updated(kept, rows, 60)[0]).max() < 0.6
    _, state = updated(tx, rows.at[2].set(rows[0]), 60, state)
    assert weights(state)[2] > 0.5


def test_tasks_that_agree_keep_all_their_weight():
    agreeing = [abs(ROWS) + 0.1 * k for k in range(50)]
    _, state = run(outlier_weighted(mtopt.mgda(4), num_shared=0), agreeing)[-1]
    assert weights(state).min() > 0.9


def test_absent_tasks_and_zero_rows_neither_judge_nor_are_judged():
    present = jnp.array([True, True, True, False])
    tx = outlier_weighted(mtopt.mgda(4), num_shared=0)
    direction, state = run(tx, [ROWS.at[3].set(0.0)] * 3, present=present)[-1]
    small = outlier_weighted(mtopt.mgda(3), num_shared=0)
    expected, few = run(small, [ROWS[:3]] * 3)[-1]
    assert_close(direction, expected, rtol=1e-5)
    assert_close(logits(state)[:3], logits(few), rtol=1e-5)
    assert logits(state)[3] == 0
    assert np.isfinite(run(tx, [jnp.zeros((4, 3))] * 2)[-1][0]).all()


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


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in OF_EVERY_KIND else pytest.mark.slow)
        for name in sorted(mtopt.METHODS)
    ],
)
def test_every_aggregator_is_a_step_with_it(name):
    """Traced with all four families; compiled for one of every kind below."""
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = outlier_weighted(mtopt.rep_mtl(mtopt.flat_regions(make(name, 3), rho=0.05)))
    tx = mtopt.chain(tx, optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    after, _ = jax.eval_shape(mtopt.make_train_step(tasks, tx), state, batch)
    assert after.opt_state == jax.eval_shape(lambda: state).opt_state


@pytest.mark.parametrize(
    "name",
    [
        "mgda",
        "famo",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in sorted(OF_EVERY_KIND - {"mgda", "famo"})
        ),
    ],
)
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


@pytest.mark.parametrize("inner", WITH)
def test_it_stands_around_other_wrappers(inner):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = outlier_weighted(WITH[inner](mtopt.mgda(3)), num_shared=0)
    tx = mtopt.chain(per_task_sam(3, rho=0.05), tx, optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = mtopt.make_train_step(tasks, tx)
    for _ in range(2):
        state, _ = step(state, batch)
    assert_finite((state.params, state.opt_state))
    assert (logits(state.opt_state) != 0).all()


# --- planted outliers -----------------------------------------------------------------

REGULAR = 7
PROTECTED = [
    "equal_weighting",
    "mgda",
    pytest.param("upgrad", marks=pytest.mark.slow),
    pytest.param("cagrad", marks=pytest.mark.slow),
]


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


def accuracy(aggregator, num_tasks, seed, steps=600):
    """Of the regular tasks on fresh samples, and the final task weights."""
    tasks, params, sample = planted(num_tasks, seed)
    tx = mtopt.chain(aggregator, optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(seed))
    step = mtopt.make_train_step(tasks, tx)
    for _ in range(steps):
        x, y = sample(16)
        state, _ = step(state, mtopt.Batch(x, y, jnp.ones(y.shape, bool)))
    x, y = sample(2000)
    shared, bias = state.params["shared"], state.params["tasks"].values
    logit = (np.tanh(x @ shared["in"]) @ shared["out"])[..., 0] + bias[:, None]
    right = (logit > 0) == (y > 0.5)
    return right[:REGULAR].mean(), state.opt_state


@pytest.mark.parametrize("name", PROTECTED)
def test_planted_adversaries_are_let_go_and_cost_nothing(name):
    method = mtopt.METHODS[name]
    with_them, state = accuracy(outlier_weighted(method(10)), 10, seed=0)
    found = weights(state)
    assert found[REGULAR:].max() < 0.1 * found[:REGULAR].min()
    without, _ = accuracy(method(REGULAR), REGULAR, seed=0)
    assert with_them > without - 0.01


@pytest.mark.parametrize("name", PROTECTED[1:])
def test_without_outliers_no_task_is_dropped(name):
    method = mtopt.METHODS[name]
    found, state = accuracy(outlier_weighted(method(REGULAR)), REGULAR, seed=1)
    plain, _ = accuracy(method(REGULAR), REGULAR, seed=1)
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
