"""What every method must hold, over one list: a new method joins with one row."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import problems
import pytest

import mtopt

# name in METHODS -> the options of the methods that have no default for one.
OPTIONS = {
    "equal_weighting": lambda k: {},
    "fixed_weighting": lambda k: {"weights": tuple(np.full(k, 1 / k))},
    "mgda": lambda k: {},
    "single_task": lambda k: {"task": 0},
}
# Permuting the tasks permutes the options of these too.
TASK_BOUND = {"single_task"}
# <g_k, d> >= 0 for every task.
NON_CONFLICTING = {"mgda"}
# Identical tasks give that gradient (and K = 1 the plain one).
MEAN_LIKE = {"equal_weighting", "fixed_weighting", "mgda", "single_task"}

every_method = pytest.mark.parametrize("name", sorted(mtopt.METHODS))


def make(name, num_tasks):
    return mtopt.METHODS[name](num_tasks, **OPTIONS[name](num_tasks))


def extra(problem, params, grads):
    return {
        "rows": grads["shared"],
        "losses": problem.losses(params),
        "present": problem.present,
        "pullback": lambda weights: problem.pullback(params, weights),
        "problem": problem,
    }


def direction(name, jacobian, **kwargs):
    """The method on plain rows, with losses 1, 2, ..."""
    num_tasks = jacobian.shape[0]
    tx = make(name, num_tasks)
    losses = jnp.arange(1.0, num_tasks + 1)
    params = jnp.zeros(jacobian.shape[1:], jacobian.dtype)
    update, _ = tx.update(jacobian, tx.init(params), params, losses=losses, **kwargs)
    return np.asarray(update)


def rows(num_tasks, size, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(num_tasks, size)) + 0.3, jnp.float32)


def test_the_list_covers_every_method():
    assert OPTIONS.keys() == mtopt.METHODS.keys()


@every_method
def test_structure_shape_and_dtype_are_those_of_the_parameters(name):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    problem = tasks.problem(batch, jax.random.key(0))
    _, grads = problem.losses_and_grads(params)
    tx = make(name, 3)
    extra_args = extra(problem, params, grads)
    updates, _ = tx.update(grads, tx.init(params), params, **extra_args)
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    for update, parameter in zip(
        jax.tree.leaves(updates), jax.tree.leaves(params), strict=True
    ):
        assert (update.shape, update.dtype) == (parameter.shape, parameter.dtype)


@every_method
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_dtypes_survive(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        jacobian = jnp.asarray(np.asarray(rows(3, 5)), dtype)
        assert direction(name, jacobian).dtype == dtype


@every_method
def test_it_accepts_what_it_does_not_know(name):
    direction(name, rows(3, 5), something_new=object())


@every_method
def test_the_step_compiles_once_and_its_state_has_no_weak_types(name):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    tx = optax.chain(make(name, 3), optax.adam(1e-3))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    assert not any(
        leaf.weak_type for leaf in jax.tree.leaves(state) if hasattr(leaf, "weak_type")
    )
    step = mtopt.make_train_step(tasks, tx)
    for _ in range(3):
        state, _ = step(state, batch)
    assert step._cache_size() == 1


@every_method
def test_eager_jitted_and_vmapped_agree(name):
    stack = jnp.stack([rows(3, 5, seed) for seed in range(4)])
    eager = np.stack([direction(name, jacobian) for jacobian in stack])
    tx = make(name, 3)

    def update(jacobian):
        losses = jnp.arange(1.0, 4.0)
        return tx.update(jacobian, tx.init(jnp.zeros(5)), jnp.zeros(5), losses=losses)[
            0
        ]

    jitted = np.stack([jax.jit(update)(jacobian) for jacobian in stack])
    np.testing.assert_allclose(jitted, eager, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(update)(stack), eager, rtol=1e-5, atol=1e-6)


@every_method
def test_one_task_gives_its_own_gradient(name):
    jacobian = rows(1, 5)
    np.testing.assert_allclose(direction(name, jacobian), jacobian[0], rtol=1e-6)


@pytest.mark.parametrize("name", sorted(MEAN_LIKE))
def test_identical_tasks_give_that_gradient(name):
    jacobian = jnp.tile(rows(1, 5), (4, 1))
    np.testing.assert_allclose(direction(name, jacobian), jacobian[0], rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(mtopt.METHODS) - TASK_BOUND))
def test_the_order_of_tasks_does_not_matter(name):
    jacobian = rows(4, 6)
    losses = jnp.arange(1.0, 5.0)
    order = np.array([2, 0, 3, 1])
    tx = make(name, 4)
    state = tx.init(jnp.zeros(6))
    straight, a = tx.update(jacobian, state, jnp.zeros(6), losses=losses)
    permuted, b = tx.update(jacobian[order], state, jnp.zeros(6), losses=losses[order])
    np.testing.assert_allclose(permuted, straight, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(b.weights, a.weights[order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(NON_CONFLICTING))
@pytest.mark.parametrize("seed", range(5))
def test_the_direction_conflicts_with_no_task(name, seed):
    jacobian = np.asarray(rows(5, 8, seed)) - 0.3
    inner = jacobian @ direction(name, jnp.asarray(jacobian))
    assert inner.min() >= -1e-6 * np.linalg.norm(jacobian, axis=1).max() ** 2


@every_method
@pytest.mark.parametrize("scale", [1e-10, 1e-5, 1e3, 1e10, 1e15])
def test_scales_keep_it_finite(name, scale):
    assert np.isfinite(direction(name, rows(4, 6) * jnp.float32(scale))).all()


@every_method
@pytest.mark.parametrize(
    "jacobian",
    [np.zeros((3, 4)), [[1, 2], [0, 0], [3, -1]], [[1, 1], [1, 1], [-1, -1]]],
    ids=["all zero", "one zero row", "stationary"],
)
def test_degenerate_rows_keep_it_finite(name, jacobian):
    assert np.isfinite(direction(name, jnp.asarray(jacobian, jnp.float32))).all()


@every_method
def test_an_absent_task_takes_no_part(name):
    jacobian = rows(4, 6).at[2].set(0.0)
    present = jnp.array([True, True, False, True])
    tx = make(name, 4)
    losses = jnp.array([1.0, 2.0, 0.0, 4.0])
    update, state = tx.update(
        jacobian, tx.init(jnp.zeros(6)), jnp.zeros(6), losses=losses, present=present
    )
    assert state.weights[2] == 0
    assert np.linalg.norm(update) > 0.01
    moved = jacobian.at[2].set(100.0)
    again, _ = tx.update(
        moved, tx.init(jnp.zeros(6)), jnp.zeros(6), losses=losses, present=present
    )
    np.testing.assert_allclose(again, update, rtol=1e-5, atol=1e-6)


@every_method
def test_nobody_present_gives_no_direction(name):
    assert not direction(name, jnp.zeros((3, 4)), present=jnp.zeros(3, bool)).any()


@every_method
def test_task_weights_multiply_the_solution(name):
    jacobian = rows(3, 6)
    tx = make(name, 3)
    losses = jnp.arange(1.0, 4.0)
    state = tx.init(jnp.zeros(6))
    _, plain = tx.update(jacobian, state, jnp.zeros(6), losses=losses)
    task_weights = jnp.array([1.0, 0.1, 0.0])
    weighted, after = tx.update(
        jacobian, state, jnp.zeros(6), losses=losses, task_weights=task_weights
    )
    np.testing.assert_allclose(
        weighted, (plain.weights * task_weights) @ jacobian, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(after.weights, plain.weights)


@every_method
def test_rows_and_pullback_give_the_same_step(name):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    problem = tasks.problem(batch, jax.random.key(0))
    losses, grads = problem.losses_and_grads(params)
    tx = make(name, 3)
    extra_args = extra(problem, params, grads)
    pulled, _ = tx.update(grads, tx.init(params), params, **extra_args)
    summed, _ = tx.update(grads, tx.init(params), params, losses=losses)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        pulled,
        summed,
    )


@every_method
def test_rows_that_a_transformation_changed_are_what_counts(name):
    """A scalarizer must not pull weights back past a SAM that stands before it."""
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)

    def double(updates, state, params=None, **extra):
        del params, extra
        rows = jax.tree.map(lambda leaf: 2 * leaf, updates["shared"])
        return {**updates, "shared": rows}, state

    init = optax.EmptyState
    doubled = optax.GradientTransformationExtraArgs(lambda params: init(), double)
    moves = []
    for before in (optax.identity(), doubled):
        tx = optax.chain(before, make(name, 3), optax.sgd(1.0))
        state = mtopt.TrainState.create(params, tx, jax.random.key(0))
        after, _ = mtopt.make_train_step(tasks, tx)(state, batch)
        moves.append(
            jax.tree.map(
                lambda a, b: np.asarray(a - b), after.params["shared"], params["shared"]
            )
        )
    jax.tree.map(
        lambda plain, twice: np.testing.assert_allclose(
            twice, 2 * plain, rtol=1e-3, atol=1e-5
        ),
        *moves,
    )


@every_method
def test_the_problem_says_who_is_present(name):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    batch = mtopt.Batch(batch.x, batch.y, batch.mask.at[1].set(False))
    problem = tasks.problem(batch, jax.random.key(0))
    losses, grads = problem.losses_and_grads(params)
    tx = make(name, 3)
    updates, state = tx.update(
        grads, tx.init(params), params, losses=losses, problem=problem
    )
    assert state.weights[1] == 0
    assert np.linalg.norm(jax.tree.leaves(updates["shared"])[0]) > 0


@every_method
def test_a_learning_rate_of_zero_moves_nothing(name):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    before = jax.tree.map(np.asarray, params)
    tx = optax.chain(make(name, 3), optax.sgd(0.0))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    state, _ = mtopt.make_train_step(tasks, tx)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.params, before)


@every_method
def test_rows_without_the_task_axis_are_an_error(name):
    tx = make(name, 3)
    with pytest.raises(mtopt.UserError, match="expected rows of 3 tasks"):
        tx.update(
            jnp.zeros((5,)), tx.init(jnp.zeros(5)), jnp.zeros(5), losses=jnp.ones(3)
        )


@every_method
def test_it_trains(name):
    tasks, params, batch = problems.classification(3, 32, 5, (16,), 2, None)
    batch = mtopt.Batch(batch.x, (batch.x[:, :3].T > 0).astype(int), batch.mask)
    tx = optax.chain(make(name, 3), optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = mtopt.make_train_step(tasks, tx)
    for _ in range(200):
        state, metrics = step(state, batch)
    assert metrics["losses"][0] < 0.3
