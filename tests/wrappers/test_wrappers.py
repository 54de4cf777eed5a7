"""Wrappers around aggregators, and transformations of rows before them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.aggregation import weights_of
from mtopt.transforms import TRANSFORMS, normalize_rows, task_momentum
from mtopt.transforms.task_momentum import undo_momentum
from mtopt.wrappers import WRAPPERS, log_losses, smoothed_weights, weights_every
from mtopt.wrappers.log_losses import LogProblem
from tests.helpers import problems

ROWS = jnp.array([[1.0, 2.0, 0.0, 1.0], [-1.0, 0.5, 4.0, 0.0], [0.2, 0.0, 0.1, 0.3]])
LOSSES = jnp.array([2.0, 0.5, 4.0])
PARAMS = jnp.zeros(4)


def steps(tx, stacks, **extra):
    """The directions and weights of one update after another."""
    state = tx.init(PARAMS)
    update = jax.jit(tx.update)
    found = []
    for k, rows in enumerate(stacks):
        own = {name: values[k] for name, values in extra.items()}
        direction, state = update(rows, state, PARAMS, **own)
        found.append((np.asarray(direction), np.asarray(weights_of(state))))
    return found


def model(**options):
    return problems.classification(3, 6, 5, (7,), 4, None, **options)


def train(tx, batches, tasks, params):
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = mtopt.make_train_step(tasks, tx)
    for batch in batches:
        state, metrics = step(state, batch)
    assert step._cache_size() == 1
    return state, metrics


def assert_trees_close(found, expected, **tolerance):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected
    )


def averages(num_tasks):
    """An aggregator with rows of its own making: unit rows, equal weights."""

    def reduce(memory, *, rows, present, **_):
        return jnp.ones(num_tasks), jax.tree.map(jnp.sign, rows), memory

    return mtopt.row_weighting(num_tasks, reduce, heads="plain")


# --- log_losses -----------------------------------------------------------------------


def test_log_losses_hand_an_aggregator_the_rows_of_the_logs():
    (direction, weights), *_ = steps(log_losses(mtopt.mgda(3)), [ROWS], losses=[LOSSES])
    (expected, solved), *_ = steps(mtopt.mgda(3), [ROWS / LOSSES[:, None]])
    np.testing.assert_allclose(direction, expected, rtol=1e-5)
    np.testing.assert_allclose(weights, solved, rtol=1e-5)


@pytest.mark.parametrize(
    "inner",
    [
        mtopt.equal_weighting(3),
        mtopt.mgda(3, normalize="loss+"),
        mtopt.mgda(3, space="representation", heads="plain"),
    ],
    ids=["pulled back", "rows", "representation"],
)
def test_log_losses_are_the_method_on_a_model_that_returns_logs(inner):
    """The same step as with the logarithm written into the model's loss."""
    tasks, params, batch = model(missing=0.2)

    def log_loss(*arguments):
        return jnp.log(tasks.head_loss(*arguments) + 1e-8)

    logged = mtopt.Tasks(tasks.names, tasks.encode, log_loss)
    sgd = optax.sgd(1.0)
    found, _ = train(optax.chain(log_losses(inner), sgd), [batch], tasks, params)
    expected, _ = train(optax.chain(inner, sgd), [batch], logged, params)
    assert_trees_close(found.params, expected.params, rtol=1e-4, atol=1e-6)


def test_a_log_problem_is_the_problem_of_a_model_that_returns_logs():
    tasks, params, batch = model(missing=0.2)

    def log_loss(*arguments):
        return jnp.log(tasks.head_loss(*arguments) + 0.1)

    key = jax.random.key(1)
    found = LogProblem(tasks.problem(batch, key), 0.1)
    logged = mtopt.Tasks(tasks.names, tasks.encode, log_loss).problem(batch, key)
    assert found.names == logged.names
    weights = jnp.array([0.2, -1.0, 3.0])

    @jax.jit
    def answers(problem):
        parts = problem.split(2)
        return (
            problem.present,
            problem.losses(params),
            problem.losses_and_grads(params),
            problem.representation_gramian(params),
            problem.pullback(params, weights),
            [part.losses(params) for part in parts],
        )

    assert_trees_close(answers(found), answers(logged), rtol=1e-4, atol=1e-6)


