"""Tasks weigh the fields of the input, and find those that matter to them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS
from tests.helpers.by_hand import assert_as_by_hand, plain
from tests.helpers.close import assert_close
from tests.helpers.experts import number
from tests.helpers.methods import over

NAMES = ("a", "b", "c")


def made(fields=6, size=2, **options):
    options = {"hidden": (7,), "names": NAMES} | options
    return MODELS["field_gate"]((fields, size), kind="regression", outputs=1, **options)


def batch(fields=6, size=2, tasks=3, samples=12, dtype=np.float32):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(samples, fields, size)), dtype)
    y = jnp.asarray(rng.normal(size=(tasks, samples)), dtype)
    return mtopt.Batch(x, y, jnp.asarray(rng.random(y.shape) < 0.8))


def encoded(shared, own, x):
    hidden = x.mean(axis=2) @ own["squeeze"]["kernel"] + own["squeeze"]["bias"][None]
    scores = jnp.maximum(hidden, 0) @ own["excite"]["kernel"]
    weights = 2 / (1 + jnp.exp(-scores - own["excite"]["bias"][None]))
    z = (x * weights[..., None]).reshape(len(x), -1)
    for layer in shared["network"]["layers"].values():
        z = jnp.maximum(z @ layer["kernel"] + layer["bias"][None], 0)
    return z


def by_hand(params, seen):
    losses = []
    for k in range(len(seen.y)):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], params["tasks"])
        z = encoded(params["shared"], own["own"], seen.x)
        errors = (number(own["head"], z) - seen.y[k]) ** 2
        losses.append(mtopt.masked_mean(errors, seen.mask[k]))
    return jnp.stack(losses)


@pytest.mark.usefixtures("x64")
def test_losses_and_rows_are_those_of_gates_by_hand():
    model = made(dtype=jnp.float64)
    params, _ = model.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.3 * rng.normal(size=leaf.shape)), params
    )
    seen = batch(dtype=np.float64)
    problem = model.tasks.problem(seen, jax.random.key(1))
    assert_as_by_hand(problem, params, lambda p: by_hand(p, seen), rtol=1e-9)


def test_a_new_model_is_the_one_that_it_stands_below():
    model, seen = made(), batch()
    params, _ = model.init(jax.random.key(0))
    found = model.tasks.problem(seen, jax.random.key(1)).representation(params)
    layer = params["shared"]["network"]["layers"][0]
    z = seen.x.reshape(12, -1) @ layer["kernel"] + layer["bias"][None]
    assert_close(found, jnp.stack([jnp.maximum(z, 0)] * 3), rtol=1e-5)


@functools.cache
def flops(method):
    model, seen = made(16, 4, hidden=(128, 64)), batch(16, 4, samples=256)
    params, _ = model.init(jax.random.key(0))
    if method == "by hand":

        def step(params):
            mean = jax.value_and_grad(lambda p: by_hand(p, seen).mean())
            loss, grads = mean(params)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss

        lowered = jax.jit(step).lower(plain(params))
    else:
        tx = mtopt.chain(mtopt.METHODS[method](3), optax.sgd(0.1))
        state = mtopt.TrainState.create(params, tx, jax.random.key(0), {})
        lowered = mtopt.make_train_step(model.tasks, tx).lower(state, seen)
    return lowered.compile().cost_analysis()["flops"]


def test_equal_weighting_costs_what_a_hand_written_step_costs():
    assert flops("equal_weighting") <= 1.02 * flops("by hand")


def test_gates_rank_the_fields_of_their_task_first():
    """Each task is a function of two fields of six; the network is common."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(1024, 6)), jnp.float32)
    y = jnp.stack([x[:, 2 * k] * x[:, 2 * k + 1] for k in range(3)])
    seen = mtopt.Batch(x, y, jnp.ones(y.shape, bool), NAMES)
    model = MODELS["field_gate"](
        (6,), names=NAMES, kind="regression", outputs=1, hidden=(64,), reduction=1.0
    )
    params, state = model.init(jax.random.key(0))
    tx = mtopt.chain(mtopt.equal_weighting(3), optax.adam(1e-2))
    train = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    step = mtopt.make_train_step(model.tasks, tx)
    for _ in range(400):
        train, _ = step(train, seen)
    own = train.params["tasks"].values["own"]
    for k in range(3):
        hidden = x @ own["squeeze"]["kernel"][k] + own["squeeze"]["bias"][k][None]
        scores = jax.nn.relu(hidden) @ own["excite"]["kernel"][k]
        weights = (2 * jax.nn.sigmoid(scores + own["excite"]["bias"][k][None])).mean(0)
        first = np.argsort(-np.asarray(weights))[:2]
        assert {*first.tolist()} == {2 * k, 2 * k + 1}, weights


@over({"reduction": 0.5, "hidden": (), "dropout": 1.0})
def test_misuse_is_one_line(name):
    wrong = {"reduction": 0.5, "hidden": (), "dropout": 1.0}[name]
    with pytest.raises(mtopt.UserError, match=f"^{name} is"):
        made(**{name: wrong})
