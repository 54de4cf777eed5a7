"""Pretext tasks beside labels: what they leave alone, and what they add."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from mtopt.models import MODELS, functional
from mtopt.models import join as join_models
from mtopt.pretext import encoder_of, masked_reconstruction, masked_views, with_pretexts
from tests.helpers import models

KEY = jax.random.key(3)
SHAPE = (4,)
X = np.random.default_rng(0).integers(-3, 4, size=(8, 4)).astype(np.float32)
Y = np.arange(8, dtype=np.float32)


@functools.cache
def labels(names=("b", "d"), kind="regression", dropout=0.5):
    return MODELS["mlp"](
        SHAPE, names=names, kind=kind, outputs=1, hidden=(4,), dropout=dropout
    )


def some(model, *names):
    encoder = encoder_of(model, SHAPE)
    made = {"a": masked_reconstruction(encoder), "c": masked_reconstruction(encoder)}
    return {name: made[name] for name in names}


@functools.cache
def together(*names, shared_inputs=True):
    pretexts = some(labels(), *names)
    return with_pretexts(labels(), pretexts, shared_inputs=shared_inputs)


def batch_of(model, shared_inputs=True):
    """All samples, every label there."""
    groups = model.tasks.groups
    y = tuple(jnp.tile(Y, (len(group.names), 1)) for group in groups)
    mask = jax.tree.map(lambda own: jnp.ones(own.shape, bool), y)
    x = jnp.asarray(X)
    return mtopt.Batch(x if shared_inputs else (x,) * len(groups), y, mask)


def ones(params):
    """With these and whole numbers every sum is exact, in whatever order."""
    return jax.tree.map(jnp.ones_like, params)


def losses(model, key=KEY, shared_inputs=True):
    """By name, of parameters that are ones."""

    @jax.jit
    def found():
        params, state = model.init(KEY)
        batch = batch_of(model, shared_inputs)
        return model.tasks.problem(batch, key, state).losses(ones(params))

    return dict(zip(model.tasks.names, np.asarray(found()).tolist(), strict=True))


def test_groups_stand_in_the_order_of_their_first_tasks():
    model = together("a", "c")
    assert [group.names for group in model.tasks.groups] == [("a",), ("b", "d"), ("c",)]
    assert model.tasks.names == ("a", "b", "c", "d")


@pytest.mark.parametrize("names", [("c",), ("a",), ("a", "c")])
def test_the_start_of_the_labels_is_bit_for_bit_that_without_a_pretext(names):
    alone, state = jax.jit(labels().init)(KEY)
    beside, states = jax.jit(together(*names).init)(KEY)
    mine = 1 if "a" in names else 0
    jax.tree.map(np.testing.assert_array_equal, beside["shared"], alone["shared"])
    jax.tree.map(np.testing.assert_array_equal, beside["tasks"][mine], alone["tasks"])
    assert states[mine] == state


def test_the_head_of_a_pretext_starts_where_it_does_without_others():
    both, one = (jax.jit(together(*n).init)(KEY)[0]["tasks"] for n in ("ac", "c"))
    jax.tree.map(np.testing.assert_array_equal, both[2], one[1])
    assert not np.array_equal(
        both[0]["a"]["last"]["kernel"], both[2]["c"]["last"]["kernel"]
    )


def test_the_noise_of_a_task_is_that_without_other_pretexts():
    """Dropout, and which entries are hidden: the losses of both are exact sums."""

    def alone(key):
        params, state = labels().init(KEY)
        y = jnp.tile(Y, (2, 1))
        batch = mtopt.Batch(jnp.asarray(X), y, jnp.ones(y.shape, bool))
        return labels().tasks.problem(batch, key, state).losses(ones(params))

    plain = dict(zip("bd", np.asarray(jax.jit(alone)(KEY)).tolist(), strict=True))
    one, both = losses(together("c")), losses(together("a", "c"))
    assert {name: both[name] for name in plain} == plain
    assert {name: one[name] for name in plain} == plain
    assert both["c"] == one["c"] != both["a"]
    other = losses(together("c"), key=jax.random.key(4))
    assert all(other[name] != one[name] for name in one)


def test_with_inputs_of_their_own_another_pretext_changes_no_noise_either():
    one = losses(together("c", shared_inputs=False), shared_inputs=False)
    both = losses(together("a", "c", shared_inputs=False), shared_inputs=False)
    assert {name: both[name] for name in one} == one


@pytest.mark.parametrize("shared_inputs", [True, False])
def test_predictions_of_the_labels_and_none_of_a_pretext(shared_inputs):
    model = together("a", shared_inputs=shared_inputs)
    params, state = jax.jit(model.init)(KEY)
    x = X if shared_inputs else (X[:3], X)
    nothing, found = jax.jit(model.predict)(params, state, x)
    own = {**params, "tasks": params["tasks"][1]}
    wanted = jax.jit(labels().predict)(own, state[1], X)
    assert nothing.shape == (1, 8 if shared_inputs else 3, 0)
    np.testing.assert_array_equal(found, wanted)


def test_a_joint_model_keeps_its_groups():
    parts = labels(), labels(("e",), "binary")
    model = join_models(parts, shared_inputs=True)
    beside = with_pretexts(model, some(model, "c"))
    assert [group.names[0] for group in beside.tasks.groups] == ["b", "c", "e"]
    # The labels' groups still have one representation of the same inputs.
    assert beside.tasks.groups[0].encode is beside.tasks.groups[2].encode
    params, state = jax.jit(beside.init)(KEY)
    found = jax.jit(beside.predict)(params, state, X)
    assert [each.shape for each in found] == [(2, 8), (1, 8, 0), (1, 8)]
    own = {**params, "tasks": params["tasks"][::2]}
    wanted = jax.jit(model.predict)(own, state[::2], X)
    jax.tree.map(np.testing.assert_array_equal, found[::2], wanted)


def test_a_view_has_statistics_of_its_own_batch_and_moves_none():
    """BatchNorm before relu: of a standardised normal column, relu leaves 0.4.

    In the labels' pass they are over all samples that some task has.
    """
    model = models.normed()
    x = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    encoder = encoder_of(model, (3,))
    beside = with_pretexts(model, {"views": masked_views(encoder, pick="random")})

    @jax.jit
    def found(shift):
        params, states = beside.init(KEY)
        h = encoder.apply(params["shared"], jnp.asarray(x) * 5 + shift, KEY)
        real = jnp.ones((3, 400), bool)
        batch = mtopt.Batch(
            jnp.asarray(x),
            (jnp.zeros((3, 400), int), jnp.zeros((1, 400))),
            (real & (jnp.arange(400) < 90)[None], real[:1]),
        )
        other = jax.tree.map(lambda leaf: leaf + 1, states)
        losses, moved = [], []
        for start in (states, other):
            problem = beside.tasks.problem(batch, KEY, start)
            losses.append(problem.losses(params))
            moved.append(problem.next_model_state(params))
        labels = mtopt.Batch(batch.x, batch.y[0], real)
        plain = model.tasks.problem(labels, KEY, states[0])
        return h, losses, moved[0], plain.next_model_state(params)

    h, losses, moved, alone = found(7.0)
    np.testing.assert_allclose(h.mean(axis=0), 0.4, atol=0.06)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)
    assert moved[1] == {}
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6), moved[0], alone
    )


def test_an_encoder_with_statistics_of_every_task_encodes_a_view():
    model = models.normed(x_axis=0)
    encoder = encoder_of(model, (3,))
    params, _ = jax.jit(model.init)(KEY)
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    shared = encoder_of(models.normed(), (3,))
    np.testing.assert_allclose(
        jax.jit(encoder.apply)(params["shared"], x, KEY),
        jax.jit(shared.apply)(params["shared"], x, KEY),
        rtol=1e-6,
    )


def test_an_image_encoder_is_flattened():
    image = models.residual()
    assert encoder_of(image, (8, 8, 1)).shape == (8, 8, 1)
    task = masked_reconstruction(encoder_of(image, (8, 8, 1)))
    head = jax.eval_shape(task.init, KEY)
    assert head["last"]["kernel"].shape == (6, 64)


def test_a_label_beside_a_reconstruction_costs_both_passes_once():
    model = MODELS["mlp"](
        (64,), names=("digit",), kind="regression", outputs=1, hidden=(256, 256)
    )
    encoder = encoder_of(model, (64,))
    pretext = masked_reconstruction(encoder)
    beside = with_pretexts(model, {"masked": pretext})
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.sgd(0.1))
    x, y = jnp.ones((256, 64)), jnp.ones((1, 256))
    batch = mtopt.Batch(x, (y, y), (y > 0, y > 0))
    params, state = jax.eval_shape(beside.init, KEY)
    create = functools.partial(mtopt.TrainState.create, tx=tx, key=KEY)
    start = jax.eval_shape(lambda p, s: create(p, model_state=s), params, state)
    step = jax.jit(mtopt.make_train_step(beside.tasks, tx)).lower(start, batch)

    def by_hand(params, x, y):
        def loss(params):
            shared, (heads, own) = params["shared"], params["tasks"]
            linear = heads.values
            h = encoder.apply(shared, x, KEY)
            out = (h @ linear["kernel"][0] + linear["bias"][0][None])[:, 0]
            seen = pretext.encode(shared, x, KEY)
            head = jax.tree.map(lambda leaf: leaf[0], own.values)
            masked = pretext.loss(head, seen, jnp.ones(256, bool), KEY)
            return (jnp.mean((out - y[0]) ** 2) + masked) / 2

        gradient = jax.grad(loss)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)

    hand = jax.jit(by_hand).lower(params, x, y)
    ratio = step.compile().cost_analysis()["flops"]
    ratio /= hand.compile().cost_analysis()["flops"]
    assert ratio <= 1.01


def test_a_masked_sample_has_no_part_in_a_pretext():
    model = together("c")
    params, state = jax.jit(model.init)(KEY)
    changed = X.copy()
    changed[5:] = 99.0

    @jax.jit
    def loss(x):
        there = (jnp.arange(8) < 5)[None]
        y = jnp.tile(Y, (2, 1)), jnp.zeros((1, 8))
        mask = jnp.tile(there, (2, 1)), there
        problem = model.tasks.problem(mtopt.Batch(x, y, mask), KEY, state)
        return problem.losses(params)

    np.testing.assert_array_equal(loss(X), loss(changed))


class Twice(nnx.Module):
    """An encoder whose representation is no array."""

    def __call__(self, x):
        return x, x


def two_arrays():
    return functional(
        lambda rngs: Twice(),
        lambda rngs: nnx.Linear(4, 1, rngs=rngs),
        ("a",),
        kind="regression",
    )


MISUSE = [
    (lambda: with_pretexts(labels(), {}), "no pretext task: expected one at least"),
    (
        lambda: with_pretexts(labels(), {"b": some(labels(), "a")["a"]}),
        "tasks ['b'] stand in two groups",
    ),
    (
        lambda: with_pretexts(
            join_models([labels(), labels(("e",), "binary")]), some(labels(), "a")
        ),
        "shared_inputs is True, and the groups of the model have shared_inputs=False",
    ),
    (
        lambda: encoder_of(models.normed(x_axis=0, statistics="pooled"), (3,)),
        "pooled over tasks",
    ),
    (lambda: encoder_of(two_arrays(), SHAPE), "the representation is a tuple"),
]


@pytest.mark.parametrize(("make", "message"), MISUSE, ids=[m for _, m in MISUSE])
def test_misuse_is_one_line(make, message):
    with pytest.raises(mtopt.UserError) as error:
        make()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
