"""Transformers as models of several tasks: every form, method and option, learning."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS
from mtopt.models.heads import LOSSES
from mtopt.models.transformer import POOLING
from mtopt.pixels import PIXELS
from tests.helpers.by_hand import plain
from tests.helpers.close import assert_close
from tests.helpers.methods import over
from tests.helpers.models import KINDS, make_batch
from tests.helpers.sequences import (
    LENGTH,
    SHAPES,
    SMALL,
    assert_rows_by_hand,
    batch,
    block,
    exact_attention,
    in_float64,
    normed,
    places,
    transformer,
)


def by_hand(params, x, padding=0):
    """The outputs of the tasks; sequences one after another, cut where they end."""
    shared, pooled = params["shared"], []
    for tokens in np.asarray(x):
        real = tokens[tokens != padding]
        z = shared["embed"]["table"]["embedding"][real]
        z = z + shared["positions"]["embedding"][: len(real)]
        for own in shared["blocks"].values():
            z = block(z, z, own)
        pooled.append(normed(z, shared["norm"]).mean(axis=0))
    own = params["tasks"]
    return (jnp.stack(pooled)[None] @ own["kernel"] + own["bias"][:, None])[..., 0]


@pytest.mark.usefixtures("x64")
def test_losses_and_gradients_are_those_of_sequences_without_padding(monkeypatch):
    monkeypatch.setattr(jax.nn, "dot_product_attention", exact_attention)
    model = transformer(dtype=jnp.float64)
    params = in_float64(model.init(jax.random.key(0))[0])
    seen = batch(size=3, dtype=np.float64)

    def losses(own):
        errors = (by_hand(own, seen.x) - seen.y) ** 2
        each = zip(errors, seen.mask, strict=True)
        return jnp.stack([mtopt.masked_mean(*of_task) for of_task in each])

    problem = model.tasks.problem(seen, jax.random.key(1))
    assert_rows_by_hand(problem, params, losses, rtol=1e-9)


def test_predictions_are_those_of_sequences_without_padding():
    """Of two layers, in float32, by the attention that flax takes."""
    model = transformer(layers=2)
    params, _ = model.init(jax.random.key(0))
    x, _ = places(size=3)
    expected = jax.jit(lambda own: by_hand(own, x))(plain(params))
    found = jax.jit(model.predict)(params, {}, jnp.asarray(x))
    assert_close(found, expected, rtol=1e-5)


@pytest.mark.parametrize("pooling", POOLING)
@over(SHAPES, slow=["items"])
def test_sequences_of_every_form_are_predicted(name, pooling):
    model = transformer(name, pooling=pooling)
    params, state = model.init(jax.random.key(0))
    x, _ = places(name)
    assert jax.eval_shape(model.predict, params, state, x).shape == (3, len(x))
    seen = batch(name)
    losses = jax.eval_shape(
        lambda p: model.tasks.problem(seen, jax.random.key(1)).losses(p), params
    )
    assert losses.shape == (3,)


@over(sorted(LOSSES.keys() - {*PIXELS}))
def test_every_kind_of_label_has_heads(name):
    model = MODELS["transformer"](
        (5, 6), names=("a", "b", "c"), kind=name, outputs=KINDS[name], **SMALL
    )
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    seen = make_batch((5, 6), name, KINDS[name])
    losses = jax.eval_shape(
        lambda p: model.tasks.problem(seen, jax.random.key(1)).losses(p), params
    )
    assert losses.shape == (3,)


WAYS = {
    "equal_weighting": (mtopt.equal_weighting(3), {}),
    "mgda": (mtopt.mgda(3), {}),
    "mgda, a pooling of each task": (mtopt.mgda(3), {"pooling": "low_rank"}),
    "rep_mtl": (mtopt.rep_mtl(mtopt.equal_weighting(3)), {}),
    "rep_mtl, places": (
        mtopt.rep_mtl(mtopt.equal_weighting(3)),
        {"pooling": "low_rank"},
    ),
    "flat_regions": (mtopt.flat_regions(mtopt.mgda(3), rho=0.05), {}),
    "disjoint": (mtopt.mgda(3), {"x_axis": 0}),
}


@over(WAYS, slow=["flat_regions", "rep_mtl", "mgda, a pooling of each task"])
def test_steps_are_finite(name):
    aggregator, options = WAYS[name]
    model = transformer(dropout=0.2, **options)
    params, state = model.init(jax.random.key(0))
    seen = batch()
    if "x_axis" in options:
        seen = mtopt.Batch(jnp.stack([seen.x] * 3), seen.y, seen.mask)
    tx = mtopt.chain(aggregator, optax.adam(1e-2))
    before = mtopt.TrainState.create(params, tx, jax.random.key(0), state)
    after, _ = mtopt.make_train_step(model.tasks, tx, donate=False)(before, seen)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params))
    table = [s.params["shared"]["embed"]["table"]["embedding"] for s in (before, after)]
    moved = np.asarray(table[0] != table[1])
    assert moved[1:].any(axis=1).all()
    assert not moved[0].any()  # that of padding


@pytest.mark.parametrize("pooling", ["mean", "low_rank"])
def test_gradients_of_rows_are_those_of_one_task_alone(pooling):
    """With dropout, which all tasks share as one forward pass does."""
    model = transformer(pooling=pooling, dropout=0.3)
    params, _ = model.init(jax.random.key(0))
    problem = model.tasks.problem(batch(), jax.random.key(1))
    _, grads = jax.jit(problem.losses_and_grads)(params)

    def loss(shared, k):
        return problem.losses({**params, "shared": shared})[k]

    expected = jax.jit(jax.grad(loss))(params["shared"], 1)
    for found, wanted in zip(
        jax.tree.leaves(grads["shared"]), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(found[1], wanted, rtol=1e-4, atol=1e-6)


def order(size, seed):
    """Whether 1 stands before 2, and 3 before 4: of every sample the same tokens."""
    rng = np.random.default_rng(seed)
    x = np.zeros((size, 10), int)
    x[:, :8] = rng.permuted(np.tile([1, 2, 3, 4, 5, 6, 7, 7], (size, 1)), axis=1)
    at = {token: (x == token).argmax(axis=1) for token in (1, 2, 3, 4)}
    labels = {"one": at[1] < at[2], "three": at[3] < at[4]}
    return mtopt.Batch.shared(x, {k: v.astype(np.float32) for k, v in labels.items()})


def test_what_only_the_order_tells_is_learned():
    """A mean of tokens is of every sample the same, and tells nothing."""
    model = MODELS["transformer"](
        (10,),
        names=("one", "three"),
        kind="binary",
        outputs=1,
        vocabulary=8,
        width=16,
        layers=1,
        heads=4,
    )
    params, state = jax.jit(model.init)(jax.random.key(0))
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.adam(1e-2))
    start = mtopt.TrainState.create(params, tx, jax.random.key(0), state)
    step = mtopt.make_train_step(model.tasks, tx)
    for i in range(300):
        start, _ = step(start, order(128, i))
    test = order(512, 1000)
    assert (np.sort(test.x, axis=1) == np.sort(test.x[:1], axis=1)).all()
    logits = model.predict(start.params, {}, jnp.asarray(test.x))
    accuracy = ((np.asarray(logits) > 0) == np.asarray(test.y)).mean(axis=1)
    assert (accuracy > 0.95).all()


@pytest.mark.parametrize("pooling", ["mean", "low_rank"])
def test_more_tasks_make_no_longer_program(pooling):
    def lines(tasks):
        names = tuple(f"t{k:02d}" for k in range(tasks))
        model = transformer(names=names, pooling=pooling)
        params, state = jax.eval_shape(model.init, jax.random.key(0))
        tx = mtopt.chain(mtopt.mgda(tasks), optax.sgd(0.1))
        params, state = jax.tree.map(
            lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), (params, state)
        )
        first = mtopt.TrainState.create(params, tx, jax.random.key(0), state)
        step = mtopt.make_train_step(model.tasks, tx)
        return step.lower(first, batch(tasks=tasks)).as_text().count("\n")

    assert lines(32) <= 1.05 * lines(8)


MISUSE = {
    "width": ({"width": 0}, "^width is 0"),
    "heads": ({"heads": 3}, "^heads is 3: expected a divisor of the width, which is 8"),
    "layers": ({"layers": 0}, "^layers is 0"),
    "dropout": ({"dropout": 1.0}, "^dropout is 1.0"),
    "pooling": ({"pooling": "max"}, "^pooling is 'max'.*low_rank"),
    "rank": ({"rank": 0}, "^rank is 0"),
    "padding": ({"padding": float("nan")}, "^padding is nan: expected a finite"),
    "part": ({"padding": 0.5}, "^padding is 0.5: expected an integer"),
    "vocabulary": ({"vocabulary": 1}, r"^vocabulary is \(1,\)"),
    "columns": ({"vocabulary": (5, 4)}, r"\(7,\) and vocabulary \(5, 4\): expected"),
    "no vocabulary": ({"vocabulary": None}, r"\(7,\) and vocabulary None: expected"),
    "shape": ({"input_shape": (7, 3)}, r"\(7, 3\) and vocabulary 6: expected"),
    "empty": ({"input_shape": (0,)}, r"\(0,\) and vocabulary 6: expected"),
    "no shape": ({"input_shape": ()}, r"\(\) and vocabulary 6: expected"),
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    change, message = MISUSE[name]
    given = {"names": ("a",), "kind": "binary", "outputs": 1, "vocabulary": 6, **SMALL}
    given = {"input_shape": (LENGTH,), **given, **change}
    with pytest.raises(mtopt.UserError, match=message) as caught:
        MODELS["transformer"](given.pop("input_shape"), **given)
    assert "\n" not in str(caught.value)
