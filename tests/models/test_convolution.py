"""Convolutions as products of matrices equal ``lax.conv_general_dilated``."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from mtopt.models import MODELS, convolution
from mtopt.models.convolution import NATIVE, Form, form_of
from tests.helpers.close import assert_close

LAYOUT = ("NHWC", "HWIO", "NHWC")
SIZES = ((1, 1), (3, 3), (5, 5), (7, 7), (2, 5), (5, 1))


def case(form, size, strides=(1, 1), padding="VALID", image=(7, 9), channels=(2, 3)):
    return SimpleNamespace(**locals())


def drawn(seed):
    """A case of any kernel, stride, padding and block."""
    rng = np.random.default_rng(seed)
    size = SIZES[rng.integers(len(SIZES))]
    pads = tuple(tuple(map(int, rng.integers(0, s + 1, 2))) for s in size)
    return case(
        Form("patches")
        if rng.random() < 0.3
        else Form("bands", int(rng.integers(1, 6))),
        size,
        strides=tuple(map(int, rng.integers(1, 4, 2))),
        padding=("SAME", "VALID", pads)[rng.integers(3)],
        image=tuple(int(rng.integers(s, s + 8)) for s in size),
        channels=tuple(map(int, rng.integers(1, 4, 2))),
    )


CHOSEN = {
    "lenet": case(Form("bands", 4), (5, 5), image=(6, 12)),
    "a block wider than what is left, strides, uneven padding": case(
        Form("bands", 4), (3, 5), (2, 3), ((1, 0), (2, 3)), image=(8, 16)
    ),
    "shortcut of a residual block": case(Form("patches"), (1, 1), (2, 2)),
    "patches": case(Form("patches"), (3, 3), (2, 1), "SAME"),
}
ALL = [pytest.param(value, id=name) for name, value in CHOSEN.items()] + [
    pytest.param(drawn(seed), id=f"seed {seed}", marks=pytest.mark.slow)
    for seed in range(40)
]


def derivatives(by_form, x, kernel, cotangents, moves):
    """The value, both gradients, K of them, a jvp, a second derivative, two seeds."""
    out, pull = jax.vjp(by_form, x, kernel)
    dx, dkernel = moves

    def curved(x, kernel):
        return jnp.sin(by_form(x, kernel)).sum()

    both = jax.grad(curved, argnums=(0, 1))
    return {
        "value": out,
        "vjp": pull(cotangents[0]),
        "vmapped vjp": jax.vmap(pull)(cotangents),
        "jvp": jax.jvp(by_form, (x, kernel), moves)[1],
        "second": jax.jvp(both, (x, kernel), moves)[1],
        "seeds": jax.vmap(both)(jnp.stack([x, dx]), jnp.stack([kernel, dkernel])),
    }


@pytest.mark.parametrize("at", ALL)
def test_forms_equal_the_convolution_of_lax(at, monkeypatch):
    def by_rule(x, kernel):
        return convolution.convolution(x, kernel, at.strides, at.padding)

    def reference(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            at.strides,
            at.padding,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    monkeypatch.setattr(convolution, "form_of", lambda *_: at.form)
    rng = np.random.default_rng(0)
    shapes = (2, *at.image, at.channels[0]), (*at.size, *at.channels)
    out = jax.eval_shape(reference, *map(jnp.zeros, shapes))
    draws = [rng.normal(size=s) for s in (*shapes, (3, *out.shape), *shapes)]
    with jax.enable_x64(True):
        for dtype, rtol in ((jnp.float32, 1e-5), (jnp.float64, 1e-12)):
            x, kernel, cotangents, *moves = (jnp.asarray(d, dtype) for d in draws)
            arguments = x, kernel, cotangents, tuple(moves)
            both = jax.jit(
                lambda *a: (derivatives(by_rule, *a), derivatives(reference, *a))
            )
            found, expected = both(*arguments)
            assert_close(found, expected, rtol=rtol)
            types = [
                [leaf.dtype for leaf in jax.tree.leaves(t)] for t in (found, expected)
            ]
            assert types[0] == types[1]


@pytest.mark.parametrize(
    ("image", "kernel", "expected"),
    [
        ((32, 32), (5, 5, 1, 10), Form("bands", 8)),  # LeNet at 36 pixels
        ((12, 12), (5, 5, 10, 20), Form("bands", 4)),
        ((24, 24), (5, 5, 1, 10), Form("bands", 8)),  # at 28
        ((8, 8), (5, 5, 10, 20), Form("bands", 4)),
        ((28, 28), (5, 5, 3, 10), Form("bands", 10)),  # at 32, in colour
        ((32, 32), (3, 3, 64, 64), NATIVE),  # ResNet-18 at 32
        ((16, 16), (1, 1, 64, 128), Form("patches")),
        ((4, 4), (3, 3, 512, 512), Form("patches")),
        ((4, 4), (3, 3, 64, 64), NATIVE),  # a narrow one
        ((18, 18), (7, 7, 1, 64), NATIVE),  # the imagenet stem
        ((0, 4), (1, 1, 2, 3), NATIVE),
    ],
)
def test_the_rule(image, kernel, expected):
    assert form_of(image, kernel, "cpu") == expected
    assert form_of(image, kernel, "gpu") == form_of(image, kernel, "tpu") == NATIVE


def primitives(jaxpr):
    """The names of all operations, those of inner programs too."""
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name
        for inner in jax.extend.core.jaxprs_in_params(eqn.params):
            yield from primitives(inner)


def traced(call, *shapes):
    arguments = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    return set(primitives(jax.make_jaxpr(call)(*arguments).jaxpr))


@pytest.mark.parametrize(("platform", "products"), [("cpu", True), ("gpu", False)])
def test_models_take_the_form_of_their_platform(platform, products, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    shapes = {"lenet": (16, 16, 1), "resnet18": (8, 8, 1)}
    all_of, left = {"lenet": 2, "resnet18": 20}, {"lenet": 0, "resnet18": 10}
    for name, shape in shapes.items():
        model = MODELS[name](shape, names=("a",), kind="regression", outputs=1)
        params, state = jax.eval_shape(model.init, jax.random.key(0))
        x = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
        found = list(primitives(jax.make_jaxpr(model.predict)(params, state, x).jaxpr))
        native = found.count("conv_general_dilated")
        assert native == (left[name] if products else all_of[name])


def test_the_platform_is_that_of_the_default_device(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    shapes = (1, 2, 2, 1), (1, 1, 1, 1)

    def call(x, kernel):
        return convolution.convolution(x, kernel, (1, 1), "VALID")

    assert "conv_general_dilated" in traced(call, *shapes)
    with jax.default_device(jax.devices("cpu")[0]):
        assert "dot_general" in traced(call, *shapes)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_dilation": 2},
        {"input_dilation": 2},
        {"feature_group_count": 2},
        {"precision": "highest"},
    ],
    ids=str,
)
def test_what_is_not_plain_is_left_to_lax(options):
    layer = nnx.eval_shape(
        lambda: nnx.Conv(
            2,
            2,
            (1, 5),
            padding=0,
            conv_general_dilated=convolution.convolution,
            rngs=nnx.Rngs(0),
            **options,
        )
    )
    graph, state = nnx.split(layer)
    x = jax.ShapeDtypeStruct((1, 6, 6, 2), jnp.float32)
    jaxpr = jax.make_jaxpr(lambda state, x: nnx.merge(graph, state)(x))(state, x)
    assert "conv_general_dilated" in set(primitives(jaxpr.jaxpr))


def test_half_precision_is_summed_in_float32():
    """To the rounding of the output, where sums in bfloat16 would lose all digits."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(1, 12, 12, 8)), rng.normal(size=(5, 5, 8, 2))
    x, kernel = jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16)

    def gradients(x, kernel):
        def call(x, kernel):
            return convolution.convolution(x, kernel, (1, 1), "VALID")

        out, pull = jax.vjp(call, x, kernel)
        return out, pull(jnp.ones_like(out))

    # The reference is float32's, on the same numbers.
    wide = jax.jit(gradients)(x.astype(jnp.float32), kernel.astype(jnp.float32))
    found = jax.jit(gradients)(x, kernel)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {jnp.dtype(jnp.bfloat16)}
    as_wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), found)
    assert_close(as_wide, wide, rtol=2**-8)
