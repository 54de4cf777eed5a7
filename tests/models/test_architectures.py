"""Flax models as pure functions: their sizes, strides and initial values."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtopt
from mtopt.models import MODELS, convolution, functional
from mtopt.models.layers import dense, max_pool
from mtopt.models.mlp import MLP, check_layers
from mtopt.models.residual import Block
from mtopt.models.resnet import overlapping_max_pool
from tests.helpers.models import NAMES, TINY, make_batch, tiny


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
def test_resnet_strides_as_torch(stem, monkeypatch):
    """Stages shrink by ceil(size / 2), padded alike on both sides as torch does."""
    monkeypatch.setattr(convolution, "form_of", lambda *_: convolution.NATIVE)
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
    params, state = jax.jit(model.init)(jax.random.key(0))
    x = np.random.default_rng(0).integers(256, size=(2, *TINY[name][0]), dtype=np.uint8)
    predict = jax.jit(model.predict)
    np.testing.assert_allclose(
        predict(params, state, x),
        predict(params, state, (x / 255).astype("float32")),
        rtol=1e-5,
        atol=1e-7,
    )


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


def keeping(array):
    """An encoder that keeps an array of this make."""

    class Table(nnx.Module):
        def __init__(self, rngs):
            self.table = array()

        def __call__(self, x):
            return x * self.table[...][None]

    return Table


LINEAR = {"head": lambda rngs: nnx.Linear(3, 2, rngs=rngs), "kind": "classification"}


@pytest.mark.parametrize(
    "array",
    [
        lambda: nnx.Variable(jnp.ones(3)),
        lambda: nnx.Cache(jnp.ones(3)),
        lambda: jnp.ones(3),
        lambda: np.ones(3),
    ],
    ids=["variable", "cache", "jax", "numpy"],
)
def test_arrays_that_are_no_parameters_are_refused_with_the_form_that_works(array):
    with pytest.raises(mtopt.UserError, match=r"'table'.*expected nnx.BatchStat"):
        functional(keeping(array), names=NAMES, **LINEAR)


@pytest.mark.parametrize("x_axis", [None, 0])
def test_a_constant_is_carried_in_the_state_of_the_model(x_axis):
    constant = np.arange(1, 4)
    encoder = keeping(lambda: nnx.BatchStat(jnp.asarray(constant)))
    model = functional(encoder, names=NAMES, x_axis=x_axis, **LINEAR)
    params, state = model.init(jax.random.key(0))
    batch = make_batch((3,), "classification", 3, x_axis=x_axis)
    problem = model.tasks.problem(batch, jax.random.key(1), state)
    for leaf in jax.tree.leaves(problem.next_model_state(params))[:1]:
        np.testing.assert_array_equal(leaf, np.broadcast_to(constant, leaf.shape))
    expected = np.asarray(batch.x) * constant
    np.testing.assert_allclose(problem.representation(params), expected)


def test_statistics_belong_to_the_encoder():
    head = {**LINEAR, "head": lambda rngs: nnx.BatchNorm(3, rngs=rngs)}
    with pytest.raises(mtopt.UserError, match="LayerNorm"):
        functional(lambda rngs: nnx.Linear(3, 3, rngs=rngs), names=NAMES, **head)


def test_a_network_without_layers_hands_on_its_inputs():
    network = MLP(6, (), 0.0, dtype=jnp.float32, rngs=nnx.Rngs(0))
    assert network(jnp.arange(12.0).reshape(2, 2, 3)).tolist()[1] == [*range(6, 12)]


def test_one_width_in_place_of_several_is_told_in_one_line():
    """Of a text no types are checked, as they are in the tests."""
    with pytest.raises(mtopt.UserError, match=r"hidden is 64: .* as in \(64, 32\) or"):
        inspect.unwrap(check_layers)(64)


def test_every_model_is_tried_here():
    assert set(MODELS) == set(TINY)
