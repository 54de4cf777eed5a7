"""Encoders that depend on the task do what hand-written ones do, at their cost."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers.by_hand import assert_as_by_hand, plain
from tests.helpers.close import assert_close

K, B, D, H = 3, 12, 5, 8
NAMES = ("a", "b", "c")
MOST = 1.02
"""FLOPs over those of a hand-written step, at most."""


def experts(weights, x):
    return jax.nn.relu(jnp.einsum("bd,ndh->nbh", x, weights))


def mixed(gate, x, outputs):
    return jnp.einsum("bm,mbh->bh", jax.nn.softmax(x @ gate), outputs)


def encode(shared, x, key, task):
    """The first level of PLE, a gate of the task's own below, and one more layer."""
    x = x * (2 * jax.nn.sigmoid(task.own["field"]))[None]
    own = experts(shared["own"][task.index], x)
    common = experts(shared["common"], x)
    z = mixed(shared["gate"][task.index], x, jnp.concatenate([own, common]))
    return jnp.tanh(z @ shared["top"])


def head_loss(head, z, y, mask, key):
    return mtopt.masked_mean((z @ head["v"] - y) ** 2, mask)


def by_hand(params, x, y, mask):
    """The losses of the tasks, one after another."""
    shared, found = params["shared"], []
    for k in range(len(y)):
        own = jax.tree.map(lambda leaf, k=k: leaf[k], params["tasks"])
        x_k = x * (2 / (1 + jnp.exp(-own["field"])))[None]
        outputs = [
            jnp.maximum(x_k @ w, 0) for w in (*shared["own"][k], *shared["common"])
        ]
        scores = jnp.exp(x_k @ shared["gate"][k])
        weights = scores / scores.sum(axis=1, keepdims=True)
        z = sum(weights[:, [m]] * output for m, output in enumerate(outputs))
        errors = (jnp.tanh(z @ shared["top"]) @ own["v"] - y[k]) ** 2
        found.append((errors * mask[k]).sum() / mask[k].sum())
    return jnp.stack(found)


def made(dtype=np.float32, tasks=K, batch=B, inputs=D, width=H):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape) / shape[-2] ** 0.5, dtype)

    shared = {
        "own": draw(tasks, 2, inputs, width),
        "common": draw(2, inputs, width),
        "gate": draw(tasks, inputs, 4),
        "top": draw(width, width),
    }
    heads = {"field": draw(tasks, inputs), "v": draw(tasks, width)}
    names = tuple(f"t{k:02d}" for k in range(tasks))
    x, y = draw(batch, inputs), draw(tasks, batch)
    mask = jnp.asarray(rng.random((tasks, batch)) < 0.8)
    params = {"shared": shared, "tasks": mtopt.PerTask(heads, names)}
    model = mtopt.Tasks(names, encode, head_loss, per_task=True)
    return model, params, mtopt.Batch(x, y, mask, names)


