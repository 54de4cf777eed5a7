"""The evaluation: one door, which hides absent tasks and refuses what it can't read."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.methods import OF_EVERY_KIND, SOME, assert_finite, make, over

TASKS, PARAMS, BATCH = problems.classification(3, 12, 6, (8,), 4, None)
KEY = jax.random.key(0)
ROWS = jnp.array([[1.0, 2.0], [-3.0, 0.5], [0.5, 0.5]])


def flops(function):
    compiled = jax.jit(function).lower(PARAMS).compile()
    return compiled.cost_analysis()["flops"]


def first_update(tx, params):
    seen = TASKS.problem(BATCH, KEY).evaluate(params)
    return tx.update(seen.gradients, tx.init(params), params, evaluation=seen)


@pytest.mark.parametrize("name", ["task_weight", "lossess", "row"])
def test_an_unknown_field_is_an_error_by_name(name):
    seen = mtopt.Evaluation(losses=np.ones(3), rows=ROWS)
    with pytest.raises(TypeError, match=name):
        mtopt.Evaluation(**{name: jnp.ones(3)})
    with pytest.raises(TypeError, match=name):
        seen.replace(**{name: jnp.ones(3)})
    with pytest.raises(AttributeError, match=name):
        getattr(seen, name)


@pytest.mark.parametrize("name", ["losses", "loss", "task_weight", "presents", "rows"])
def test_a_keyword_meant_for_the_evaluation_is_an_error(name):
    for tx in (mtopt.mgda(3), mtopt.normalize_rows(3), mtopt.log_losses(mtopt.mgda(3))):
        with pytest.raises(mtopt.UserError, match="field of the evaluation"):
            tx.update(ROWS, tx.init(jnp.zeros(2)), **{name: jnp.ones(3)})


def test_a_misspelt_evaluation_is_an_error():
    tx = mtopt.chain(mtopt.mgda(3), optax.sgd(0.1))
    with pytest.raises(mtopt.UserError, match="did you mean evaluation"):
        tx.update(ROWS, tx.init(jnp.zeros(2)), evalution=mtopt.Evaluation())


def test_the_keywords_of_optax_pass():
    tx = mtopt.chain(mtopt.normalize_rows(3), mtopt.mgda(3), optax.sgd(0.1))
    known = {"value": 1.0, "grad": ROWS[0], "value_fn": jnp.sum, "new_in_optax": 2}
    start = np.zeros(2, "float32")
    update = functools.partial(tx.update, **known)
    updates, _ = jax.eval_shape(update, ROWS, tx.init(start), start)
    assert updates.shape == (2,)


def test_what_a_method_reads_and_nobody_gave_is_named():
    for field, tx in (
        ("losses", mtopt.scale_invariant(3)),
        ("problem", mtopt.mgda(3, space="representation")),
        ("problem", mtopt.modo(3)),
    ):
        with pytest.raises(mtopt.UserError, match=f"reads {field}"):
            tx.update(ROWS, tx.init(jnp.zeros(2)))
    # Nothing is asked for that is not read.
    mtopt.mgda(3).update(ROWS, mtopt.mgda(3).init(jnp.zeros(2)))


def test_it_passes_through_jit_and_vmap_as_a_pytree():
    evaluate = jax.jit(lambda params: TASKS.problem(BATCH, KEY).evaluate(params))
    seen = evaluate(PARAMS)
    assert seen.unchanged
    tx = mtopt.mgda(3)
    inside, _ = jax.jit(lambda params: first_update(tx, params))(PARAMS)
    outside, _ = tx.update(seen.gradients, tx.init(PARAMS), PARAMS, evaluation=seen)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, outside, inside)
    names = [str(path[0]) for path, _ in jax.tree_util.tree_leaves_with_path(seen)]
    known = {".losses", ".rows", ".heads", ".key", ".params", ".problem", ".points"}
    assert known == set(names)
    two = jax.vmap(lambda scale: mtopt.Evaluation(losses=scale * jnp.ones(3)))
    assert two(jnp.arange(2.0)).losses.shape == (2, 3)


def test_rows_are_pulled_back_exactly_where_they_are_the_problems():
    """The same arrays: all of them, or a part of the tree; else what came is summed."""
    tx = mtopt.equal_weighting(3)
    plain = flops(lambda params: first_update(tx, params))

    def with_changed(change):
        def update(params):
            seen = TASKS.problem(BATCH, KEY).evaluate(params)
            updates = {"shared": change(seen.rows), "tasks": seen.heads}
            return tx.update(updates, tx.init(params), params, evaluation=seen)

        return update

    same = with_changed(lambda rows: jax.tree.map(lambda row: row, rows))
    one = with_changed(lambda rows: [{**rows[0], "w": 2 * rows[0]["w"]}, *rows[1:]])
    assert flops(same) == plain
    direction, doubled = (
        jax.jit(update)(PARAMS)[0]["shared"][0]["w"] for update in (same, one)
    )
    np.testing.assert_allclose(doubled, 2 * direction, rtol=1e-4, atol=1e-6)


def test_an_aggregator_for_each_layer_costs_a_pass_and_not_one_a_task():
    """``optax.partition`` hands each a part of the tree."""
    labels = {"shared": [{"w": "a", "b": "b"}], "tasks": "a"}
    parts = {name: mtopt.equal_weighting(3) for name in "ab"}
    partitioned = optax.partition(parts, labels)
    whole = mtopt.equal_weighting(3)
    (found, _), (expected, _) = jax.jit(
        lambda params: [first_update(tx, params) for tx in (partitioned, whole)]
    )(PARAMS)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, found, expected)
    cost = flops(lambda params: first_update(partitioned, params))
    assert cost <= 1.01 * flops(lambda params: first_update(whole, params))


def unguarded(head, z, y, mask, key):
    """A mean that divides by the count of labels, which may be none."""
    del key
    error = (z @ head["w"][:, 0] - y) ** 2
    return jnp.sum(mask * error) / mask.sum()


@over(OF_EVERY_KIND, slow=OF_EVERY_KIND - SOME)
@pytest.mark.parametrize("x_axis", [None, pytest.param(0, marks=pytest.mark.slow)])
def test_a_loss_that_divides_by_no_labels_reaches_no_method(name, x_axis):
    tasks, params, batch = problems.classification(3, 12, 6, (8,), 1, x_axis)
    tasks = mtopt.Tasks(tasks.names, tasks.encode, unguarded, x_axis)
    mask = batch.mask.at[1].set(False)
    batch = mtopt.Batch(batch.x, batch.y.astype(float), mask)
    tx = mtopt.chain(make(name, 3), optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, KEY)
    step = mtopt.make_train_step(tasks, tx)
    for _ in range(2):
        state, metrics = step(state, batch)
    assert_finite((state, metrics))
    assert metrics["losses"][1] == 0
    np.testing.assert_array_equal(
        state.params["tasks"].values["w"][1], params["tasks"].values["w"][1]
    )
