"""Attention among fields: by hand, their order, whom a task reads, and the cost."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from mtopt.models import MODELS
from mtopt.models.set_attention import Fields, InducedAttention, indicated
from tests.helpers.close import assert_close
from tests.helpers.methods import over
from tests.helpers.sequences import (
    assert_rows_by_hand,
    block,
    exact_attention,
    in_float64,
    normed,
)

NAMES = ("a", "b", "c")
FIELDS = (1, 1, 3, 1)
SMALL = {"fields": FIELDS, "width": 8, "heads": 2, "points": 3, "gate": 4}
RNG = np.random.default_rng(0)


def model(names=NAMES, **options):
    return MODELS["set_attention"](
        (6,), names=names, kind="regression", outputs=1, **{**SMALL, **options}
    )


def batch(tasks=3, size=5, dtype=np.float32):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(size, 6)), rng.normal(size=(tasks, size))
    mask = rng.random(y.shape) < 0.8
    return mtopt.Batch(jnp.asarray(x, dtype), jnp.asarray(y, dtype), jnp.asarray(mask))


def fields_of(shared, x):
    """The fields of one sample, one after another."""
    columns, bias = shared["fields"]["columns"], shared["fields"]["bias"]
    ends = np.cumsum(FIELDS)
    fields = jnp.stack(
        [
            bias[f] + sum(x[i] * columns[i] for i in range(end - size, end))
            for f, (end, size) in enumerate(zip(ends, FIELDS, strict=True))
        ]
    )
    for layer in shared["attention"].values():
        points = block(layer["points"], fields, layer["gather"])
        fields = block(fields, points, layer["spread"])
    fields = normed(fields, shared["norm"])
    squeeze, excite = shared["gate"]["squeeze"], shared["gate"]["excite"]
    hidden = fields.mean(axis=1) @ squeeze["kernel"] + squeeze["bias"]
    gate = jnp.maximum(hidden, 0) @ excite["kernel"] + excite["bias"]
    return fields / (1 + jnp.exp(-gate))[:, None]


def by_hand(params, seen):
    """The losses of the tasks, one after another."""
    each = jax.vmap(lambda x: fields_of(params["shared"], x))(seen.x)
    losses = []
    for k in range(len(seen.y)):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], params["tasks"])
        weights = jnp.exp(each @ own["indicator"] / np.sqrt(8))
        read = (weights[..., None] * each).sum(axis=1) / weights.sum(axis=1)[:, None]
        found = read @ own["head"]["kernel"] + own["head"]["bias"][None]
        errors = (found[:, 0] - seen.y[k]) ** 2
        losses.append(mtopt.masked_mean(errors, seen.mask[k]))
    return jnp.stack(losses)


@pytest.mark.usefixtures("x64")
def test_losses_and_gradients_are_those_of_samples_by_hand(monkeypatch):
    monkeypatch.setattr(jax.nn, "dot_product_attention", exact_attention)
    made = model(dtype=jnp.float64)
    params = in_float64(made.init(jax.random.key(0))[0])
    seen = batch(dtype=np.float64)
    problem = made.tasks.problem(seen, jax.random.key(1))
    assert_rows_by_hand(problem, params, lambda own: by_hand(own, seen), rtol=1e-9)


def test_fields_are_numbers_times_their_vectors_and_the_vectors_of_categories():
    fields = Fields(FIELDS, 8, dtype=jnp.float32, rngs=nnx.Rngs(0))
    columns, bias = fields.columns[...], fields.bias[...]
    found = fields(jnp.array([[2.0, -1.0, 0.0, 0.0, 1.0, 3.0]]))[0]
    expected = jnp.stack([2 * columns[0], -columns[1], columns[4], 3 * columns[5]])
    assert_close(found, expected + bias, rtol=1e-6)
    pixels = fields(jnp.full((1, 6), 255, jnp.uint8))
    assert_close(pixels, fields(jnp.ones((1, 6))), rtol=1e-6)


def test_vectors_in_another_order_come_out_in_that_order():
    layer = InducedAttention(3, 8, 2, 0.0, dtype=jnp.float32, rngs=nnx.Rngs(0))
    x = jnp.asarray(RNG.normal(size=(2, 6, 8)), jnp.float32)
    order = jnp.array([3, 0, 5, 1, 4, 2])
    assert_close(layer(x[:, order]), layer(x)[:, order], rtol=1e-5)
    assert np.abs(layer(x)[:, order] - layer(x)).max() > 0.1


def test_columns_in_another_order_predict_the_same():
    """Where what belongs to a field goes with it."""
    made = model(fields=None)
    params, _ = made.init(jax.random.key(0))
    order = jnp.array([3, 0, 5, 1, 4, 2])
    shared = params["shared"]
    squeeze, excite = shared["gate"]["squeeze"], shared["gate"]["excite"]
    turned = {
        **shared,
        "fields": jax.tree.map(lambda leaf: leaf[order], shared["fields"]),
        "gate": {
            "squeeze": {**squeeze, "kernel": squeeze["kernel"][order]},
            "excite": {
                "kernel": excite["kernel"][:, order],
                "bias": excite["bias"][order],
            },
        },
    }
    x = batch().x
    found = made.predict({**params, "shared": turned}, {}, x[:, order])
    assert_close(found, made.predict(params, {}, x), rtol=1e-5)


def test_a_field_that_a_task_does_not_look_for_changes_nothing():
    """Its score falls to minus infinity, whatever else it holds."""
    head = indicated(lambda rngs: nnx.Linear(4, 4, rngs=rngs), 4)(nnx.Rngs(0))
    head.head = lambda z: z
    head.indicator = nnx.Param(jnp.array([2.0, 0.0, 0.0, 0.0]))
    fields = RNG.normal(size=(2, 5, 4)).astype(np.float32)
    fields[:, 3, 0] = -1e4
    other = fields.copy()
    other[:, 3, 1:] = 9
    seen = other.copy()
    seen[:, 3, 0] = 0
    left = np.delete(fields, 3, axis=1)
    found, same, without, another = (
        head(jnp.asarray(each)) for each in (fields, other, left, seen)
    )
    np.testing.assert_array_equal(found, same)
    assert_close(found, without, rtol=1e-6)
    assert np.abs(found - another).max() > 0.1


def flops(fields, points=4):
    made = MODELS["set_attention"](
        (fields,),
        names=("a",),
        kind="regression",
        outputs=1,
        **{**SMALL, "fields": None, "points": points},
    )
    params, _ = jax.eval_shape(made.init, jax.random.key(0))
    x = jax.ShapeDtypeStruct((4, fields), jnp.float32)
    lowered = jax.jit(made.predict).lower(params, {}, x)
    return lowered.compile().cost_analysis()["flops"]


def test_the_cost_grows_as_the_number_of_fields():
    """Of four times as many fields, and of attention among all of them 16 times."""
    fewer, more = flops(128), flops(512)
    assert 3.5 * fewer < more < 4.1 * fewer
    fewer, more = (flops(512, points) - flops(512) for points in (8, 12))
    assert more == pytest.approx(2 * fewer, rel=0.1)


WAYS = {
    "equal_weighting": (mtopt.equal_weighting(3), {}),
    "mgda": (mtopt.mgda(3), {}),
    "rep_mtl": (mtopt.rep_mtl(mtopt.equal_weighting(3)), {}),
    "flat_regions": (mtopt.flat_regions(mtopt.mgda(3), rho=0.05), {}),
    "disjoint": (mtopt.mgda(3), {"x_axis": 0}),
}


@over(WAYS, slow=["flat_regions"])
def test_steps_are_finite(name):
    aggregator, options = WAYS[name]
    made = model(dropout=0.2, **options)
    params, state = made.init(jax.random.key(0))
    seen = batch()
    if "x_axis" in options:
        seen = mtopt.Batch(jnp.stack([seen.x] * 3), seen.y, seen.mask)
    tx = mtopt.chain(aggregator, optax.adam(1e-2))
    before = mtopt.TrainState.create(params, tx, jax.random.key(0), state)
    after, _ = mtopt.make_train_step(made.tasks, tx, donate=False)(before, seen)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params))
    columns = [s.params["shared"]["fields"]["columns"] for s in (before, after)]
    assert np.all(columns[0] != columns[1])


def test_more_tasks_make_no_longer_program():
    def lines(tasks):
        made = model(tuple(f"t{k:02d}" for k in range(tasks)))
        params, _ = jax.eval_shape(made.init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
        tx = mtopt.chain(mtopt.mgda(tasks), optax.sgd(0.1))
        first = mtopt.TrainState.create(params, tx, jax.random.key(0), {})
        step = mtopt.make_train_step(made.tasks, tx)
        return step.lower(first, batch(tasks)).as_text().count("\n")

    assert lines(32) <= 1.05 * lines(8)


MISUSE = {
    "fields": ({"fields": (1, 2)}, r"^fields is \(1, 2\): .* sum to the 6 of"),
    "empty field": ({"fields": (6, 0)}, r"^fields is \(6, 0\)"),
    "no fields": ({"fields": ()}, r"^fields is \(\)"),
    "width": ({"width": 0}, "^width is 0"),
    "heads": ({"heads": 5}, "^heads is 5: expected a divisor"),
    "layers": ({"layers": 0}, "^layers is 0"),
    "points": ({"points": 0}, "^points is 0"),
    "gate": ({"gate": 0}, "^gate is 0"),
    "dropout": ({"dropout": -0.1}, "^dropout is -0.1"),
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    change, message = MISUSE[name]
    with pytest.raises(mtopt.UserError, match=message) as caught:
        model(**change)
    assert "\n" not in str(caught.value)


def test_other_inputs_are_refused_in_one_line():
    made = model()
    params, _ = jax.eval_shape(made.init, jax.random.key(0))
    with pytest.raises(mtopt.UserError, match="inputs of 5 numbers: expected 6"):
        jax.eval_shape(made.predict, params, {}, jnp.ones((2, 5)))
