"""Experts of tasks' own beside shared ones: what a hand-written CGC does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.models import MODELS
from tests.helpers.close import assert_close
from tests.helpers.experts import (
    NAMES,
    assert_as_output_by_hand,
    mixed,
    number,
    regressions,
    said,
    weighed,
)
from tests.helpers.methods import over


def model(name="cgc", names=NAMES, **options):
    own = {"own_experts": 2} if name == "cgc" else {}
    options = {"experts": 3, "hidden": (7,), **own, **options}
    return MODELS[name]((5,), names=names, kind="regression", outputs=1, **options)


@pytest.mark.usefixtures("x64")
def test_losses_and_gradients_are_those_of_a_loop_over_experts():
    def output(shared, own, x):
        outputs = said(shared["stack"], x) + said(own["own"]["stack"], x)
        return number(own["head"], mixed(weighed(own["gate"], x), outputs))

    assert_as_output_by_hand(model(dtype=jnp.float64), output)


def test_the_order_of_experts_changes_nothing():
    made = model()
    params, _ = made.init(jax.random.key(0))
    shared, own = jnp.array([2, 0, 1]), jnp.array([1, 0])
    of_gate = jnp.concatenate([shared, 3 + own])
    heads = params["tasks"].values
    gate = jax.tree.map(lambda leaf: leaf[..., of_gate], heads["gate"])
    experts = jax.tree.map(lambda leaf: leaf[:, own], heads["own"])
    turned = {
        "shared": jax.tree.map(lambda leaf: leaf[shared], params["shared"]),
        "tasks": mtopt.PerTask({**heads, "gate": gate, "own": experts}, NAMES),
    }
    x = regressions().x
    assert_close(made.predict(turned, {}, x), made.predict(params, {}, x), rtol=1e-5)


def test_without_weight_on_own_experts_it_is_mmoe():
    params, _ = model().init(jax.random.key(0))
    heads = params["tasks"].values
    bias = heads["gate"]["bias"].at[:, 3:].set(-jnp.inf)
    closed = {**heads, "gate": {**heads["gate"], "bias": bias}}
    gate = jax.tree.map(lambda leaf: leaf[..., :3], heads["gate"])
    without = {"gate": gate, "head": heads["head"]}
    x, shared = regressions().x, params["shared"]
    found, expected = (
        made.predict({"shared": shared, "tasks": mtopt.PerTask(tasks, NAMES)}, {}, x)
        for made, tasks in ((model(), closed), (model("mmoe"), without))
    )
    assert_close(found, expected, rtol=1e-6)


def test_own_experts_have_no_part_in_rows_or_representation():
    made = model()
    params, _ = made.init(jax.random.key(0))
    problem = made.tasks.problem(regressions(), jax.random.key(1))
    assert set(params["shared"]) == {"stack"}
    z = problem.representation(params)
    assert [leaf.shape for leaf in jax.tree.leaves(z)] == [(12, 3, 7)]


def test_own_experts_drop_units_in_training_alone():
    """Under another key their losses are others, and with equal keys they are not."""
    made = model(dropout=0.5)
    params, _ = made.init(jax.random.key(0))
    # Without shared experts, whose units are dropped, too.
    bias = params["tasks"].values["gate"]["bias"].at[:, :3].set(-jnp.inf)
    gate = {**params["tasks"].values["gate"], "bias": bias}
    heads = mtopt.PerTask({**params["tasks"].values, "gate": gate}, NAMES)
    params = {**params, "tasks": heads}

    def losses(key):
        seen = regressions()
        return made.tasks.problem(seen, jax.random.key(key)).losses(params)

    one, again, other = (np.asarray(losses(key)) for key in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).all()


def test_shared_experts_are_computed_once():
    """With more tasks a pass grows by what these have of their own."""

    def flops(tasks):
        names = tuple(f"t{k}" for k in range(tasks))
        made = model(names=names, experts=16, hidden=(64, 64), own_experts=1)
        params, _ = jax.eval_shape(made.init, jax.random.key(0))
        seen = regressions(tasks, 64)

        def losses(params):
            return made.tasks.problem(seen, jax.random.key(1)).losses(params)

        return jax.jit(losses).lower(params).compile().cost_analysis()["flops"]

    shared = 16 * 64 * 2 * (5 * 64 + 64 * 64)
    assert flops(8) - flops(2) < 0.6 * shared


MISUSE = {
    "experts": 0,
    "own_experts": 0,
    "tower": -1,
    "dropout": 1.0,
    "hidden": (0,),
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    with pytest.raises(mtopt.UserError, match=f"^{name} is") as caught:
        model(**{name: MISUSE[name]})
    assert "\n" not in str(caught.value)
