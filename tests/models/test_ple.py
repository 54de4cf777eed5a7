"""PLE of several levels is what it is when written by hand, at its cost."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS
from tests.helpers.by_hand import assert_as_by_hand, at, plain
from tests.helpers.experts import mixed, weighed
from tests.helpers.methods import over

NAMES = ("a", "b", "c")
B, D, H = 12, 5, 7


def model(names=NAMES, features=D, **options):
    options = {"experts": 2, "own_experts": 2, "hidden": (H,)} | options
    return MODELS["ple"](
        (features,), names=names, kind="regression", outputs=1, **options
    )


def batch(tasks=3, size=B, features=D, dtype=np.float32):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(size, features)), dtype)
    y = jnp.asarray(rng.normal(size=(tasks, size)), dtype)
    return mtopt.Batch(x, y, jnp.ones((tasks, size), bool))


def layer(parameters, x):
    return x @ parameters["kernel"] + parameters["bias"][None]


def expert(parameters, x):
    return jax.nn.relu(layer(parameters["layers"][0], x))


def by_hand(params, batch, levels):
    """The losses of the tasks: every level of each, one expert after another."""
    shared, heads = params["shared"], params["tasks"]
    tasks = len(batch.y)
    own, common = [batch.x] * tasks, batch.x
    for level in (shared["levels"][i] for i in range(levels - 1)):
        mine = [
            [expert(at(level["own"]["stack"]["stack"], k, n), own[k]) for n in (0, 1)]
            for k in range(tasks)
        ]
        ours = [expert(at(level["shared"]["stack"], n), common) for n in (0, 1)]
        own = [
            mixed(weighed(at(level["gates"]["stack"], k), own[k]), [*mine[k], *ours])
            for k in range(tasks)
        ]
        every = [*itertools.chain(*mine), *ours]
        common = mixed(weighed(level["shared_gate"], common), every)
    last = [expert(at(shared["experts"]["stack"], n), common) for n in (0, 1)]
    found = []
    for k in range(tasks):
        head = at(heads, k)
        mine = [expert(at(head["experts"]["stack"], n), own[k]) for n in (0, 1)]
        z = mixed(weighed(head["gate"], own[k]), [*mine, *last])
        errors = (layer(head["head"], z)[:, 0] - batch.y[k]) ** 2
        found.append(mtopt.masked_mean(errors, batch.mask[k]))
    return jnp.stack(found)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("levels", [2, 3])
def test_losses_and_rows_are_those_of_levels_by_hand(levels):
    made = model(levels=levels, dtype=jnp.float64)
    params, _ = made.init(jax.random.key(0))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    seen = batch(dtype=np.float64)
    problem = made.tasks.problem(seen, jax.random.key(1))
    assert_as_by_hand(problem, params, lambda p: by_hand(p, seen, levels), rtol=1e-9)


@functools.cache
def flops(method, tasks):
    names = tuple(f"t{k:02d}" for k in range(tasks))
    made = model(names, 64, hidden=(128, 64), tower=0)
    params, _ = made.init(jax.random.key(0))
    seen = batch(tasks, 256, 64)
    if method in ("by hand", "apart"):
        return hand_flops(made, params, seen, method == "apart")
    tx = mtopt.chain(mtopt.METHODS[method](tasks), optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0), {})
    lowered = mtopt.make_train_step(made.tasks, tx).lower(state, seen)
    return lowered.compile().cost_analysis()["flops"]


def stacked_experts(parameters, x):
    """``[..., n]`` experts of two layers on one input, or on one of each."""
    for i in (0, 1):
        own = parameters["layers"][i]
        x = jax.nn.relu(jnp.matmul(x, own["kernel"]) + own["bias"][..., None, :])
    return x


def hand_losses(params, seen, tasks):
    """Of some tasks, by products of stacked arrays."""
    shared, heads = params["shared"], params["tasks"]
    level, x = shared["levels"][0], seen.x
    mine = stacked_experts(level["own"]["stack"]["stack"], x[None, None])
    ours = stacked_experts(level["shared"]["stack"], x[None])
    gates = level["gates"]["stack"]
    every = jnp.concatenate([mine.reshape(-1, *ours.shape[1:]), ours])
    common = jnp.einsum(
        "be,ebf->bf", jax.nn.softmax(layer(level["shared_gate"], x)), every
    )
    last = stacked_experts(shared["experts"]["stack"], common[None])
    found = []

    def one(k, head, gate, y, mask):
        weights = jax.nn.softmax(layer(gate, x))
        z = jnp.einsum("be,ebf->bf", weights, jnp.concatenate([mine[k], ours]))
        own = stacked_experts(head["experts"]["stack"], z[None])
        weights = jax.nn.softmax(layer(head["gate"], z))
        z = jnp.einsum("be,ebf->bf", weights, jnp.concatenate([own, last]))
        return mtopt.masked_mean((layer(head["head"], z)[:, 0] - y) ** 2, mask)

    if tasks is None:
        k = jnp.arange(len(seen.y))
        return jax.vmap(one)(k, heads, gates, seen.y, seen.mask)
    found = [one(k, at(heads, k), at(gates, k), seen.y[k], seen.mask[k]) for k in tasks]
    return jnp.stack(found)


def hand_flops(made, params, seen, apart):
    def step(params, tasks):
        def mean(params):
            return hand_losses(params, seen, tasks).mean()

        loss, grads = jax.value_and_grad(mean)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss

    found = 0
    for tasks in [(k,) for k in range(len(seen.y))] if apart else [None]:
        one = jax.jit(functools.partial(step, tasks=tasks))
        found += one.lower(plain(params)).compile().cost_analysis()["flops"]
    return found


@pytest.mark.parametrize(
    "tasks", [2, *(pytest.param(k, marks=pytest.mark.slow) for k in (4, 8))]
)
def test_equal_weighting_costs_what_a_hand_written_step_costs(tasks):
    assert flops("equal_weighting", tasks) <= 1.02 * flops("by hand", tasks)


@pytest.mark.parametrize(
    "tasks", [2, *(pytest.param(k, marks=pytest.mark.slow) for k in (4, 8))]
)
def test_rows_cost_at_most_one_gradient_a_task(tasks):
    assert flops("mgda", tasks) <= flops("apart", tasks)


MISUSE = {
    "levels": 1,
    "experts": 0,
    "own_experts": 0,
    "tower": -1,
    "dropout": 1.0,
    "hidden": (),
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    with pytest.raises(mtopt.UserError, match=f"^{name} is"):
        model(**{name: MISUSE[name]})