@pytest.mark.usefixtures("x64")
def test_losses_and_gradients_are_those_of_a_loop_over_tasks():
    model, params, batch = made(np.float64)
    problem = model.problem(batch, jax.random.key(0))
    labels = batch.x, batch.y, batch.mask
    assert_as_by_hand(problem, params, lambda own: by_hand(own, *labels), rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_what_goes_back_is_the_gradient_of_the_weighted_loss():
    model, params, batch = made(np.float64)
    problem = model.problem(batch, jax.random.key(0))
    weights = jnp.array([0.2, 0.0, 0.8])
    also = jax.tree.map(jnp.sin, problem.representation(params))

    def total(params):
        z = problem.representation(params)
        return weights @ problem.losses(params) + (jnp.sin(also) * 0 + also * z).sum()

    expected = jax.grad(total)(params)
    assert_close(problem.pullback(params, weights, also), expected["shared"], rtol=1e-9)
    own = problem.losses_and_grads(params)[1]["tasks"].values
    below = problem.pull_to_tasks(params, also).values
    of_tasks = jax.tree.map(
        lambda g, b: jnp.einsum("k,k...->k...", weights, g) + b, own, below
    )
    assert_close(of_tasks, expected["tasks"].values, rtol=1e-9)


def test_what_goes_back_to_shared_parameters_alone_has_nothing_for_tasks():
    tasks = mtopt.Tasks(("a",), lambda s, x, key: x @ s, head_loss)
    params = {
        "shared": jnp.ones((2, 3)),
        "tasks": mtopt.PerTask({"v": jnp.ones((1, 3))}, ("a",)),
    }
    batch = mtopt.Batch.shared(jnp.ones((4, 2)), {"a": jnp.ones(4)})
    problem = tasks.problem(batch, jax.random.key(0))
    assert problem.pull_to_tasks(params, problem.representation(params)) is None


METHODS = {
    "equal_weighting": mtopt.equal_weighting(K),
    "mgda": mtopt.mgda(K),
    "mgda in Z": mtopt.mgda(K, space="representation"),
    "rep_mtl": mtopt.rep_mtl(mtopt.equal_weighting(K)),
    "flat_regions": mtopt.flat_regions(mtopt.mgda(K), rho=0.05),
}


def moved(model, params, batch, aggregator, **options):
    tx = mtopt.chain(aggregator, optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = mtopt.make_train_step(model, tx, donate=False, **options)
    for _ in range(2):
        state, _ = step(state, batch)
    return state.params


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_that_of_the_same_tasks_as_disjoint_ones(name):
    """Each with the shared input copied, and its place as one more input."""
    model, params, batch = made()
    here = moved(model, params, batch, METHODS[name])
    apart = mtopt.Tasks(model.names, encode, head_loss, x_axis=0, per_task=True)
    copied = mtopt.Batch(
        jnp.broadcast_to(batch.x, (K, *batch.x.shape)), batch.y, batch.mask, batch.names
    )
    there = moved(apart, params, copied, METHODS[name])
    assert_close(here, there, rtol=2e-4)


@pytest.mark.parametrize("name", ["equal_weighting", "mgda"])
def test_micro_batches_and_groups_take_the_same_step(name):
    model, params, batch = made()
    whole = moved(model, params, batch, METHODS[name])
    parts = moved(model, params, batch, METHODS[name], micro_batches=3)
    assert_close(whole, parts, rtol=2e-4)
    groups = mtopt.TaskGroups((model,), shared_inputs=True)
    one = {**params, "tasks": (params["tasks"],)}
    of_groups = mtopt.Batch(batch.x, (batch.y,), (batch.mask,), (batch.names,))
    found = moved(groups, one, of_groups, METHODS[name])
    assert_close(whole, {**found, "tasks": found["tasks"][0]}, rtol=2e-4)


def level(shared, x):
    """A level of PLE whose experts all tasks reach, on what no task has changed."""
    own = jax.vmap(experts, (0, None))(shared["own"], x)
    return own, experts(shared["common"], x)


def encode_level(shared, x, key, task):
    own, common = level(shared, x)
    outputs = jnp.concatenate([own[task.index], common])
    return jnp.tanh(mixed(shared["gate"][task.index], x, outputs) @ shared["top"])


def level_by_hand(params, x, y, mask):
    own, common = level(params["shared"], x)
    found = []
    for k in range(len(y)):
        outputs = jnp.concatenate([own[k], common])
        z = mixed(params["shared"]["gate"][k], x, outputs) @ params["shared"]["top"]
        v = params["tasks"]["v"][k]
        found.append(mtopt.masked_mean((jnp.tanh(z) @ v - y[k]) ** 2, mask[k]))
    return jnp.stack(found)


KINDS = {"gate below": (encode, by_hand), "experts": (encode_level, level_by_hand)}


def compiled_flops(function, *arguments):
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled.cost_analysis()["flops"]


@functools.cache
def flops(kind, method, tasks):
    """Of a step; of one written by hand, and of K gradients of one task each."""
    encode, hand = KINDS[kind]
    model, params, batch = made(tasks=tasks, batch=64, inputs=48, width=96)
    labels = batch.x, batch.y, batch.mask
    if method == "by hand":

        def step(params):
            mean = jax.value_and_grad(lambda p: hand(p, *labels).mean())
            loss, grads = mean(params)
            return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss

        return compiled_flops(step, plain(params))
    if method == "apart":
        return sum(
            compiled_flops(
                jax.value_and_grad(lambda p, k=k: hand(p, *labels)[k]), plain(params)
            )
            for k in range(tasks)
        )
    model = mtopt.Tasks(model.names, encode, head_loss, per_task=True)
    tx = mtopt.chain(mtopt.METHODS[method](tasks), optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    return compiled_flops(mtopt.make_train_step(model, tx), state, batch)


@pytest.mark.parametrize("tasks", [2, pytest.param(8, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_weighting_costs_what_a_hand_written_step_costs(kind, tasks):
    found, hand = (flops(kind, m, tasks) for m in ("equal_weighting", "by hand"))
    assert found <= MOST * hand


@pytest.mark.parametrize("tasks", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_rows_cost_at_most_one_gradient_a_task(tasks):
    assert flops("experts", "mgda", tasks) <= flops("experts", "apart", tasks)


MISUSE = {
    "encode(shared, x, key, task)": {"encode": lambda s, x, key: x @ s},
    "a coupled encode is that of all": {
        "encode": lambda s, x, key, state, labelled, task: (x, state),
        "x_axis": 0,
        "stateful": True,
        "coupled": True,
    },
}


@pytest.mark.parametrize("message", MISUSE)
def test_misuse_is_one_line(message):
    with pytest.raises(mtopt.UserError) as error:
        mtopt.Tasks(("a",), head_loss=head_loss, per_task=True, **MISUSE[message])
    assert message in str(error.value)


def encode_moments(shared, x, key, state, labelled, task):
    """Statistics of what a task's own gate lets through."""
    x = x * (2 * jax.nn.sigmoid(task.own["field"]))[None]
    mean = jnp.where(labelled[:, None], x, 0).sum(0) / labelled.sum()
    return jnp.tanh((x - mean[None]) @ shared["top"]), 0.9 * state + 0.1 * mean


def test_every_task_has_statistics_of_its_own():
    _, params, batch = made(inputs=H)
    model = mtopt.Tasks(
        batch.names, encode_moments, head_loss, stateful=True, per_task=True
    )
    key = jax.random.key(0)
    problem = model.problem(batch, key, jnp.zeros((K, H)))
    seen = batch.mask.any(axis=0)
    mean = (batch.x * seen[:, None]).sum(0) / seen.sum()
    gates = 2 * jax.nn.sigmoid(params["tasks"].values["field"])
    assert_close(problem.next_model_state(params), 0.1 * gates * mean[None], rtol=1e-5)
    with pytest.raises(mtopt.UserError, match="expected a leading axis of the 3 tasks"):
        model.problem(batch, key, jnp.zeros(H)).losses(params)


def test_no_label_moves_no_statistics():
    _, params, batch = made(inputs=H)
    model = mtopt.Tasks(
        batch.names, encode_moments, head_loss, stateful=True, per_task=True
    )
    none = mtopt.Batch(batch.x, batch.y, jnp.zeros_like(batch.mask), batch.names)
    problem = model.problem(none, jax.random.key(0), jnp.ones((K, H)))
    assert_close(problem.next_model_state(params), jnp.ones((K, H)), rtol=0)
