"""TaskExpert: what a hand-written memory reads of experts at every depth."""

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

KEY = jax.random.key(0)


def model(**options):
    options = {"hidden": (8, 6, 4), "experts": 3, "width": 7, **options}
    return MODELS["task_expert"](
        (5,), names=NAMES, kind="regression", outputs=1, **options
    )


def read_by_hand(shared, own, x):
    """What the memory holds in the end; depth after depth, expert after expert."""
    memory = None
    for depth, experts in shared["experts"].items():
        (layer,) = shared["layers"][depth]["layers"].values()
        x = jnp.maximum(x @ layer["kernel"] + layer["bias"][None], 0)
        outputs = said(experts["stack"], x)
        # A gate reads and does not teach what it reads.
        seen = jax.lax.stop_gradient(x)
        if memory is not None:
            read = own["reads"][depth - 1]
            outputs.append(memory @ read["kernel"] + read["bias"][None])
            seen = jnp.concatenate([seen, memory], axis=1)
        found = mixed(weighed(own["gates"][depth], seen), outputs)
        written = found @ own["writes"][depth]["kernel"]
        memory = written if memory is None else memory + written
    return memory


@pytest.mark.usefixtures("x64")
def test_losses_and_gradients_are_those_of_loops():
    def output(shared, own, x):
        return number(own["head"], read_by_hand(shared, own, x))

    assert_as_output_by_hand(model(dtype=jnp.float64), output)


def test_one_expert_of_one_depth_is_a_linear_head_on_it():
    made = model(hidden=(8,), experts=1)
    params, _ = made.init(KEY)
    x = regressions().x
    own = params["tasks"].values
    (layer,) = params["shared"]["layers"][0]["layers"].values()
    hidden = jax.nn.relu(x @ layer["kernel"] + layer["bias"][None])
    (said_of_it,) = said(params["shared"]["experts"][0]["stack"], hidden)
    kernel = own["writes"][0]["kernel"] @ own["head"]["kernel"]
    expected = (said_of_it @ kernel)[..., 0] + own["head"]["bias"]
    assert_close(made.predict(params, {}, x), expected, rtol=1e-5)


def test_without_weight_on_the_memory_a_depth_does_not_read_it():
    """Its parameters R then have no gradient, and others keep theirs."""
    made = model()
    params, _ = made.init(KEY)
    own = params["tasks"].values
    gates = dict(own["gates"])
    for depth in (1, 2):
        bias = gates[depth]["bias"].at[:, -1].set(-jnp.inf)
        gates[depth] = {**gates[depth], "bias": bias}
    closed = mtopt.PerTask({**own, "gates": gates}, NAMES)
    problem = made.tasks.problem(regressions(), KEY)
    _, grads = problem.losses_and_grads({**params, "tasks": closed})
    found = grads["tasks"].values
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(found["reads"]))
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(found["writes"]))


def test_equal_experts_leave_gates_without_a_say():
    made = model(hidden=(8,))
    params, _ = made.init(KEY)
    experts = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), params["shared"]["experts"]
    )
    same = {**params, "shared": {**params["shared"], "experts": experts}}
    other, _ = made.init(jax.random.key(1))
    heads = {**params["tasks"].values, "gates": other["tasks"].values["gates"]}
    turned = {**same, "tasks": mtopt.PerTask(heads, NAMES)}
    x = regressions().x
    assert_close(made.predict(turned, {}, x), made.predict(same, {}, x), rtol=1e-5)


def test_the_order_of_experts_changes_nothing():
    made = model()
    params, _ = made.init(KEY)
    order = jnp.array([2, 0, 1])
    experts = jax.tree.map(lambda leaf: leaf[order], params["shared"]["experts"])
    own = params["tasks"].values
    gates = {
        depth: jax.tree.map(
            lambda leaf: jnp.concatenate([leaf[..., order], leaf[..., 3:]], axis=-1),
            gate,
        )
        for depth, gate in own["gates"].items()
    }
    turned = {
        "shared": {**params["shared"], "experts": experts},
        "tasks": mtopt.PerTask({**own, "gates": gates}, NAMES),
    }
    x = regressions().x
    assert_close(made.predict(turned, {}, x), made.predict(params, {}, x), rtol=1e-5)


def test_the_representation_is_what_experts_say_at_every_depth():
    made = model()
    params, _ = made.init(KEY)
    z = made.tasks.problem(regressions(), KEY).representation(params)
    assert [leaf.shape for leaf in jax.tree.leaves(z)] == [(12, 3, 3, 7)]


def test_a_task_has_no_say_in_what_another_reads():
    made = model()
    params, _ = made.init(KEY)
    other, _ = made.init(jax.random.key(1))
    heads = jax.tree.map(
        lambda old, new: old.at[1].set(new[1]),
        params["tasks"].values,
        other["tasks"].values,
    )
    x = regressions().x
    before = np.asarray(made.predict(params, {}, x))
    changed = {**params, "tasks": mtopt.PerTask(heads, NAMES)}
    after = np.asarray(made.predict(changed, {}, x))
    np.testing.assert_array_equal(before[[0, 2]], after[[0, 2]])
    assert (before[1] != after[1]).any()


MISUSE = {"experts": 0, "width": 0, "dropout": 1.0, "hidden": ()}


@over(MISUSE)
def test_misuse_is_one_line(name):
    with pytest.raises(mtopt.UserError, match=f"^{name} is") as caught:
        model(**{name: MISUSE[name]})
    assert "\n" not in str(caught.value)
