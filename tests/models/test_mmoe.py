"""Experts and gates: what a hand-written mixture does, at its cost, by every method."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS
from tests.helpers.by_hand import plain
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
from tests.helpers.methods import FEW, make, over

SHAPE = (5,)


def model(names=NAMES, shape=SHAPE, **options):
    options = {"experts": 4, "hidden": (7,), **options}
    return MODELS["mmoe"](shape, names=names, kind="regression", outputs=1, **options)


@pytest.mark.usefixtures("x64")
def test_losses_and_gradients_are_those_of_a_loop_over_experts():
    def output(shared, own, x):
        z = mixed(weighed(own["gate"], x), said(shared["stack"], x))
        return number(own["head"], z)

    assert_as_output_by_hand(model(dtype=jnp.float64), output)


@pytest.mark.parametrize("top", [None, 2])
def test_gates_sum_to_one(top):
    """Of equal experts any mixture is one of them."""
    made, alone = model(top=top), model(experts=1)
    params, _ = made.init(jax.random.key(0))
    shared, heads = params["shared"], params["tasks"].values
    same = {**params, "shared": jax.tree.map(alike, shared)}
    cut = {**heads, "gate": jax.tree.map(lambda leaf: leaf[..., :1], heads["gate"])}
    one = {
        "shared": jax.tree.map(lambda leaf: leaf[:1], shared),
        "tasks": mtopt.PerTask(cut, NAMES),
    }
    x = regressions().x
    assert_close(made.predict(same, {}, x), alone.predict(one, {}, x), rtol=1e-5)


def alike(leaf):
    return jnp.broadcast_to(leaf[:1], leaf.shape)


def test_one_expert_alone_matters_where_one_takes_part():
    made = model(top=1)
    params, _ = made.init(jax.random.key(0))

    def outputs(shared):
        return made.predict({**params, "shared": shared}, {}, regressions().x[:1])[0]

    jacobian = jax.jacrev(outputs)(params["shared"])
    # Of one output, behind it the expert.
    size = sum(
        np.abs(leaf[0]).reshape(4, -1).sum(axis=1) for leaf in jax.tree.leaves(jacobian)
    )
    assert (size > 0).sum() == 1


def test_the_order_of_experts_changes_nothing():
    made = model()
    params, _ = made.init(jax.random.key(0))
    order = jnp.array([2, 0, 3, 1])
    heads = params["tasks"].values
    gate = jax.tree.map(lambda leaf: leaf[..., order], heads["gate"])
    turned = {
        "shared": jax.tree.map(lambda leaf: leaf[order], params["shared"]),
        "tasks": mtopt.PerTask({**heads, "gate": gate}, NAMES),
    }
    x = regressions().x
    assert_close(made.predict(turned, {}, x), made.predict(params, {}, x), rtol=1e-5)


def test_what_a_gate_reads_is_no_representation():
    made = model()
    params, _ = made.init(jax.random.key(0))
    problem = made.tasks.problem(regressions(), jax.random.key(1))
    z = problem.representation(params)
    assert [leaf.shape for leaf in jax.tree.leaves(z)] == [(12, 4, 7)]
    gradients = problem.representation_gradients(params, z)
    assert [leaf.shape for leaf in jax.tree.leaves(gradients)] == [(3, 12, 4, 7)]


@over(mtopt.METHODS, slow=set(mtopt.METHODS) - FEW)
def test_every_method_takes_a_finite_step(name):
    assert moved(make(name, 3))


WRAPPED = {
    "rep_mtl": mtopt.rep_mtl(mtopt.equal_weighting(3)),
    "flat_regions": mtopt.flat_regions(mtopt.mgda(3), rho=0.05),
    "outlier_weighted": mtopt.outlier_weighted(mtopt.mgda(3)),
}


@over(WRAPPED)
def test_wrappers_take_a_finite_step(name):
    assert moved(WRAPPED[name])


def moved(aggregator):
    """Whether a step of it changes what is shared, to finite numbers."""
    made = model(dropout=0.3)
    params, state = made.init(jax.random.key(0))
    tx = mtopt.chain(aggregator, optax.adam(1e-2))
    before = mtopt.TrainState.create(params, tx, jax.random.key(0), state)
    step = mtopt.make_train_step(made.tasks, tx, donate=False)
    after, _ = step(before, regressions())
    leaves = jax.tree.leaves(after.params)
    kernel = after.params["shared"]["stack"]["layers"][0]["kernel"]
    changed = params["shared"]["stack"]["layers"][0]["kernel"] != kernel
    return all(np.isfinite(leaf).all() for leaf in leaves) and bool(changed.any())


def test_every_expert_drops_units_of_its_own():
    made = model(dropout=0.5, hidden=(64,))
    params, _ = made.init(jax.random.key(0))
    params = {**params, "shared": jax.tree.map(alike, params["shared"])}
    z = made.tasks.problem(regressions(), jax.random.key(1)).representation(params)
    dropped = np.asarray(z["experts"] == 0)
    assert (dropped[:, 0] != dropped[:, 1]).any()


@functools.cache
def flops(method, tasks):
    names = tuple(f"t{k:02d}" for k in range(tasks))
    made = model(names, (48,), experts=8, hidden=(96, 32))
    params, _ = made.init(jax.random.key(0))
    seen = regressions(tasks, 256, 48)
    if method == "experts":

        def run(params):
            problem = made.tasks.problem(seen, jax.random.key(1))
            return problem.representation(params)

        return jax.jit(run).lower(params).compile().cost_analysis()["flops"]
    if method == "by hand":

        def step(params):
            def mean(params):
                stack = params["shared"]["stack"]["layers"]
                z = jnp.broadcast_to(seen.x, (8, *seen.x.shape))
                for layer in stack.values():
                    product = jnp.einsum("ebi,eio->ebo", z, layer["kernel"])
                    z = jnp.maximum(product + layer["bias"][:, None], 0)
                own = params["tasks"]
                gate = jnp.einsum("bd,kde->kbe", seen.x, own["gate"]["kernel"])
                gate = jax.nn.softmax(gate + own["gate"]["bias"][:, None])
                mixed = jnp.einsum("kbe,ebf->kbf", gate, z)
                found = jnp.einsum("kbf,kfo->kbo", mixed, own["head"]["kernel"])
                found = (found + own["head"]["bias"][:, None])[..., 0]
                errors = jnp.where(seen.mask, (found - seen.y) ** 2, 0)
                return (errors.sum(1) / seen.mask.sum(1)).mean()

            loss, grads = jax.value_and_grad(mean)(params)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss

        lowered = jax.jit(step).lower(plain(params))
        return lowered.compile().cost_analysis()["flops"]
    tx = mtopt.chain(mtopt.METHODS[method](tasks), optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0), {})
    lowered = mtopt.make_train_step(made.tasks, tx).lower(state, seen)
    return lowered.compile().cost_analysis()["flops"]


@pytest.mark.parametrize("tasks", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_equal_weighting_costs_what_a_hand_written_step_costs(tasks):
    assert flops("equal_weighting", tasks) <= 1.03 * flops("by hand", tasks)


@pytest.mark.parametrize("tasks", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_rows_cost_a_pass_through_the_experts_for_each_task(tasks):
    """One forward, and K backwards, each of two products a layer but for the first."""
    forward = flops("experts", tasks)
    first, second = 48 * 96, 96 * 32
    backward = forward * (first + 2 * second) / (first + second)
    assert flops("mgda", tasks) <= 1.08 * (forward + tasks * backward)


MISUSE = {
    "experts": 0,
    "tower": -1,
    "dropout": 1.0,
    "hidden": (),
    "top": 5,
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    with pytest.raises(mtopt.UserError, match=f"^{name} is"):
        model(**{name: MISUSE[name]})
