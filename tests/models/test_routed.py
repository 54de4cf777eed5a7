"""Experts that a sample's domain picks: copies at first, apart where they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from mtopt.models import functional
from mtopt.models.mlp import MLP
from mtopt.models.routed import routed
from tests.helpers.by_hand import assert_as_by_hand
from tests.helpers.close import assert_close
from tests.helpers.experts import NAMES, number, regressions, said
from tests.helpers.methods import over

KEY = jax.random.key(0)
DOMAIN = jnp.array([0, 2, 1, 1, 0, 2, 2, 0, 1, 0, 0, 1])


def expert(rngs, dropout=0.0, dtype=jnp.float32):
    return MLP(5, (7,), dropout, dtype=dtype, rngs=rngs)


def model(encoder, dtype=jnp.float32):
    return functional(
        encoder,
        lambda rngs: nnx.Linear(7, 1, dtype=dtype, rngs=rngs),
        NAMES,
        kind="regression",
    )


def batch(dtype="float32"):
    seen = regressions(dtype=dtype)
    return mtopt.Batch({"inputs": seen.x, "domain": DOMAIN}, seen.y, seen.mask)


def apart(params):
    """Experts that differ."""
    rng = np.random.default_rng(1)
    noise = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype),
        params["shared"],
    )
    return {**params, "shared": noise}


def stack_of(params):
    return params["shared"]["experts"]["stack"]


def test_at_first_it_is_one_expert():
    made, dense = model(routed(expert, 3)), model(expert)
    params, _ = made.init(KEY)
    one = {**params, "shared": jax.tree.map(lambda leaf: leaf[0], stack_of(params))}
    seen = batch()
    expected = dense.predict(one, {}, seen.x["inputs"])
    assert_close(made.predict(params, {}, seen.x), expected, rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_losses_and_gradients_are_those_of_a_loop_over_samples():
    made = model(routed(lambda rngs: expert(rngs, dtype=jnp.float64), 3), jnp.float64)
    seen = batch("float64")
    params, _ = made.init(KEY)
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), apart(params))

    def losses_of(params):
        outputs = said(stack_of(params), seen.x["inputs"])
        z = jnp.stack([outputs[d][i] for i, d in enumerate(DOMAIN.tolist())])
        losses = []
        for k in range(3):
            own = jax.tree.map(lambda leaf, k=k: leaf[k], params["tasks"])
            error = (number(own, z) - seen.y[k]) ** 2
            losses.append(mtopt.masked_mean(error, seen.mask[k]))
        return jnp.stack(losses)

    problem = made.tasks.problem(seen, KEY)
    assert_as_by_hand(problem, params, losses_of, rtol=1e-9)


def test_an_expert_learns_from_its_domain_alone():
    """One without samples has a gradient of exactly zero."""
    made = model(routed(expert, 4))
    params, _ = made.init(KEY)
    _, grads = made.tasks.problem(batch(), KEY).losses_and_grads(params)
    for leaf in jax.tree.leaves(stack_of(grads)):
        rows = np.abs(np.asarray(leaf)).reshape(3, 4, -1).sum(axis=(0, 2))
        assert (rows[:3] > 0).all()
        assert rows[3] == 0


def test_every_expert_drops_units_of_its_own():
    made = model(routed(lambda rngs: expert(rngs, dropout=0.5), 2))
    params, _ = made.init(KEY)
    inputs = jnp.ones((64, 5))
    labels = jnp.zeros((3, 64)), jnp.ones((3, 64), bool)
    # A sample's mask depends on its place and its expert.
    one, other = (
        made.tasks.problem(
            mtopt.Batch({"inputs": inputs, "domain": jnp.full(64, d)}, *labels), KEY
        ).representation(params)
        for d in (0, 1)
    )
    assert ((one == 0) != (other == 0)).any()


METHODS = {
    "equal_weighting": mtopt.equal_weighting(3),
    "mgda": mtopt.mgda(3),
    "rep_mtl": mtopt.rep_mtl(mtopt.equal_weighting(3)),
}


@over(METHODS, slow={"equal_weighting", "rep_mtl"})
def test_a_step_is_finite_and_moves_what_it_saw(name):
    made = model(routed(expert, 4))
    params, state = made.init(KEY)
    tx = mtopt.chain(METHODS[name], optax.sgd(0.1))
    start = mtopt.TrainState.create(params, tx, KEY, state)
    after, _ = mtopt.make_train_step(made.tasks, tx, donate=False)(start, batch())
    kernel = stack_of(after.params)["layers"][0]["kernel"]
    assert np.isfinite(kernel).all()
    moved = np.asarray(kernel != stack_of(params)["layers"][0]["kernel"])
    assert moved.any(axis=(1, 2)).tolist() == [True, True, True, False]


@pytest.mark.parametrize("domain", [-1, 3])
def test_a_domain_that_is_not_there_is_not_another(domain):
    made = model(routed(expert, 3))
    params, _ = made.init(KEY)
    x = {"inputs": jnp.ones((2, 5)), "domain": jnp.array([1, domain])}
    found = np.asarray(made.predict(params, {}, x))
    assert np.isfinite(found[:, 0]).all()
    assert np.isnan(found[:, 1]).all()


INPUTS = jnp.ones((4, 5))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (INPUTS, "inputs of routed experts are ArrayImpl: expected a dict"),
        ({"inputs": INPUTS}, r"are \['inputs'\]: expected a dict of \['domain', 'inp"),
        (
            {"inputs": INPUTS, "domain": jnp.ones(4)},
            r"domain is float32\[4\]: expected integers \[4\]",
        ),
        (
            {"inputs": INPUTS, "domain": jnp.zeros((4, 2), int)},
            r"domain is int32\[4, 2\]: expected integers \[4\]",
        ),
    ],
)
def test_inputs_of_another_form(x, message):
    module = routed(expert, 3)(nnx.Rngs(0))
    with pytest.raises(mtopt.UserError, match=message) as caught:
        module(x)
    assert "\n" not in str(caught.value)


def test_no_domain_at_all():
    with pytest.raises(mtopt.UserError, match="count is 0"):
        routed(expert, 0)
