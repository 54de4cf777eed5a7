"""Experts and gates as blocks: of any module, and told where they do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtopt
from mtopt.models import functional
from mtopt.models.experts import experts, gated
from mtopt.models.gates import softmax_gate
from mtopt.models.mlp import MLP
from tests.helpers.close import assert_close

KEY = jax.random.key(0)


def of_images(rngs):
    return nnx.Sequential(
        nnx.Conv(1, 2, (3, 3), rngs=rngs), jax.nn.relu, lambda x: x.mean(axis=(1, 2))
    )


def head(rngs):
    return nnx.Linear(2, 3, rngs=rngs)


def model(gate, own=None, make=of_images):
    parts = experts(make, 3), gated(head, gate, own=own)
    return functional(*parts, ("a", "b"), kind="classification")


def test_experts_of_images_and_a_gate_of_their_pixels():
    made = model(softmax_gate(16, 3 + 2), experts(of_images, 2))
    params, _ = made.init(KEY)
    x = jax.random.normal(KEY, (5, 4, 4, 1))
    own = jax.tree.map(lambda leaf: leaf[1], params["tasks"].values)
    logits = x.reshape(5, 16) @ own["gate"]["kernel"] + own["gate"]["bias"][None]
    weights = jax.nn.softmax(logits)
    said = [each(stack, x) for stack in (params["shared"], own["own"])]
    mixture = jnp.einsum("be,bef->bf", weights, jnp.concatenate(said, axis=1))
    expected = mixture @ own["head"]["kernel"] + own["head"]["bias"][None]
    assert_close(made.predict(params, {}, x)[1], expected, rtol=1e-5)


def each(parameters, x):
    """What every expert of a stack says, by one module after another."""
    stack = parameters["stack"]
    found = []
    for e in range(len(jax.tree.leaves(stack)[0])):
        module = of_images(nnx.Rngs(0))
        own = jax.tree.map(lambda leaf, e=e: leaf[e], stack)
        nnx.update(module, own)
        found.append(module(x))
    return jnp.stack(found, axis=1)


def test_bytes_are_scaled_for_own_experts_and_gates_too():
    made = model(softmax_gate(16, 4), experts(scaling, 1), make=scaling)
    params, _ = made.init(KEY)
    draw = np.random.default_rng(0).integers(256, size=(5, 4, 4, 1), dtype=np.uint8)
    found = made.predict(params, {}, jnp.asarray(draw))
    expected = made.predict(params, {}, jnp.asarray(draw / 255, jnp.float32))
    assert_close(found, expected, rtol=1e-5)


def scaling(rngs):
    return MLP(16, (2,), 0.0, dtype=jnp.float32, rngs=rngs)


def test_statistics_of_own_experts_are_refused():
    def normed(rngs):
        return nnx.Sequential(of_images(rngs), nnx.BatchNorm(2, rngs=rngs))

    with pytest.raises(mtopt.UserError, match="the head keeps BatchNorm statistics"):
        model(softmax_gate(16, 4), experts(normed, 1))


def test_what_makes_an_expert_may_have_arguments_with_defaults():
    def make(rngs, size=4, dtype=jnp.float32):
        return nnx.Linear(3, size, dtype=dtype, rngs=rngs)

    found = experts(make, 2)(nnx.Rngs(0))(jnp.ones((5, 3)))
    assert found["experts"].shape == (5, 2, 4)


@pytest.mark.parametrize(
    ("gate", "own", "message"),
    [
        (softmax_gate(16, 5), 1, "5 weights for 3 shared experts and 1 .* expected 4"),
        (softmax_gate(16, 2), 0, "2 weights for 3 shared experts and 0 .* expected 3"),
        (softmax_gate(15, 3), 0, "15 features reads inputs of 16 numbers"),
    ],
)
def test_a_gate_that_does_not_fit(gate, own, message):
    made = model(gate, experts(of_images, own) if own else None)
    params, _ = made.init(KEY)
    with pytest.raises(mtopt.UserError, match=message) as caught:
        made.predict(params, {}, jnp.ones((5, 4, 4, 1)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: experts(of_images, 0), "count is 0"),
        (lambda: softmax_gate(3, 0), "count is 0"),
        (lambda: softmax_gate(3, 4, top=0), "top is 0: expected from 1 to 4"),
        (lambda: softmax_gate(3, 4, top=5), "top is 5: expected from 1 to 4"),
    ],
)
def test_misuse(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
