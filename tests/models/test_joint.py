"""Every model for tasks of several kinds: one encoder, a head for each kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS, join, some_tasks
from tests.helpers.close import assert_close
from tests.helpers.models import TINY, make_batch

KINDS = {
    "classification": (("c", "d"), 3),
    "ordinal": (("o",), 4),
    "regression": (("r",), 1),
}


ONE_OUTPUT = {"binary": (("c", "d"), 1), "regression": (("o",), 1)}
OF_PIXELS = {
    "depth": (("d",), 1),
    "normals": (("n",), 3),
    "segmentation": (("s", "t"), 4),
}
UNEQUAL = {"deeplab": OF_PIXELS, "pooled_mlp": ONE_OUTPUT, "segnet": OF_PIXELS}
"""What shares its last layer has as many outputs for every kind."""


QUICK = {"mlp", "mmoe", "pooled_mlp"}
TOLD = {"cross_stitch", "field_gate", "home", "mtan", "ple", "skills"}
"""Models whose encoders are told the task."""


def joined(name, shared_inputs, kinds):
    shape, options = TINY[name]
    every = tuple(sorted(task for names, _ in kinds.values() for task in names))
    models = [
        some_tasks(
            MODELS[name](shape, names=every, kind=kind, outputs=outputs, **options),
            names,
        )
        for kind, (names, outputs) in kinds.items()
    ]
    return join(models, shared_inputs=shared_inputs), shape


@pytest.mark.parametrize("shared_inputs", [True, False])
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in sorted(MODELS.keys() - {"funnel"})  # of events, one kind alone
    ],
)
def test_every_model_has_heads_for_every_kind(name, shared_inputs):
    kinds = UNEQUAL.get(name, KINDS)
    model, shape = joined(name, shared_inputs, kinds)
    rng = np.random.default_rng(0)
    inputs = [jnp.asarray(rng.normal(size=(6, *shape)), jnp.float32) for _ in kinds]
    x = inputs[0] if shared_inputs else tuple(inputs)
    y = tuple(
        np.asarray(make_batch(shape, kind, outputs, size=6, tasks=len(names)).y)
        for kind, (names, outputs) in kinds.items()
    )
    mask = tuple(np.ones(each.shape[:2], bool) for each in y)
    params, state = jax.jit(model.init)(jax.random.key(0))
    tx = mtopt.chain(mtopt.mgda(len(model.tasks.names)), optax.sgd(1e-2))
    first = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    step = mtopt.make_train_step(model.tasks, tx, donate=False)
    after, metrics = step(first, mtopt.Batch(x, y, mask))
    assert np.isfinite(metrics["losses"]).all()
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), params["shared"], after.params["shared"]
    )
    assert any(jax.tree.leaves(moved))
    outputs = model.predict(after.params, after.model_state, x)
    assert [len(each) for each in outputs] == [len(own) for own, _ in kinds.values()]


def parts(name):
    """A model of four tasks of one kind, and the same of two groups of it."""
    shape, options = TINY[name]
    make = functools.partial(MODELS[name], shape, kind="regression", outputs=1)
    whole = make(names=("a", "b", "c", "d"), **options)
    return whole, (some_tasks(whole, ("a", "d")), some_tasks(whole, ("b", "c"))), shape


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in {"skills", "home"} else pytest.mark.slow)
        for name in sorted(TOLD)
    ],
)
def test_a_model_cut_to_groups_is_the_model_of_all(name):
    whole, groups, shape = parts(name)
    both = join(groups, shared_inputs=True)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(6, *shape)), jnp.float32)
    y = rng.normal(size=(4, 6)).astype(np.float32)
    mask = rng.random((4, 6)) < 0.8
    key = jax.random.key(1)
    params, state = whole.init(key)
    cut, cut_state = both.init(key)
    one = whole.tasks.problem(mtopt.Batch(x, y, mask), key, state or None)
    own = np.array([0, 3]), np.array([1, 2])
    batch = mtopt.Batch(x, tuple(y[i] for i in own), tuple(mask[i] for i in own))
    several = both.tasks.problem(batch, key, cut_state)
    wanted, grads = jax.jit(one.losses_and_grads)(params)
    found, rows = jax.jit(several.losses_and_grads)(cut)
    assert_close(found, wanted, rtol=1e-5)
    assert_close(rows["shared"], grads["shared"], rtol=1e-4)
    outputs = both.predict(cut, cut_state, x)
    every = whole.predict(params, state, x)
    for i, group in zip(own, outputs, strict=True):
        assert_close(group, every[i], rtol=1e-5)


def test_places_among_other_tasks_are_told_in_one_line():
    _, (first, second), _ = parts("skills")
    shape, options = TINY["skills"]
    alone = MODELS["skills"](
        shape, names=("b", "c"), kind="regression", outputs=1, **options
    )
    words = r"places among \('b', 'c'\): expected a model of \('a', 'b', 'c', 'd'\)"
    with pytest.raises(mtopt.UserError, match=words):
        join([first, alone], shared_inputs=True)
    with pytest.raises(mtopt.UserError, match="no task 'e' in a model of"):
        some_tasks(second, ("e",))


def test_a_shared_output_is_of_one_size():
    with pytest.raises(mtopt.UserError, match="have other parameters"):
        joined("pooled_mlp", True, KINDS)