def test_log_losses_of_zero_and_of_absent_tasks_are_finite():
    tx = log_losses(mtopt.equal_weighting(3), epsilon=0.5)
    found = steps(
        tx,
        [ROWS.at[2].set(0)],
        losses=[jnp.array([0.0, 1.5, jnp.nan])],
        present=[jnp.array([True, True, False])],
    )
    expected = (ROWS[0] / 0.5 + ROWS[1] / 2) / 2
    np.testing.assert_allclose(found[0][0], expected, rtol=1e-6)

    tasks, params, batch = model()
    batch = mtopt.Batch(batch.x, batch.y, batch.mask.at[1].set(False))
    state, _ = train(log_losses(mtopt.mgda(3)), [batch], tasks, params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_log_losses_need_the_losses():
    tx = log_losses(mtopt.mgda(3))
    with pytest.raises(TypeError, match="losses"):
        tx.update(ROWS, tx.init(PARAMS), PARAMS)


# --- smoothed_weights -----------------------------------------------------------------

STACKS = [ROWS, ROWS[::-1], ROWS * jnp.array([[5.0], [1.0], [0.1]])]


def test_smoothed_weights_are_the_running_mean_of_the_solutions():
    solved = [weights for _, weights in steps(mtopt.mgda(3), STACKS)]
    mean = solved[0]
    found = steps(smoothed_weights(mtopt.mgda(3), alpha=0.8), STACKS)
    for rows, new, (direction, weights) in zip(STACKS, solved, found, strict=True):
        mean = 0.8 * mean + 0.2 * new
        np.testing.assert_allclose(weights, mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(direction, mean @ rows, rtol=1e-4, atol=1e-5)


def test_an_absent_task_keeps_its_mean_and_returns_to_it():
    here = [jnp.ones(3, bool), jnp.array([True, False, True]), jnp.ones(3, bool)]
    solved = [w for _, w in steps(mtopt.mgda(3), STACKS, present=here)]
    tx = smoothed_weights(mtopt.mgda(3), alpha=0.5)
    found = [weights for _, weights in steps(tx, STACKS, present=here)]
    assert found[1][1] == 0
    np.testing.assert_allclose(
        found[2][1], 0.5 * solved[0][1] + 0.5 * solved[2][1], rtol=1e-4, atol=1e-6
    )


def test_the_first_weight_of_a_task_starts_its_mean():
    here = [jnp.array([True, False, True]), jnp.ones(3, bool)]
    solved = [w for _, w in steps(mtopt.mgda(3), STACKS[:2], present=here)]
    tx = smoothed_weights(mtopt.mgda(3))
    found = [weights for _, weights in steps(tx, STACKS[:2], present=here)]
    np.testing.assert_allclose(found[1][1], solved[1][1], rtol=1e-5)


def test_rows_of_its_own_making_are_summed_with_the_smoothed_weights():
    (direction, _), *_ = steps(smoothed_weights(averages(3)), [ROWS])
    np.testing.assert_allclose(direction, np.sign(ROWS).sum(axis=0))


# --- weights_every --------------------------------------------------------------------


def counting(num_tasks):
    """MGDA that remembers how often it solved."""

    def weigh(memory, gramian, *, present, **_):
        weights = mtopt.solvers.min_norm_weights(gramian, present)
        return weights, {"solves": memory["solves"] + 1}

    def memory(shared):
        del shared
        return {"solves": jnp.zeros((), jnp.int32)}

    return mtopt.on_gramian(num_tasks, weigh, heads="weighted", memory=memory)


def test_weights_are_held_between_the_solves():
    stacks = [*STACKS, *STACKS[:2]]
    solved = [weights for _, weights in steps(mtopt.mgda(3), stacks)]
    held = [solved[0], solved[0], solved[2], solved[2], solved[4]]
    found = steps(weights_every(mtopt.mgda(3), n=2), stacks)
    for rows, expected, (direction, weights) in zip(stacks, held, found, strict=True):
        np.testing.assert_allclose(weights, expected, rtol=1e-5)
        np.testing.assert_allclose(direction, expected @ rows, rtol=1e-4, atol=1e-5)


def test_every_step_is_the_method_itself():
    tasks, params, batch = model()
    sgd = optax.sgd(0.1)
    inner = mtopt.mgda(3)
    every = optax.chain(weights_every(inner, n=1), sgd)
    found, _ = train(every, [batch] * 3, tasks, params)
    expected, _ = train(optax.chain(inner, sgd), [batch] * 3, tasks, params)
    assert_trees_close(found.params, expected.params, rtol=1e-4, atol=1e-6)


def test_solves_and_their_backward_passes_stand_in_a_branch():
    tasks, params, batch = model()
    tx = optax.chain(weights_every(counting(3), n=3), optax.sgd(0.1))
    state, _ = train(tx, [batch] * 7, tasks, params)
    assert optax.tree.get(state.opt_state, "solves") == 3

    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    lowered = mtopt.make_train_step(tasks, tx).lower(state, batch)
    text = lowered.compile().as_text()
    main = text[text.index("\nENTRY") :]
    assert "conditional(" in main
    rows_of_first_layer = re.escape("f32[3,5,7]")  # [K, inputs, hidden]
    assert not re.search(rows_of_first_layer, main)
    assert re.search(rows_of_first_layer, text)


def test_a_method_that_looks_ahead_does_so_with_its_solves_alone():
    """FAMO learns from what a step does: from the first of these, and no other."""
    tasks, params, batch = model()
    after = {}
    for name, tx, count in (
        ("held", weights_every(mtopt.METHODS["famo"](3), n=4), 3),
        ("once", mtopt.METHODS["famo"](3), 1),
    ):
        tx = mtopt.chain(tx, optax.sgd(0.1))
        state, _ = train(tx, [batch] * count, tasks, params)
        after[name] = optax.tree.get(state.opt_state, "memory")
    assert_trees_close(after["held"], after["once"], rtol=1e-5, atol=1e-7)


def test_a_task_absent_from_the_solve_keeps_its_weight():
    here = [jnp.ones(3, bool), jnp.array([False, True, True]), jnp.ones(3, bool)]
    tx = weights_every(mtopt.fixed_weighting(3, weights=(1.0, 2.0, 3.0)), n=1)
    found = steps(tx, STACKS, present=here)
    np.testing.assert_allclose(found[1][1], [0, 2, 3])
    tx = weights_every(mtopt.mgda(3), n=2)
    first = [here[1], here[0], here[0]]
    found = steps(tx, STACKS, present=first)
    assert found[0][1][0] == 0
    assert found[1][1][0] == pytest.approx(1 / 3)  # the first weight, until a solve


def test_rows_of_its_own_making_cannot_be_held():
    tx = weights_every(averages(3), n=2)
    with pytest.raises(mtopt.UserError, match="sums rows that it makes"):
        tx.update(ROWS, tx.init(PARAMS), PARAMS)


# --- wrappers of wrappers -------------------------------------------------------------


def test_wrappers_compose_in_either_order():
    logs = [LOSSES, LOSSES * 2, LOSSES[::-1]]
    scaled = [rows / own[:, None] for rows, own in zip(STACKS, logs, strict=True)]
    plain = steps(
        weights_every(smoothed_weights(mtopt.mgda(3), alpha=0.5), n=2), scaled
    )
    tx = log_losses(weights_every(smoothed_weights(mtopt.mgda(3), alpha=0.5), n=2))
    for (found, _), (expected, _) in zip(
        steps(tx, STACKS, losses=logs), plain, strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    tx = weights_every(smoothed_weights(log_losses(mtopt.mgda(3)), alpha=0.5), n=2)
    for (found, _), (expected, _) in zip(
        steps(tx, STACKS, losses=logs), plain, strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    solved = [weights for _, weights in steps(mtopt.mgda(3), STACKS)]
    tx = smoothed_weights(weights_every(mtopt.mgda(3), n=2), alpha=0.5)
    found = [weights for _, weights in steps(tx, STACKS)]
    np.testing.assert_allclose(found[1], solved[0], rtol=1e-5)
    np.testing.assert_allclose(
        found[2], 0.5 * solved[0] + 0.5 * solved[2], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("wrapper", [smoothed_weights, lambda a: weights_every(a, n=2)])
@pytest.mark.parametrize(
    "inner",
    [optax.with_extra_args_support(optax.scale(0.1)), mtopt.chain(mtopt.mgda(3))],
    ids=["no aggregator", "a chain"],
)
def test_what_is_no_aggregator_cannot_be_wrapped(wrapper, inner):
    with pytest.raises(mtopt.UserError, match="an aggregator"):
        wrapper(inner).init(PARAMS)


def test_smoothing_twice_is_an_error():
    tx = smoothed_weights(smoothed_weights(mtopt.mgda(3)))
    with pytest.raises(mtopt.UserError, match="expected one of them"):
        tx.update(ROWS, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_wrapped_methods_keep_dtypes_and_train_under_jit(name):
    tasks, params, batch = model()
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    options = {"n": 2} if name == "weights_every" else {}
    tx = optax.chain(WRAPPERS[name](mtopt.mgda(3), **options), optax.adam(1e-3))
    state, metrics = train(tx, [batch] * 3, tasks, params)
    for leaf in jax.tree.leaves(state.params):
        assert leaf.dtype == jnp.bfloat16
        assert np.isfinite(np.asarray(leaf, np.float32)).all()
    assert np.isfinite(metrics["losses"]).all()


# --- transformations of rows ----------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "scale"),
    [
        ("l2", np.linalg.norm(ROWS, axis=1)),
        ("loss", LOSSES),
        ("loss+", LOSSES * np.linalg.norm(ROWS, axis=1)),
    ],
)
def test_rows_are_divided_by_their_scale(by, scale):
    tx = normalize_rows(3, by=by)
    rows, _ = tx.update(ROWS, tx.init(PARAMS), PARAMS, losses=LOSSES)
    np.testing.assert_allclose(rows, ROWS / scale[:, None], rtol=1e-5)


@pytest.mark.parametrize("size", [1e-30, 1e-10, 1e15, 1e30])
def test_rows_of_any_size_become_units_and_zeros_stay(size):
    rows = {"a": size * ROWS[:, :2].at[2].set(0), "b": size * ROWS[:, 2:].at[2].set(0)}
    tx = normalize_rows(3)
    found, _ = tx.update(rows, tx.init(PARAMS))
    norms = np.sqrt(sum(np.sum(np.square(leaf), axis=1) for leaf in found.values()))
    np.testing.assert_allclose(norms, [1, 1, 0], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(TRANSFORMS.keys() - {"per_task_sam", "sam"}))
def test_transformations_of_rows_alone_leave_the_heads_as_they_are(name):
    tasks, params, batch = model()
    problem = tasks.problem(batch, jax.random.key(0))
    losses, grads = jax.jit(problem.losses_and_grads)(params)
    tx = TRANSFORMS[name](3)
    update = jax.jit(tx.update)
    found, _ = update(grads, tx.init(params), params, losses=losses)
    assert_trees_close(found["tasks"], grads["tasks"])
    assert jax.tree.structure(found) == jax.tree.structure(grads)


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
        (lambda: log_losses(mtopt.mgda(2), epsilon=0), "epsilon is 0"),
        (lambda: smoothed_weights(mtopt.mgda(2), alpha=1), "alpha is 1"),
        (lambda: weights_every(mtopt.mgda(2), n=0), "n is 0"),
        (lambda: normalize_rows(2, by="norm"), "by is 'norm'"),
        (lambda: normalize_rows(0), "num_tasks is 0"),
        (lambda: task_momentum(2, beta=1), "beta is 1"),
        (lambda: task_momentum(2, beta2=-0.1), "beta2 is -0.1"),
        (lambda: task_momentum(2, epsilon=0), "epsilon is 0"),
        (lambda: undo_momentum(beta=1), "beta is 1"),
    ],
)
def test_options_out_of_range_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
