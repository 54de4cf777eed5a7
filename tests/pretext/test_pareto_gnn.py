"""ParetoGNN: the five pretext losses, and their training in the one step."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import graphs
from mtopt.models.gcn import gcn
from mtopt.pretext import PRETEXTS, pretext_model
from mtopt.pretext.decorrelation import disagreement, standardised
from mtopt.pretext.feature_reconstruction import _cosines, cubed_error
from mtopt.pretext.node_graph_information import information_loss
from mtopt.pretext.node_subgraph_contrast import contrast
from mtopt.pretext.topology_reconstruction import _pairs
from mtopt.pretext.two_views import TwoViews
from tests.helpers.close import assert_close
from tests.helpers.graphs import adjacency, random_graph

KEY = jax.random.key(5)
GRAPH, _ = random_graph(nodes=120, edges=400, columns=60)
ENCODER = gcn(60, hidden=(16,))
OPTIONS = {
    "decorrelation": {"sample": graphs.saint(121)},
    "node_subgraph_contrast": {
        "sample": graphs.ego(30, hops=2, nodes=121),
        "hidden": 32,
    },
    "topology_reconstruction": {"edges": 100, "hidden": 32},
}
PRETEXT = {
    name: make(ENCODER, **OPTIONS.get(name, {})) for name, make in PRETEXTS.items()
}
NAMES = sorted(PRETEXT)
TOGETHER = pretext_model(ENCODER, PRETEXT)
ALONE = {name: pretext_model(ENCODER, {name: PRETEXT[name]}) for name in NAMES}
# All tasks together see this one, each alone the one without padding: as samples of
# 121 nodes are the whole of either, every mask of padding counts.
PADDED = GRAPH.padded(nodes=122, edges=len(GRAPH.edge_mask) + 5)
MGDA = mtopt.mgda(5, normalize="l2")


# Compiled: as they are used, and ten times faster to test.
contrast = jax.jit(contrast, static_argnums=3)
compared = jax.jit(disagreement, static_argnums=3)
normed = jax.jit(standardised, static_argnums=2)


@jax.jit
def reconstruction(received, decode, graph, real):
    return cubed_error(_cosines(received, decode, graph), real)


def flops(program):
    return program.cost_analysis()["flops"]


@functools.cache
def starts():
    """The first parameters of every task alone, and of all together."""

    def init(key):
        alone = {name: model.init(key)[0] for name, model in ALONE.items()}
        return alone, TOGETHER.init(key)[0]

    return jax.jit(init)(jax.random.key(0))


def start():
    return starts()[1]


@functools.cache
def program():
    """Losses, rows, direction and weights of all tasks, for graphs of one shape."""

    def step(params, graph, key):
        problem = TOGETHER.tasks.problem(TOGETHER.batch(graph), key)
        losses, grads = problem.losses_and_grads(params)
        direction, state = MGDA.update(grads, MGDA.init(params), params)
        return losses, grads, direction, state.weights

    return jax.jit(step).lower(start(), PADDED, KEY).compile()


@functools.cache
def solved():
    return program()(start(), PADDED, KEY)


@functools.cache
def alone(name):
    """A task of its own: what its gradient costs, its loss and its gradient."""
    model, params = ALONE[name], starts()[0][name]

    def own(params, graph, key):
        def loss(shared, head):
            own = {"shared": shared, "tasks": (mtopt.PerTask(head, (name,)),)}
            problem = model.tasks.problem(model.batch(graph), key)
            return problem.losses(own)[0]

        grad = jax.value_and_grad(loss, argnums=(0, 1))
        return grad(params["shared"], params["tasks"][0].values)

    program = jax.jit(own).lower(params, GRAPH, KEY).compile()
    return flops(program), program(params, GRAPH, KEY)


def everything(real):
    return jnp.asarray(np.ones(real, bool))


def test_contrast_of_equal_views_has_its_closed_form():
    n, tau = 6, 0.4
    found = contrast(3.0 * jnp.eye(n), jnp.eye(n), everything(n), tau)
    expected = math.log(1 + 2 * (n - 1) * math.exp(-1 / tau))
    assert_close(found, expected, rtol=1e-5)


def test_contrast_is_its_equation_in_float64():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 7, 4))
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second /= np.linalg.norm(second, axis=1, keepdims=True)

    def one_way(a, b):
        own, other = np.exp(a @ a.T / 0.3), np.exp(a @ b.T / 0.3)
        return -np.log(np.diag(other) / (own.sum(1) + other.sum(1) - np.exp(1 / 0.3)))

    expected = (one_way(first, second) + one_way(second, first)).mean() / 2
    with jax.enable_x64(True):
        found = contrast(
            jnp.asarray(2 * first), jnp.asarray(second), everything(7), 0.3
        )
    assert_close(found, expected, rtol=1e-10)


def test_contrast_survives_the_published_temperature():
    views = np.ones((5, 4), np.float32)
    grad = jax.jit(jax.grad(contrast), static_argnums=3)
    assert np.isfinite(grad(views, -views, everything(5), 0.01)).all()


def test_reconstruction_is_0_at_best_and_8_at_worst():
    graph, dense = random_graph()
    received = jnp.asarray(dense, jnp.float32)
    for sign, expected in ((3.0, 0), (-0.5, 8)):
        kernel = sign * np.eye(9, dtype=np.float32)
        decode = {"kernel": kernel, "bias": np.zeros(9, np.float32)}
        found = reconstruction(received, decode, graph, everything(14))
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_cosines_are_those_of_the_reconstruction_that_is_never_written_down():
    graph, dense = random_graph()
    rng = np.random.default_rng(1)
    received, kernel = rng.normal(size=(14, 5)), rng.normal(size=(5, 9))
    bias = rng.normal(size=9)
    decoded = received @ kernel + bias
    expected = (decoded * dense).sum(1) / np.sqrt(
        (decoded**2).sum(1) * (dense**2).sum(1)
    )
    decode = {"kernel": kernel, "bias": bias}
    decode = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), decode)
    found = jax.jit(_cosines)(jnp.asarray(received, jnp.float32), decode, graph)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_node_that_receives_nothing_has_no_gradient():
    graph, _ = random_graph()
    decode = {"kernel": np.ones((5, 9), "f4"), "bias": np.zeros(9, "f4")}
    graded = jax.jit(jax.value_and_grad(reconstruction, argnums=1))
    value, grads = graded(np.zeros((14, 5), "f4"), decode, graph, everything(14))
    assert float(value) == 1
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(grads))


def test_information_without_a_discriminator_is_two_coins():
    h = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    apart = np.zeros((3, 3), np.float32)
    found = jax.jit(information_loss)(apart, *h, everything(6))
    np.testing.assert_allclose(found, 2 * math.log(2), rtol=1e-6)


def test_decorrelation_of_equal_white_views_is_what_the_unbiased_variance_leaves():
    h = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 4)))[0]
    h = np.linalg.qr(h - h.mean(axis=0))[0]
    n, d, strength = 12, 4, 1e-3
    with jax.enable_x64(True):
        z = normed(jnp.asarray(5 * h), everything(n), 0)
        found = compared(z, z, everything(n), strength)
    np.testing.assert_allclose(found, strength * 2 * math.sqrt(d) / n, rtol=1e-9)


def test_a_constant_column_does_not_end_the_run():
    varied = np.random.default_rng(0).normal(size=(6, 2))
    h = np.hstack([np.ones((6, 1)), varied]).astype(np.float32)

    def loss(h, epsilon):
        z = standardised(h, everything(6), epsilon)
        return disagreement(z, z, everything(6), 1e-3)

    grad = jax.jit(jax.grad(loss), static_argnums=1)
    assert np.isfinite(grad(h, 1e-5)).all()
    assert not np.isfinite(grad(h, 0.0)).all()  # as released


@pytest.mark.parametrize(("columns", "rate"), [("independent", 0.3), ("union", 0.51)])
def test_views_mask_columns_of_their_own_unless_asked_for_the_released_union(
    columns, rate
):
    wide = graphs.Features.dense(jnp.ones((1, 3000)))
    graph = graphs.Graph.of(wide, np.zeros((0, 2), int))
    ends = ENCODER._replace(
        apply=lambda params, graph: graph.features.left @ graph.features.right,
        features=3000,
    )
    views = TwoViews(graphs.whole, 0.3, 0.3, columns)
    encode = jax.jit(lambda graph, key: views.encode(ends, {"encoder": 0}, graph, key))
    found = encode(graph, KEY)
    first, second = np.asarray(found["first"][0]), np.asarray(found["second"][0])
    np.testing.assert_allclose(1 - first.mean(), rate, atol=0.04)
    assert (first == second).all() == (columns == "union")


def test_topology_draws_edges_of_the_graph_and_their_sources():
    graph, _ = random_graph()
    first, second, other, real = jax.jit(_pairs, static_argnums=2)(KEY, graph, 10_000)
    ends = np.stack([first, second], axis=1)
    assert (adjacency(graph)[ends[:, 0], ends[:, 1]] == 1).all()
    drawn = {tuple(pair) for pair in np.sort(ends, axis=1).tolist()}
    assert drawn == {tuple(pair) for pair in graph.edges.tolist()}
    assert set(other.tolist()) <= set(range(14))
    assert real.all()
    assert (ends[:, 0] > ends[:, 1]).any()
    assert (ends[:, 0] < ends[:, 1]).any()


def test_the_released_topology_draws_directed_edges_and_loops():
    graph, _ = random_graph()
    pairs = jax.jit(functools.partial(_pairs, loops=True), static_argnums=2)
    first, second, other, real = pairs(KEY, graph, 10_000)
    drawn = np.zeros((14, 14), int)
    np.add.at(drawn, (first, second), 1)
    np.testing.assert_array_equal(drawn, adjacency(graph))  # each of them once
    assert real.all()
    assert len({*np.asarray(other).tolist()}) > 7
    padded = graph.padded(nodes=17, edges=len(graph.edge_mask) + 4)
    for found, expected in zip(
        pairs(KEY, padded, 8), pairs(KEY, graph, 8), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_the_released_topology_is_its_equation():
    """Features as they are for an encoder, so that what it is given can be seen."""
    graph, dense = random_graph(nodes=50, edges=200, columns=40)
    seen = ENCODER._replace(
        apply=lambda params, graph: graph.features.project(jnp.eye(40)),
        features=40,
        width=40,
    )
    task = PRETEXTS["topology_reconstruction"](
        seen, edges=25, hidden=6, form="released"
    )

    @jax.jit
    def found(key):
        head = task.init(key)
        z = task.encode({"encoder": 0}, graph, key)
        return head, z, task.loss(head, z, everything(1), key)

    head, z, loss = jax.tree.map(np.asarray, found(KEY))
    kept = z["h"] != 0
    np.testing.assert_allclose(z["h"], np.where(kept, dense / 0.6, 0), rtol=1e-5)
    rates = kept[:, dense.all(axis=0)].mean(axis=0)
    np.testing.assert_allclose(rates.mean(), 0.6, atol=0.05)
    assert ((rates > 0.2) & (rates < 0.95)).all()  # of whole columns it is 0 or 1

    h = z["h"].astype(float)
    unit = h / np.linalg.norm(h, axis=1, keepdims=True)
    project, score = head["project"], head["score"]
    u = np.maximum(unit @ project["kernel"] + project["bias"], 0)

    def logits(ends):
        return (u[z["first"]] * u[ends]) @ score["kernel"][:, 0] + score["bias"]

    positive, negative = logits(z["second"]), logits(z["other"])
    expected = np.log1p(np.exp(-positive)).mean() + np.log1p(np.exp(negative)).mean()
    assert len(z["first"]) == 25
    np.testing.assert_allclose(loss, expected / 2, rtol=1e-5)


@pytest.mark.slow  # a program for each task; CI runs them
@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_the_same_whatever_other_tasks_and_padding_there_are(name):
    k = NAMES.index(name)
    losses, grads, *_ = solved()
    _, (loss, (shared, head)) = alone(name)
    heads = starts()[0][name]["tasks"], start()["tasks"][k : k + 1]
    for left, right in zip(*map(jax.tree.leaves, heads), strict=True):
        np.testing.assert_array_equal(left, right)
    np.testing.assert_allclose(loss, losses[k], rtol=1e-5)
    rows = jax.tree.map(lambda leaf: np.asarray(leaf)[k], grads["shared"])
    both = (
        {"shared": shared, "head": head},
        {"shared": rows, "head": grads["tasks"][k].values},
    )
    for left, right in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-5)


@pytest.mark.slow  # the same programs
def test_a_step_costs_the_passes_of_its_five_tasks():
    assert flops(program()) <= 1.05 * sum(alone(name)[0] for name in NAMES)


def test_a_run_of_one_program_lowers_the_losses():
    adam = optax.adamw(5e-3)
    params, state = start(), adam.init(start())

    @jax.jit
    def move(params, state, direction):
        updates, state = adam.update(direction, state, params)
        return optax.apply_updates(params, updates), state

    # Graphs of two sizes in one shape, as for the two encoders of the experiment.
    smaller = PADDED.edge_mask & (np.arange(len(PADDED.edge_mask)) < 300)
    graphs = PADDED, dataclasses.replace(PADDED, edge_mask=smaller)
    losses = []
    for t in range(60):
        found, _, direction, _ = program()(params, graphs[t % 2], jax.random.key(t))
        params, state = move(params, state, direction)
        losses.append(found)
    before, after = np.mean(losses[:6], axis=0), np.mean(losses[-6:], axis=0)
    assert (after < 0.98 * before).all()


def test_mgda_weighs_normalised_rows_as_the_paper_does():
    _, grads, direction, weights = solved()
    rows = np.concatenate(
        [np.reshape(leaf, (5, -1)) for leaf in jax.tree.leaves(grads["shared"])], 1
    ).astype(float)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    weights = np.asarray(weights, float)
    shortest = weights @ unit
    slack = unit @ shortest - shortest @ shortest
    assert (slack >= -1e-4).all()
    np.testing.assert_allclose(weights @ slack, 0, atol=1e-4)
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-5)
    applied = np.concatenate(
        [np.ravel(leaf) for leaf in jax.tree.leaves(direction["shared"])]
    )
    np.testing.assert_allclose(applied, weights @ rows, rtol=1e-3, atol=1e-5)
    # A head's gradient is that of the weighted loss: its own, times its weight.
    for weight, own, kept in zip(
        weights, grads["tasks"], direction["tasks"], strict=True
    ):
        for left, right in zip(*map(jax.tree.leaves, (own, kept)), strict=True):
            np.testing.assert_allclose(right, weight * left, rtol=1e-4, atol=1e-7)
