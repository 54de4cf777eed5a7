"""Gates and silent units: what was planted is found, of arrays and of models."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtopt
from mtopt.analysis import gates, silence
from mtopt.models import MODELS, functional, gate
from tests.helpers.close import assert_close
from tests.helpers.methods import over

NAMES = ("a", "b")


def weights(tasks=3, samples=40, experts=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(experts, 0.5), (tasks, samples))


@pytest.mark.usefixtures("x64")
def test_mass_entropy_and_agreement_are_what_loops_find():
    given = weights()
    counted = np.random.default_rng(1).random((3, 40)) < 0.7
    found = gates(jnp.asarray(given), jnp.asarray(counted))
    for k in range(3):
        own = given[k][counted[k]]
        assert_close(found.mass[k], own.mean(axis=0), rtol=1e-12)
        nats = -np.mean([sum(w * np.log(w) for w in row) for row in own])
        assert_close(found.entropy[k], nats, rtol=1e-12)
        for m in range(3):
            both = counted[k] & counted[m]
            same = given[k][both].argmax(1) == given[m][both].argmax(1)
            assert_close(found.agreement[k, m], same.mean(), rtol=1e-12)
    assert_close(found.mass.sum(axis=1), np.ones(3), rtol=1e-12)


def test_one_expert_has_no_entropy_and_equal_ones_have_all_of_it():
    one = jnp.zeros((2, 6, 4)).at[0, :, 1].set(1.0).at[1].set(0.25)
    found = gates(one)
    assert_close(found.mass, [[0, 1, 0, 0], [0.25] * 4], rtol=1e-6)
    assert_close(found.entropy, [0.0, np.log(4)], rtol=1e-6)


def test_samples_of_their_own_agree_as_often_as_independent_ones():
    given = np.zeros((2, 4, 2))
    for k, first in enumerate([(1, 1, 1, 0), (1, 0, 0, 0)]):
        given[k, :, 0], given[k, :, 1] = first, 1 - np.array(first)
    found = gates(jnp.asarray(given), same_samples=False)
    assert_close(found.agreement[0, 1], 3 / 4 * 1 / 4 + 1 / 4 * 3 / 4, rtol=1e-6)


def test_a_task_without_samples_has_no_mass():
    counted = jnp.array([[True] * 40, [False] * 40, [True] * 40])
    found = gates(jnp.asarray(weights()), counted)
    assert_close(found.mass.sum(axis=1), [1.0, 0.0, 1.0], rtol=1e-6)
    assert all(np.isfinite(each).all() for each in found)


def test_dead_units_and_dead_experts_are_those_that_were_planted():
    rng = np.random.default_rng(0)
    outputs = np.abs(rng.normal(size=(50, 4, 10))) + 0.1
    outputs[:, 2] = 0
    outputs[5:, 2, 0] = 0  # zero for nine of ten
    outputs[:45, 0, :3] = 0
    outputs[:44, 1, :4] = 0  # not quite
    found = silence(jnp.asarray(outputs))
    assert found.experts.tolist() == [False, False, True, False]
    assert_close(found.units, 13 / 40, rtol=1e-6)
    assert_close(found.zeros, [0.27, 0.352, 1.0, 0.0], rtol=1e-6)
    only = jnp.arange(50) >= 45
    assert silence(jnp.asarray(outputs), only).units == 0.25


def test_another_number_of_axes_is_one_line():
    with pytest.raises(mtopt.UserError, match=r"weights have shape \(3, 4\): expected"):
        gates(jnp.ones((3, 4)))
    with pytest.raises(mtopt.UserError, match=r"outputs have shape \(3, 4\): expected"):
        silence(jnp.ones((3, 4)))


def mmoe(**options):
    options = {"experts": 3, "hidden": (5,), **options}
    return MODELS["mmoe"]((4,), names=NAMES, kind="binary", outputs=1, **options)


def inputs(size=7):
    return jnp.asarray(np.random.default_rng(0).normal(size=(size, 4)), jnp.float32)


@pytest.mark.parametrize("top", [None, 1])
def test_a_model_says_what_its_gates_weigh(top):
    made = mmoe(top=top)
    params, state = made.init(jax.random.key(0))
    found = jax.jit(made.mixtures)(params, state, inputs())
    (place, own), *rest = found.weights.items()
    assert (place, rest) == ("head", [])
    gate = params["tasks"].values["gate"]
    logits = jnp.einsum("bd,kde->kbe", inputs(), gate["kernel"])
    logits = logits + gate["bias"][:, None]
    if top is None:
        assert_close(own, jax.nn.softmax(logits), rtol=1e-5)
    else:
        np.testing.assert_array_equal(own, jax.nn.one_hot(logits.argmax(-1), 3))
    assert found.experts.shape == (7, 3, 5)
    z = made.tasks.problem(
        mtopt.Batch(inputs(), jnp.zeros((2, 7)), jnp.ones((2, 7), bool)),
        jax.random.key(0),
    ).representation(params)
    assert_close(found.experts, z["experts"], rtol=1e-6)


def test_inputs_of_their_own_have_gates_of_their_own():
    made, alone = mmoe(x_axis=0), mmoe()
    params, state = made.init(jax.random.key(0))
    x = jnp.stack([inputs(), 2 * inputs()])
    found = made.mixtures(params, state, x)
    assert found.experts.shape == (2, 7, 3, 5)
    for k in range(2):
        own = alone.mixtures(params, state, x[k]).weights["head"][k]
        assert_close(found.weights["head"][k], own, rtol=1e-5)


class OneGate(nnx.Module):
    """A user's own: a gate for all tasks, two levels down in the encoder."""

    class Choice(nnx.Module):
        def __init__(self, rngs):
            self.logits = nnx.Linear(4, 2, rngs=rngs)

        @gate
        def chosen(self, x):
            return jax.nn.softmax(self.logits(x))

    def __init__(self, rngs):
        self.choice = self.Choice(rngs)
        self.one, self.other = (nnx.Linear(4, 3, rngs=rngs) for _ in range(2))

    def __call__(self, x):
        w = self.choice.chosen(x)
        return w[:, :1] * self.one(x) + w[:, 1:] * self.other(x)


