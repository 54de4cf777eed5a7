"""One gate for all tasks: what a hand-written mixture does."""

import jax
import jax.numpy as jnp
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


def model(name="one_gate", **options):
    options = {"experts": 4, "hidden": (7,), **options}
    return MODELS[name]((5,), names=NAMES, kind="regression", outputs=1, **options)


@pytest.mark.usefixtures("x64")
def test_losses_and_gradients_are_those_of_a_loop_over_experts():
    def output(shared, own, x):
        outputs = said(shared["experts"]["stack"], x)
        return number(own, mixed(weighed(shared["gate"], x), outputs))

    assert_as_output_by_hand(model(dtype=jnp.float64), output)


@pytest.mark.parametrize("top", [None, 2])
def test_it_is_mmoe_with_equal_gates(top):
    """Of a task's own there is the head alone, and the representation is one."""
    made, many = model(top=top), model("mmoe", top=top)
    params, _ = made.init(jax.random.key(0))
    gate = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (3, *leaf.shape)), params["shared"]["gate"]
    )
    heads = {"gate": gate, "head": params["tasks"].values}
    same = {
        "shared": params["shared"]["experts"],
        "tasks": mtopt.PerTask(heads, NAMES),
    }
    seen = regressions()
    found, expected = made.predict(params, {}, seen.x), many.predict(same, {}, seen.x)
    assert_close(found, expected, rtol=1e-6)
    problem = made.tasks.problem(seen, jax.random.key(1))
    assert problem.representation(params).shape == (12, 7)


MISUSE = {"experts": 0, "tower": -1, "dropout": 1.0, "hidden": (), "top": 5}


@over(MISUSE)
def test_misuse_is_one_line(name):
    with pytest.raises(mtopt.UserError, match=f"^{name} is") as caught:
        model(**{name: MISUSE[name]})
    assert "\n" not in str(caught.value)
