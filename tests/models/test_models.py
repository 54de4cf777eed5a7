"""Flax models as pure functions: what they compute, keep and start from."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from mtopt.models import MODELS, functional
from mtopt.models.layers import BatchNorm, dense, max_pool
from mtopt.models.resnet import Block, overlapping_max_pool

NAMES = ("left", "middle", "right")
KINDS = {"classification": 3, "binary": 1, "multilabel": 4, "regression": 1}
TINY = {
    "mlp": ((6,), {"hidden": (64, 32), "dropout": 0.1}),
    "pooled_mlp": ((6,), {"hidden": (64, 32), "outlier_gate": True}),
    "lenet": ((16, 16, 3), {}),
    "resnet18": ((8, 8, 1), {"width": 4, "representation": 6}),
}


def tiny(name, *, names=NAMES, kind="classification", outputs=3, **common):
    shape, options = TINY[name]
    return MODELS[name](
        shape, names=names, kind=kind, outputs=outputs, **common, **options
    )


def make_batch(shape, kind, outputs, *, size=8, x_axis=None, tasks=3):
    rng = np.random.default_rng(0)
    lead = (size,) if x_axis is None else (tasks, size)
    x = rng.normal(size=(*lead, *shape)).astype(np.float32)
    y = {
        "classification": rng.integers(outputs, size=(tasks, size)),
        "binary": rng.integers(2, size=(tasks, size)),
        "multilabel": rng.integers(2, size=(tasks, size, outputs)),
        "regression": rng.normal(size=(tasks, size)).astype(np.float32),
    }[kind]
    if np.issubdtype(y.dtype, np.integer):
        y = y.astype(np.int32)
    return mtopt.Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones((tasks, size), bool))


def assert_trees_close(found, expected, **tolerance):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, **tolerance)


class Normed(nnx.Module):
    """A linear layer, BatchNorm, relu, dropout: all a step has to keep apart."""

    def __init__(self, *, dropout=0.0, rngs):
        self.linear = nnx.Linear(3, 4, rngs=rngs)
        self.norm = BatchNorm(4)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x):
        return self.dropout(jax.nn.relu(self.norm(self.linear(x))))


def normed(x_axis=None, dropout=0.0):
    return functional(
        lambda rngs: Normed(dropout=dropout, rngs=rngs),
        lambda rngs: nnx.Linear(4, 3, rngs=rngs),
        NAMES,
        kind="classification",
        x_axis=x_axis,
    )


def residual(dtype=jnp.float32):
    """One block of a ResNet: compiled in a tenth of the time of eight."""
    return functional(
        lambda rngs: nnx.Sequential(
            Block(1, 6, stride=2, dtype=dtype, rngs=rngs),
            lambda x: x.mean(axis=(1, 2)),
        ),
        lambda rngs: nnx.Linear(6, 3, dtype=dtype, rngs=rngs),
        NAMES,
        kind="classification",
    )


def moved_statistics(params, x):
    """The statistics after one clean forward from (0, 1), by numpy in float64."""
    layer = jax.tree.map(lambda leaf: np.asarray(leaf, float), params["shared"])
    h = np.asarray(x, float) @ layer["linear"]["kernel"] + layer["linear"]["bias"]
    mean = 0.1 * h.mean(axis=-2)
    return {"norm": {"mean": mean, "var": 0.9 + 0.1 * h.var(axis=-2)}}


# --- Architectures ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "options", "expected"),
    [
        # conv 260 + 5020, dense 320*50+50, per task (50*50+50) + (50*10+10).
        ("lenet", (28, 28, 1), {}, 260 + 5020 + 16050 + 2 * 3060),
        # 36 pixels leave 6 x 6 x 20 = 720 features; three channels add 2*25*10.
        ("lenet", (36, 36, 3), {}, 760 + 5020 + 36050 + 2 * 3060),
        ("mlp", (8, 8, 1), {"hidden": (20, 5)}, 65 * 20 + 21 * 5 + 2 * 6 * 10),
        # torchvision's ResNet-18, one channel, fc 512->100, two heads: F-MTL's count.
        (
            "resnet18",
            (36, 36, 1),
            {"stem": "imagenet", "representation": 100},
            11_223_560,
        ),
        # torchvision's 11,689,512 without its fc (513,000); stem 3*64*9 for 3*64*49.
        (
            "resnet18",
            (32, 32, 3),
            {},
            11_689_512 - 513_000 - 3 * 64 * 40 + 2 * 513 * 10,
        ),
    ],
)
def test_parameter_counts(name, shape, options, expected):
    model = MODELS[name](
        shape, names=("a", "b"), kind="classification", outputs=10, **options
    )
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


@pytest.mark.parametrize("shape", [(2, 8, 6, 3), (2, 9, 7, 1)])
def test_pools_equal_reduce_window(shape):
    x = jax.random.normal(jax.random.key(0), shape)

    def reference(size, padding):
        return jax.lax.reduce_window(
            x, -jnp.inf, jax.lax.max, (1, size, size, 1), (1, 2, 2, 1), padding
        )

    np.testing.assert_array_equal(max_pool(x), reference(2, "VALID"))
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    np.testing.assert_array_equal(overlapping_max_pool(x), reference(3, padding))


@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_resnet_strides_as_torch(stem):
    """Stages shrink by ceil(size / 2), padded alike on both sides as torch does."""
    model = MODELS["resnet18"](
        (36, 36, 1),
        names=("a",),
        kind="regression",
        outputs=1,
        stem=stem,
        width=2,
    )
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    jaxpr = jax.make_jaxpr(model.predict)(params, state, jnp.zeros((1, 36, 36, 1)))
    sizes = [
        eqn.outvars[0].aval.shape[1]
        for eqn in jax.tree.leaves(
            jaxpr.eqns, is_leaf=lambda e: isinstance(e, jax.extend.core.JaxprEqn)
        )
        if eqn.primitive.name == "conv_general_dilated"
    ]
    stages = {"small": (36, 36, 18, 9, 5), "imagenet": (18, 9, 5, 3, 2)}[stem]
    convolutions = (1, 4, 5, 5, 5)  # three stages have a projecting shortcut
    assert sizes == list(np.repeat(stages, convolutions))


def test_initialisers():
    rngs = nnx.Rngs(0)
    block = Block(8, 64, stride=2, dtype=jnp.float32, rngs=rngs)
    he = (2 / (9 * 64)) ** 0.5  # fan-out; the fan-in of conv1 is an eighth of it
    assert abs(float(block.conv1.kernel[...].std()) / he - 1) < 0.02
    layer = dense(400, 200, dtype=jnp.float32, rngs=rngs)
    for leaf in (layer.kernel[...], layer.bias[...]):  # torch's biases are not zero
        assert abs(leaf).max() <= 400**-0.5
        assert abs(float(leaf.std()) * (3 * 400) ** 0.5 - 1) < 0.1


@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_bytes_are_scaled(name):
    model = tiny(name)
    params, state = model.init(jax.random.key(0))
    x = np.random.default_rng(0).integers(256, size=(2, *TINY[name][0]), dtype=np.uint8)
    np.testing.assert_allclose(
        model.predict(params, state, jnp.asarray(x)),
        model.predict(params, state, jnp.asarray(x / 255, jnp.float32)),
        rtol=1e-5,
        atol=1e-7,
    )


# --- Kinds of labels -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_losses_equal_numpy(kind):
    outputs = KINDS[kind]
    model = functional(
        lambda rngs: nnx.Linear(6, 5, rngs=rngs),
        lambda rngs: nnx.Linear(5, outputs, rngs=rngs),
        NAMES,
        kind=kind,
    )
    params, state = model.init(jax.random.key(0))
    assert state == {}
    batch = make_batch((6,), kind, outputs)
    mask = batch.mask.at[0, 3:].set(False).at[2].set(False)
    if kind == "regression":
        batch = dataclasses.replace(batch, y=batch.y.at[0, 5].set(jnp.nan))
    batch = dataclasses.replace(batch, mask=mask)
    losses = model.tasks.problem(batch, jax.random.key(1), state).losses(params)

    z = np.asarray(model.predict(params, state, batch.x), float)
    assert z.shape == {
        "classification": (3, 8, 3),
        "multilabel": (3, 8, 4),
    }.get(kind, (3, 8))
    y = np.asarray(batch.y)
    if kind == "classification":
        picked = np.take_along_axis(z, y[..., None], axis=-1)[..., 0]
        per_sample = np.log(np.exp(z).sum(-1)) - picked
    elif kind == "regression":
        per_sample = (z - y) ** 2
    else:
        per_sample = np.log1p(np.exp(z)) - y * z
        if kind == "multilabel":
            per_sample = per_sample.mean(-1)
    expected = [per_sample[0, :3].mean(), per_sample[1].mean(), 0.0]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "outputs", "labels"),
    [
        ("classification", 1, np.zeros((3, 8), np.int32)),
        ("classification", 3, np.zeros((3, 8), np.float32)),
        ("classification", 3, np.zeros((3, 8, 3), np.int32)),
        ("binary", 2, np.zeros((3, 8), np.int32)),
        ("regression", 1, np.zeros((3, 8, 1), np.float32)),
        ("multilabel", 1, np.zeros((3, 8, 4), np.int32)),
    ],
)
def test_labels_that_do_not_fit_the_head(kind, outputs, labels):
    model = tiny("mlp", kind=kind, outputs=outputs)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    batch = mtopt.Batch(jnp.zeros((8, 6)), jnp.asarray(labels), jnp.ones((3, 8), bool))
    problem = model.tasks.problem(batch, jax.random.key(0), state)
    with pytest.raises(mtopt.UserError, match=kind):
        jax.eval_shape(problem.losses, params)


# --- Parameters: heads, seeds, dtypes --------------------------------------------


def test_heads_do_not_depend_on_other_tasks():
    all_three, _ = tiny("lenet").init(jax.random.key(0))
    two, _ = tiny("lenet", names=("right", "up")).init(jax.random.key(0))
    assert_trees_close(two["tasks"]["right"], all_three["tasks"]["right"], rtol=0)
    assert_trees_close(two["shared"], all_three["shared"], rtol=0)
    kernels = all_three["tasks"].values["layers"][0]["kernel"]
    assert abs(kernels[0] - kernels[1]).max() > 0.01


@pytest.mark.parametrize("name", ["mlp", "normed"])
def test_seeds_under_vmap_equal_single_ones(name):
    model, shape = (normed(), (3,)) if name == "normed" else (tiny(name), (6,))
    keys = jax.random.split(jax.random.key(0), 2)
    params, state = jax.jit(jax.vmap(model.init))(keys)
    x = jax.random.normal(jax.random.key(1), (4, *shape))
    many = jax.jit(jax.vmap(model.predict, in_axes=(0, 0, None)))(params, state, x)
    single_params, single_state = model.init(keys[1])
    last = jax.tree.map(lambda leaf: leaf[1], (params, state))
    assert_trees_close(last, (single_params, single_state), rtol=1e-6)
    one = jax.jit(model.predict)(single_params, single_state, x)
    np.testing.assert_allclose(many[1], one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp", "lenet", "residual"])
def test_bfloat16_computes_alone(name):
    make = residual if name == "residual" else functools.partial(tiny, name)
    shape = (8, 8, 1) if name == "residual" else TINY[name][0]
    full, half = make(), make(dtype=jnp.bfloat16)
    params, state = half.init(jax.random.key(0))
    assert_trees_close((params, state), full.init(jax.random.key(0)), rtol=0)
    batch = make_batch(shape, "classification", 3)

    @jax.jit
    def compute(params, state):
        found = []
        for model in (half, full):
            problem = model.tasks.problem(batch, jax.random.key(1), state)
            prediction = model.predict(params, state, batch.x)
            found.append((prediction, problem.losses_and_grads(params)))
            dtypes = {leaf.dtype for leaf in jax.tree.leaves(found[-1])}
            dtypes |= {
                leaf.dtype for leaf in jax.tree.leaves(problem.next_model_state(params))
            }
            assert dtypes == {jnp.dtype(jnp.float32)}
        z = half.tasks.problem(batch, jax.random.key(1), state).representation(params)
        assert z.dtype == jnp.bfloat16
        return found

    (logits, (losses, grads)), (logits32, (losses32, grads32)) = compute(params, state)
    np.testing.assert_allclose(logits, logits32, atol=0.03)
    np.testing.assert_allclose(losses, losses32, atol=0.03)
    rows, rows32 = (
        jnp.concatenate(
            [leaf.reshape(3, -1) for leaf in jax.tree.leaves(g["shared"])], 1
        )
        for g in (grads, grads32)
    )
    cosine = (rows * rows32).sum(1) / jnp.linalg.norm(rows, axis=1)
    # One sample whose relu or pool tips over moves a gradient by a few per cent.
    assert (cosine / jnp.linalg.norm(rows32, axis=1) > 0.97).all()


# --- Training and evaluation mode ------------------------------------------------


def test_dropout_follows_the_key():
    model = normed(dropout=0.5)
    params, state = model.init(jax.random.key(0))
    batch = make_batch((3,), "classification", 3)
    first, second = (
        model.tasks.problem(batch, jax.random.key(k), state) for k in (1, 2)
    )
    z = first.representation(params)
    assert float((z == 0).mean()) > 0.3
    np.testing.assert_array_equal(z, first.representation(params))
    assert abs(z - second.representation(params)).max() > 0
    # A pass with a copy of the parameters per task has the mask of the joint one.
    copies = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), params["shared"])
    np.testing.assert_allclose(
        first.losses({**params, "shared": copies}, shared_axis=0),
        first.losses(params),
        rtol=1e-6,
    )
    one, other = (model.predict(params, state, batch.x) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def test_dropout_layers_and_disjoint_tasks_have_masks_of_their_own():
    model = functional(
        lambda rngs: nnx.Sequential(
            nnx.Dropout(0.5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)
        ),
        lambda rngs: nnx.Linear(64, 3, rngs=rngs),
        NAMES,
        kind="classification",
        x_axis=0,
    )
    batch = mtopt.Batch(
        jnp.ones((3, 8, 64)), jnp.zeros((3, 8), jnp.int32), jnp.ones((3, 8), bool)
    )
    params, state = model.init(jax.random.key(0))
    z = model.tasks.problem(batch, jax.random.key(1), state).representation(params)
    assert set(np.unique(z)) == {0.0, 4.0}
    assert abs(float((z > 0).mean()) - 0.25) < 0.05  # a common mask would leave 0.5
    assert (z[0] != z[1]).any()


def test_evaluation_reads_the_running_statistics():
    model = normed(dropout=0.5)
    params, state = model.init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (8, 3))
    state["norm"] = {"mean": jnp.full(4, 0.3), "var": jnp.full(4, 2.0)}
    layer, heads = params["shared"]["linear"], params["tasks"].values
    h = (x @ layer["kernel"] + layer["bias"][None] - 0.3) / np.sqrt(2.0 + 1e-5)
    expected = jnp.maximum(h, 0) @ heads["kernel"] + heads["bias"][:, None]
    np.testing.assert_allclose(
        model.predict(params, state, x), expected, rtol=1e-4, atol=1e-6
    )


METHODS = {
    "equal_weighting": mtopt.equal_weighting(3),
    "mgda": mtopt.mgda(3),
    "mgda-ub": mtopt.mgda(3, space="representation"),
}


@pytest.mark.parametrize("method", METHODS)
def test_statistics_move_once_per_step(method):
    model = normed()
    params, state = model.init(jax.random.key(0))
    batch = make_batch((3,), "classification", 3)
    expected = moved_statistics(params, batch.x)
    tx = optax.chain(METHODS[method], optax.sgd(0.1))
    train_state = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    after, _ = mtopt.make_train_step(model.tasks, tx)(train_state, batch)
    assert_trees_close(after.model_state, expected, rtol=1e-5, atol=1e-7)


def test_statistics_of_disjoint_tasks_are_the_mean_over_present_ones():
    model = normed(x_axis=0)
    params, state = model.init(jax.random.key(0))
    batch = make_batch((3,), "classification", 3, x_axis=0)
    batch = dataclasses.replace(batch, mask=batch.mask.at[1].set(False))
    problem = model.tasks.problem(batch, jax.random.key(1), state)
    each = moved_statistics(params, batch.x)
    expected = jax.tree.map(lambda leaf: (leaf[0] + leaf[2]) / 2, each)
    found = jax.jit(problem.next_model_state)(params)
    assert_trees_close(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", ["equal_weighting", "mgda"])
def test_statistics_cost_no_second_forward(method):
    model = residual()
    tx = optax.chain(METHODS[method], optax.sgd(0.1))
    step = mtopt.make_train_step(model.tasks, tx)
    params, state = model.init(jax.random.key(0))
    train_state = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    batch = make_batch((8, 8, 1), "classification", 3)

    def flops(function):
        compiled = jax.jit(function).lower(train_state, batch).compile()
        return compiled.cost_analysis()["flops"]

    without = flops(lambda s, b: dataclasses.replace(step(s, b)[0], model_state=None))
    assert flops(step) / without == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("name", "x_axis"),
    [("mlp", None), ("mlp", 0), ("lenet", None), ("resnet18", None)],
)
def test_training_reduces_the_losses(name, x_axis):
    model = tiny(name, x_axis=x_axis)
    params, state = jax.jit(model.init)(jax.random.key(0))
    batch = make_batch(TINY[name][0], "classification", 3, x_axis=x_axis)
    tx = optax.chain(mtopt.equal_weighting(3), optax.adam(1e-2))
    step = mtopt.make_train_step(model.tasks, tx)
    train_state = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    losses = []
    for _ in range(30):
        train_state, metrics = step(train_state, batch)
        losses.append(np.asarray(metrics["losses"]))
    assert np.isfinite(losses).all()
    assert (losses[-1] < 0.6 * losses[0]).all()
    assert step._cache_size() == 1
    logits = model.predict(train_state.params, train_state.model_state, batch.x)
    assert logits.shape == (3, 8, 3)
    assert bool(jnp.isfinite(logits).all())


# --- Bad input -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": ()}, "hidden"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"kind": "clasification"}, "did you mean 'classification'"),
        ({"names": ("b", "a")}, "sorted"),
        ({"x_axis": 1}, "x_axis"),
        ({"name": "lenet", "input_shape": (12, 16, 1)}, "16 x 16"),
        ({"name": "lenet", "input_shape": (28, 28)}, "height, width, channels"),
        ({"name": "resnet18", "input_shape": (28, 28, 1), "stem": "imagenet"}, "32 x"),
        ({"name": "resnet18", "input_shape": (28, 28, 1), "stem": "big"}, "stem"),
        ({"name": "resnet18", "input_shape": (28, 28, 1), "width": 0}, "width"),
    ],
)
def test_bad_options(change, message):
    arguments = {
        "input_shape": (28, 28, 1),
        "names": ("a", "b"),
        "kind": "classification",
        "outputs": 10,
    } | {option: value for option, value in change.items() if option != "name"}
    with pytest.raises(mtopt.UserError, match=message) as caught:
        MODELS[change.get("name", "mlp")](**arguments)
    assert "\n" not in str(caught.value)


class Scaled(nnx.Module):
    def __init__(self, rngs):
        self.count = nnx.Variable(jnp.zeros(()))

    def __call__(self, x):
        return x


@pytest.mark.parametrize(
    ("encoder", "head", "message"),
    [
        (Scaled, lambda rngs: nnx.Linear(3, 2, rngs=rngs), "count"),
        (
            lambda rngs: nnx.Linear(3, 3, rngs=rngs),
            lambda rngs: nnx.BatchNorm(3, rngs=rngs),
            "LayerNorm",
        ),
    ],
)
def test_modules_that_do_not_fit(encoder, head, message):
    with pytest.raises(mtopt.UserError, match=message):
        functional(encoder, head, NAMES, kind="classification")


def test_every_model_is_tried_here():
    assert set(MODELS) == set(TINY)
