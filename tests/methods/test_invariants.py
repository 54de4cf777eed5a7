"""What every method must hold, over one list: a new method joins with one row.

To keep forty methods affordable, the tests of a method share compiled functions: one
program updates K = 4 tasks of 6 parameters, whatever is asked of it.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.registry import FAMILIES, about
from mtopt.training.checkpoint import Checkpoints
from tests.helpers import problems
from tests.helpers.arrays import linear_update
from tests.helpers.close import assert_close
from tests.helpers.compilations import compiled_once
from tests.helpers.families import family
from tests.helpers.idle import in_words
from tests.helpers.methods import (
    FEW,
    FROM_ZERO,
    OF_EVERY_KIND,
    RULES,
    SOME,
    D,
    K,
    Method,
    a_method_of_every_kind,
    assert_finite,
    every_method,
    make,
    method,
    over,
    rows,
    some_methods,
    weights_of,
    with_trait,
)

ALL = set(mtopt.METHODS)
SUMMING = {name for name in ALL if RULES[name].gradients is not None}
SCALED = {name for name in ALL if RULES[name].reduction != "none"}
PLAIN = {name for name in ALL if RULES[name].heads == "plain"}


def test_every_kind_of_method_is_among_the_few_that_train():
    assert 8 <= len(OF_EVERY_KIND) <= 16
    assert 6 <= len(FEW) <= 10
    assert len(SOME) == 3
    assert SOME < FEW < OF_EVERY_KIND
    families = {about(mtopt.METHODS[name]).family for name in FEW}
    assert families == set(FAMILIES)


@a_method_of_every_kind
def test_half_precision_survives(name):
    direction, state = Method(name, dtype="bfloat16").types()
    assert direction.dtype == "bfloat16"
    assert optax.tree.get(state, "weights").dtype == "float32"


@a_method_of_every_kind
def test_double_precision_survives(name):
    with jax.enable_x64(True):
        direction, state = method(name, dtype="float64").types()
        assert direction.dtype == "float64"
        assert optax.tree.get(state, "weights").dtype == "float64"


@pytest.mark.slow
@every_method
def test_half_precision_keeps_it_finite(name):
    assert_finite(Method(name, dtype="bfloat16")(rows(K, D)))


@over(ALL - with_trait("random"), slow=ALL - SOME)
def test_single_precision_agrees_with_double(name):
    with jax.enable_x64(True):
        direction, state = method(name, dtype="float64")(np.asarray(rows(K, D)))
        assert_finite((direction, state))
    single, _ = method(name)(rows(K, D))
    assert_close(single, direction, rtol=2e-3)


@some_methods
def test_jitted_and_vmapped_agree(name):
    """Eager updates too, in test_families.py: operation by operation they are slow."""
    stack = np.stack([rows(K, D, seed) for seed in range(3)])
    alone = [method(name)(jacobian) for jacobian in stack]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *alone)
    assert_close(method(name).first_of_each(stack), expected, rtol=1e-4)


@every_method
def test_gradients_of_every_rank_stationary_ones_and_all_scales_keep_it_finite(name):
    for jacobian in family((K, D)):
        direction, state = method(name)(jacobian)
        assert_finite((direction, state))
        assert jacobian.any() or not direction.any()


@some_methods
def test_one_task_descends_its_own_gradient(name):
    jacobian = np.asarray(rows(1, D))
    direction, _ = method(name, 1)(jacobian)
    cosine = jacobian[0] @ direction
    cosine /= np.linalg.norm(jacobian[0]) * np.linalg.norm(direction)
    assert cosine > 1 - 1e-5
    if name in with_trait("mean-like"):
        assert_close(direction, jacobian[0], rtol=1e-4)


@over(with_trait("mean-like"))
def test_identical_tasks_give_that_gradient(name):
    jacobian = jnp.tile(rows(1, D), (K, 1))
    direction, _ = method(name)(jacobian, jnp.ones(K))
    assert_close(direction, jacobian[0], rtol=1e-4)


@over(ALL - with_trait("task-bound") - with_trait("random"))
def test_the_order_of_tasks_does_not_matter(name):
    order = np.array([2, 0, 3, 1])
    losses = jnp.arange(1.0, K + 1)
    straight = permuted = None
    for seed in range(3):
        jacobian = rows(K, D, seed)
        direction, straight = method(name)(jacobian, losses, state=straight)
        again, permuted = method(name)(jacobian[order], losses[order], state=permuted)
        assert_close(again, direction, rtol=1e-3)
        assert_close(weights_of(permuted), weights_of(straight)[order], rtol=1e-3)


@over(with_trait("non-conflicting"))
def test_the_direction_conflicts_with_no_task(name):
    for seed in range(10):
        jacobian = np.asarray(rows(K, D, seed)) - 0.3
        direction, _ = method(name)(jacobian)
        cosines = jacobian @ direction / np.linalg.norm(jacobian, axis=1)
        assert cosines.min() >= -1e-4 * np.linalg.norm(direction)


@every_method
def test_scales_keep_it_finite(name):
    for scale in (1e-10, 1e-5, 1e3, 1e10, 1e15):
        jacobian = rows(K, D) * jnp.float32(scale)
        for losses in (jnp.arange(1.0, K + 1), scale * jnp.arange(1.0, K + 1)):
            assert_finite(method(name)(jacobian, losses))
    decades = rows(K, D) * jnp.array([[1e-6], [1e-3], [1.0], [1e4]])
    assert_finite(method(name)(decades))


DEGENERATE = {
    "all zero": np.zeros((K, D)),
    "one zero row": [[1, 2, 0, 1, 0, 0], [0] * D, [3, -1, 0, 0, 1, 1], [1] * D],
    "duplicates": [[1] * D, [1] * D, [1] * D, [2, 1, 0, 0, 1, 1]],
    "stationary": [[1] * D, [1] * D, [-1] * D, [-1] * D],
    "opposite": [[1] * D, [-1] * D, [1, 0, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0]],
}


@every_method
def test_degenerate_rows_and_losses_keep_it_finite(name):
    for jacobian in DEGENERATE.values():
        state = None
        for losses in (jnp.ones(K), jnp.zeros(K), jnp.array([0.0, 1e-8, 1.0, 1e6])):
            direction, state = method(name)(jacobian, losses, state=state)
            assert_finite((direction, state))


@over(ALL - FROM_ZERO)
def test_a_method_that_takes_any_losses_minds_no_shift_of_the_losses(name):
    found = []
    for shift in (0, -5):
        state = None
        for seed, scale in enumerate((1, 0.8, 0.5)):
            own = (np.linspace(0.5, 2, K) * scale + shift).astype("float32")
            direction, state = method(name)(rows(K, D, seed), own, state=state)
        found.append((direction, weights_of(state)))
    assert_close(*found, rtol=1e-4)


@every_method
def test_an_absent_task_takes_no_part(name):
    jacobian = rows(K, D).at[2].set(0.0)
    losses = jnp.arange(1.0, K + 1)
    present = np.array([True, True, False, True])
    state = other = None
    for garbage in (100.0, np.nan, np.inf):
        direction, state = method(name)(jacobian, losses, present, state=state)
        assert weights_of(state)[2] == 0
        assert_finite((direction, state))
        moved = jacobian.at[2].set(garbage)
        again, other = method(name)(
            moved, losses.at[2].set(garbage), present, state=other
        )
        assert_close(again, direction, rtol=1e-4)
    assert np.linalg.norm(direction) > 0.01


@every_method
def test_a_task_that_returns_does_not_shock(name):
    """After two batches without it, the next step is like that of a run with it."""
    jacobian, losses = rows(K, D), jnp.arange(1.0, K + 1)
    steady = gone = None
    for step in range(4):
        present = np.array([True, True, step in (0, 3), True])
        expected, steady = method(name)(jacobian, losses, state=steady)
        direction, gone = method(name)(jacobian, losses, present, state=gone)
        assert_finite((direction, gone))
    ratio = np.linalg.norm(direction) / np.linalg.norm(expected)
    assert 1 / 3 < ratio < 3


@every_method
def test_nobody_present_gives_no_direction(name):
    nobody = np.zeros(K, bool)
    direction, state = method(name)(np.zeros((K, D)), present=nobody)
    assert not direction.any()
    assert_finite(state)
    direction, state = method(name)(rows(K, D), state=state)
    assert_finite((direction, state))


@every_method
def test_task_weights_multiply_the_solution(name):
    jacobian = rows(K, D)
    plain, state = method(name)(jacobian)
    parts = []
    for k in range(K):
        part, after = method(name)(jacobian, task_weights=np.eye(K)[k])
        np.testing.assert_array_equal(weights_of(after), weights_of(state))
        parts.append(part)
    assert_close(sum(parts), plain, rtol=1e-4, of=parts)


@over(SUMMING, slow=SUMMING - SOME - {"equal_weighting"})
def test_rows_that_a_transformation_changed_are_what_counts(name):
    """A scalarizer must not pull weights back past a SAM that stands before it."""
    jacobian = rows(K, D)

    def doubled(updates, state, params, **extra):
        updates = {**updates, "shared": 2 * updates["shared"]}
        return method(name).tx.update(updates, state, params, **extra)

    tx = optax.GradientTransformationExtraArgs(method(name).tx.init, doubled)
    one_step = jax.jit(functools.partial(linear_update, tx))
    direction, state = one_step(method(name).init, jacobian, jnp.arange(1.0, K + 1))
    expected = weights_of(state) @ (2 * jacobian)
    assert_close(direction, expected, rtol=1e-3)


@over(SCALED)
def test_the_scale_of_the_weights_hangs_on_the_tasks_as_the_rule_says(name):
    sizes = []
    for count in (4, 3, 1):
        here = np.arange(K) < count
        alike = np.tile(np.arange(1.0, D + 1), (K, 1)) * here[:, None]
        _, state = method(name)(alike, jnp.ones(K), present=here)
        sizes.append(weights_of(state)[here].sum())
    power = {"mean": 0, "sum": 1, "share": -1}[RULES[name].reduction]
    sizes = np.array(sizes) / np.array([4.0, 3, 1]) ** power
    assert_close(sizes, np.full(3, sizes[0]), rtol=1e-4)


def assert_heads_move_by_the_rule(name, compiled):
    """Heads move along their gradient (here 1), or along w times it."""
    losses = jnp.arange(1.0, K + 1)
    updates, state = compiled.updates(rows(K, D), losses)
    # DB-MTL's heads descend the logarithms of the losses.
    gradient = 1 / losses if name == "db_mtl" else np.ones(K)
    weighted = compiled.tx.rule.heads == "weighted"
    moved = updates["tasks"].values[:, 0]
    expected = gradient * (weights_of(state) if weighted else 1)
    np.testing.assert_allclose(moved, expected, rtol=1e-5)


@every_method
def test_heads_move_by_the_rule_of_the_method(name):
    assert_heads_move_by_the_rule(name, method(name))


@every_method
def test_the_head_rule_is_an_option(name):
    for heads in ("plain", "weighted"):
        assert make(name, K, heads=heads).rule.heads == heads


@functools.cache
def by_heads(name, heads):
    return method(name) if RULES[name].heads == heads else Method(name, heads=heads)


# Of every kind that leaves heads alone, and two of those that weigh them.
BY_THE_OTHER = (OF_EVERY_KIND & PLAIN) | {"equal_weighting", "famo"}


@over(ALL, slow=ALL - BY_THE_OTHER)
def test_heads_move_by_the_other_rule(name):
    other = "weighted" if name in PLAIN else "plain"
    assert_heads_move_by_the_rule(name, by_heads(name, other))


# The user, or the definition, gives some heads no weight at all: another task's in
# single_task, those that are not selected in krum.
UNWEIGHTED = {"single_task", "krum"}


def train_heads(compiled, zero, steps=40):
    """Scalar heads h_k on features <a_k, theta> towards 1, by plain descent."""
    rng = np.random.default_rng(0)
    shared, features = rng.normal(size=D), rng.normal(size=(K, D))
    heads = np.where(np.isin(np.arange(K), zero), 0, rng.uniform(0.5, 1, K))
    start, state = heads, None
    for _ in range(steps):
        seen = features @ shared
        error = heads * seen - 1
        rows = ((error * heads)[:, None] * features).astype("float32")
        losses = (error**2 / 2).astype("float32")
        updates, state = compiled.updates(rows, losses, state=state)
        assert_finite((updates, state))
        # What a gradient of 1 becomes by the head rule.
        scale = np.asarray(updates["tasks"].values)[:, 0]
        heads = heads - 0.05 * np.clip(scale * error * seen, -1, 1)
        shared = shared - 0.05 * np.clip(updates["shared"], -1, 1)
    return np.abs(heads - start)


@over(ALL, slow=PLAIN - OF_EVERY_KIND - UNWEIGHTED)
def test_every_head_leaves_zero(name):
    """Its task has no shared gradient before, and must learn all the same."""
    heads = "plain" if name in UNWEIGHTED else "weighted"
    for zero in ([1], range(K)):
        moved = train_heads(by_heads(name, heads), zero)
        assert moved[list(zero)].min() > 1e-3
        # The shortest vector of a hull may need some tasks only, whatever their heads.
        assert moved.min() > 1e-3 or name == "mgda"


@some_methods
def test_it_trains_in_one_program_and_resumes_bit_for_bit(name, tmp_path):
    tasks, params, batch = problems.classification(3, 36, 5, (16,), 2, None)
    batch = mtopt.Batch(batch.x, (batch.x[:, :3].T > 0).astype(int), batch.mask)
    tx = mtopt.chain(make(name, 3), optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    # On its device for good, as what a checkpoint gives back: one program for both.
    state = jax.device_put(state, jax.devices()[0])
    assert not any(
        leaf.weak_type for leaf in jax.tree.leaves(state) if hasattr(leaf, "weak_type")
    )
    step = compiled_once(mtopt.make_train_step(tasks, tx))
    for _ in range(150):
        state, _ = step(state, batch)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
    first = None
    for _ in range(50):
        state, metrics = step(state, batch)
        first = metrics["losses"] if first is None else first
    assert metrics["losses"][0] < 0.3
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.load(1, state)
    _, metrics = step(restored, batch)
    np.testing.assert_array_equal(metrics["losses"], first)
    assert jax.tree.structure(state.params) == jax.tree.structure(params)


@over(["equal_weighting", "famo", "modo"], slow=["equal_weighting", "modo"])
def test_a_learning_rate_of_zero_moves_nothing(name):
    tasks, params, batch = problems.classification(3, 6, 5, (7,), 4, None)
    before = jax.tree.map(np.asarray, params)
    tx = mtopt.chain(make(name, 3), optax.sgd(0.0))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    state, _ = mtopt.make_train_step(tasks, tx)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.params, before)


@every_method
def test_plain_arrays_work_or_say_what_is_missing(name):
    """In half precision, which comes back."""
    tx = make(name, K)
    start = jnp.zeros(D, "bfloat16")

    def update(jacobian, losses):
        return tx.update(
            jacobian,
            tx.init(start),
            start,
            new=object(),
            evaluation=mtopt.Evaluation(losses=losses),
        )

    missing = ""
    try:
        rows = jnp.zeros((K, D), start.dtype)
        direction, _ = jax.eval_shape(update, rows, jnp.ones(K))
        assert (direction.shape, direction.dtype) == (start.shape, start.dtype)
    except (TypeError, mtopt.UserError) as error:
        missing = str(error)
    assert not missing or "problem" in missing or "mtopt.chain" in missing


@some_methods
def test_rows_without_the_task_axis_are_an_error(name):
    def first_row(updates, state, params, **extra):
        updates = {**updates, "shared": updates["shared"][0]}
        return method(name).tx.update(updates, state, params, **extra)

    tx = optax.GradientTransformationExtraArgs(method(name).tx.init, first_row)
    with pytest.raises(mtopt.UserError, match="expected rows of 4 tasks"):
        linear_update(tx, method(name).init, rows(K, D), jnp.ones(K))


def nothing_to_balance(name):
    doc = inspect.getdoc(mtopt.METHODS[name])
    text = doc.split("Nothing to balance:\n")[1].split("\n\n")[0]
    return " ".join(text.split())


@over(ALL, slow=ALL - FEW - {"mgda"})
def test_the_docstring_says_what_happens_with_nothing_to_balance(name):
    """With one task, equal losses, zero gradients."""
    assert nothing_to_balance(name).startswith(in_words(name) + ".")


def test_methods_that_a_solved_task_stops_say_so():
    stopped = {name for name in ALL if "without_stationary" in nothing_to_balance(name)}
    assert stopped == {
        *("mgda", "ldc", "famo", "moco", "modo", "sdmgrad", "krum", "imgrad")
    }
