"""Shared parameters that are frozen behind an aggregator, and decide in it."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt

PARAMS = {
    "shared": {"first": jnp.ones((2, 3)), "second": jnp.ones(3)},
    "tasks": mtopt.PerTask(jnp.ones((2, 3)), ("a", "b")),
}
MASK = {"shared": {"first": True, "second": False}, "tasks": False}
LABELS = jax.tree.map(lambda frozen: "frozen" if frozen else "rest", MASK)


def encode(shared, x, key):
    return jnp.tanh(x @ shared["first"]) * shared["second"][None]


def head_loss(head, z, y, mask, key):
    return mtopt.masked_mean((z @ head - y) ** 2, mask)


def trace(tx, params=PARAMS, **options):
    """Traces one step: nothing is compiled."""
    tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
    y = {"a": np.ones(4, "float32"), "b": np.zeros(4, "float32")}
    batch = mtopt.Batch.shared(np.ones((4, 2), "float32"), y)
    state = jax.eval_shape(
        lambda key: mtopt.TrainState.create(params, tx, key), jax.random.key(0)
    )
    jax.eval_shape(mtopt.make_train_step(tasks, tx, **options), state, batch)


FREEZING = {
    "freeze": lambda: [optax.adam(0.1), optax.freeze(MASK)],
    "masked": lambda: [optax.masked(optax.set_to_zero(), MASK), optax.sgd(0.1)],
    "a function for the mask": lambda: [
        optax.adamw(0.1),
        optax.masked(optax.set_to_zero(), lambda params: MASK),
    ],
    "partition": lambda: [
        optax.partition(
            {"frozen": optax.set_to_zero(), "rest": optax.adam(0.1)}, LABELS
        )
    ],
    "selective_transform": lambda: [
        optax.selective_transform(optax.adam(0.1), freeze_mask=MASK)
    ],
    "in a chain of optax": lambda: [optax.chain(optax.sgd(0.1), optax.freeze(MASK))],
}


@pytest.mark.parametrize("behind", FREEZING.values(), ids=FREEZING)
def test_what_is_frozen_behind_an_aggregator_is_named(behind):
    with pytest.warns(UserWarning, match=r"optax\.freeze\(mask\), aggregator") as found:
        trace(mtopt.chain(mtopt.mgda(2), *behind()))
    (warning,) = found
    assert "['shared']['first']" in str(warning.message)
    assert "second" not in str(warning.message)
    assert "\n" not in str(warning.message)


@pytest.mark.parametrize(
    "before",
    [
        lambda: [mtopt.per_task_sam(2)],
        lambda: [mtopt.sam(2)],
        lambda: [mtopt.normalize_rows(2)],
        lambda: [optax.freeze(MASK), mtopt.per_task_sam(2), mtopt.task_momentum(2)],
    ],
    ids=["per_task_sam", "sam", "normalize_rows", "frozen before sam"],
)
def test_so_it_is_where_a_transformation_before_it_reads_the_gradients(before):
    """SAM spends its radius on them, and makes rows of them again."""
    aggregator = mtopt.mgda(2) if len(before()) > 1 else mtopt.equal_weighting(2)
    with pytest.warns(
        UserWarning, match=r"first.*mtopt\.freeze\(model, params, where\)"
    ):
        trace(mtopt.chain(*before(), aggregator, optax.sgd(0.1), optax.freeze(MASK)))


def test_so_it_is_where_the_heads_alone_are_trained():
    mask = {"shared": True, "tasks": False}
    with pytest.warns(UserWarning, match=r"first.*second"):
        trace(mtopt.chain(mtopt.mgda(2), optax.sgd(0.1), optax.freeze(mask)))


def around(frozen):
    """A partition of whole chains: each aggregator sees the gradients of its part."""
    trained = mtopt.chain(mtopt.mgda(2), optax.adam(0.1))
    return optax.partition({"rest": trained, "frozen": frozen}, LABELS)


SILENT = {
    "frozen before": lambda: mtopt.chain(
        optax.freeze(MASK), mtopt.mgda(2), optax.adam(0.1)
    ),
    "frozen before and, for the decay, behind": lambda: mtopt.chain(
        optax.freeze(MASK), mtopt.mgda(2), optax.adamw(0.1), optax.freeze(MASK)
    ),
    "a partition around": lambda: around(
        mtopt.chain(mtopt.equal_weighting(2), optax.set_to_zero())
    ),
    "weights that read no gradient": lambda: mtopt.chain(
        mtopt.equal_weighting(2), optax.adamw(0.1), optax.freeze(MASK)
    ),
    "a rate that begins at 0": lambda: mtopt.chain(
        mtopt.mgda(2),
        optax.partition(
            {
                "frozen": optax.sgd(optax.linear_schedule(0.0, 0.1, 10)),
                "rest": optax.adam(0.1),
            },
            LABELS,
        ),
    ),
    "a decay of some": lambda: mtopt.chain(
        mtopt.mgda(2),
        optax.masked(optax.add_decayed_weights(0.1), MASK),
        optax.sgd(0.1),
    ),
    "heads that stand still": lambda: mtopt.chain(
        mtopt.mgda(2), optax.sgd(0.1), optax.freeze({"shared": False, "tasks": True})
    ),
    "all of it": lambda: mtopt.chain(mtopt.mgda(2), optax.set_to_zero()),
    "frozen, and moved by a decay": lambda: mtopt.chain(
        mtopt.mgda(2), optax.freeze(MASK), optax.add_decayed_weights(0.1)
    ),
}


@pytest.mark.parametrize("make", SILENT.values(), ids=SILENT)
def test_all_else_is_silent(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace(make())


def test_a_gradient_of_zero_is_not_frozen():
    """With numbers, not shapes: whoever looked at the updates would see zeros."""
    tx = mtopt.chain(mtopt.mgda(2), optax.masked(optax.sgd(0.1), MASK))
    nothing = jax.tree.map(lambda leaf: jnp.zeros((2, *leaf.shape)), PARAMS["shared"])
    zeros = {"shared": nothing, "tasks": jax.tree.map(jnp.zeros_like, PARAMS["tasks"])}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        updates, _ = jax.jit(tx.update)(zeros, tx.init(PARAMS), PARAMS)
    assert not updates["shared"]["first"].any()