def of_users(encoder):
    head = lambda rngs: nnx.Linear(3, 1, rngs=rngs)  # noqa: E731
    return functional(encoder, head, NAMES, kind="binary")


def test_a_gate_of_ones_own_is_found_where_it_stands():
    made = of_users(OneGate)
    params, state = made.init(jax.random.key(0))
    found = made.mixtures(params, state, inputs())
    assert list(found.weights) == ["encoder.choice"]
    assert found.weights["encoder.choice"].shape == (2, 7, 2)
    assert found.experts is None
    assert_close(
        gates(found.weights["encoder.choice"]).agreement, np.ones((2, 2)), rtol=0
    )


def test_gates_in_a_stack_of_modules_are_left_out():
    def encoder(rngs):
        build = nnx.split_rngs(splits=2)(nnx.vmap(OneGate, in_axes=0, out_axes=0))
        return Stack(build(rngs))

    made = of_users(encoder)
    params, state = made.init(jax.random.key(0))
    assert jax.jit(made.mixtures)(params, state, inputs()).weights == {}


class Stack(nnx.Module):
    def __init__(self, stack):
        self.stack = stack

    def __call__(self, x):
        each = nnx.vmap(lambda one, x: one(x), in_axes=(0, None), out_axes=0)
        return each(self.stack, x).sum(axis=0)


GATED = {
    "cgc": (("head",), 3 + 2, 3),
    "dselect_k": (("head",), 3, 3),
    "home": (("encoder.own",), 1 + 1 + 3, None),
    "mmoe": (("head",), 3, 3),
    "ple": (("head",), 2 + 3, None),
    "one_gate": (("encoder",), 3, None),
}


@over(GATED)
def test_every_model_of_experts_says_what_it_weighs(name):
    places, count, shared = GATED[name]
    options = {"experts": 3, "hidden": (5,)}
    if name in ("cgc", "ple"):
        options["own_experts"] = 2
    made = MODELS[name]((4,), names=NAMES, kind="binary", outputs=1, **options)
    params, state = made.init(jax.random.key(0))
    found = made.mixtures(params, state, inputs())
    assert tuple(found.weights) == places
    (own,) = found.weights.values()
    assert own.shape == (2, 7, count)
    assert_close(own.sum(axis=-1), np.ones((2, 7)), rtol=1e-6)
    seen = None if found.experts is None else found.experts.shape[1]
    assert seen == shared


def test_models_without_gates_have_no_mixtures():
    assert of_users(lambda rngs: nnx.Linear(4, 3, rngs=rngs)).mixtures is None
