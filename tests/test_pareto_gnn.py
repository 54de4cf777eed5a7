"""ParetoGNN: the five pretext losses, and their training in the one step."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from graphs import adjacency, random_graph
from problems import flops

import mtopt
from mtopt import graphs
from mtopt.models.gcn import gcn
from mtopt.pretext import PRETEXTS, pretext_model
from mtopt.pretext.decorrelation import disagreement, standardised
from mtopt.pretext.feature_reconstruction import _cosines, cubed_error
from mtopt.pretext.node_graph_information import information_loss
from mtopt.pretext.node_subgraph_contrast import contrast
from mtopt.pretext.two_views import TwoViews

KEY = jax.random.key(5)
ENCODER = gcn(9, hidden=(8, 6))
OPTIONS = {
    "decorrelation": {"sample": graphs.saint(12)},
    "node_subgraph_contrast": {"sample": graphs.ego(3, hops=2, nodes=10), "hidden": 7},
    "topology_reconstruction": {"edges": 8, "hidden": 7},
}


@functools.cache
def model(*names):
    return pretext_model(
        ENCODER,
        {name: PRETEXTS[name](ENCODER, **OPTIONS.get(name, {})) for name in names},
    )


@functools.cache
def losses(*names):
    tasks = model(*names).tasks
    # The key is an argument, or the compiler draws its numbers, which takes long.
    compiled = jax.jit(lambda params, b, key: tasks.problem(b, key).losses(params))
    return lambda params, batch: compiled(params, batch, KEY)


def everything(real):
    return jnp.ones(real, bool)


def test_contrast_of_equal_views_has_its_closed_form():
    n, tau = 6, 0.4
    found = contrast(3.0 * jnp.eye(n), jnp.eye(n), everything(n), tau)
    expected = math.log(1 + 2 * (n - 1) * math.exp(-1 / tau))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


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
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_contrast_survives_the_published_temperature():
    views = jnp.tile(jnp.ones((1, 4)), (5, 1))
    grad = jax.grad(lambda v: contrast(v, -views, everything(5), 0.01))(views)
    assert jnp.isfinite(grad).all()


def test_reconstruction_is_0_at_best_and_8_at_worst():
    graph, dense = random_graph()
    received = jnp.asarray(dense, jnp.float32)
    for sign, expected in ((3.0, 0), (-0.5, 8)):
        decode = {"kernel": sign * jnp.eye(9), "bias": jnp.zeros(9)}
        found = cubed_error(_cosines(received, decode, graph), everything(14))
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
    found = _cosines(jnp.asarray(received, jnp.float32), decode, graph)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_node_that_receives_nothing_has_no_gradient():
    graph, _ = random_graph()
    decode = {"kernel": jnp.ones((5, 9)), "bias": jnp.zeros(9)}

    def loss(decode):
        cosines = _cosines(jnp.zeros((14, 5)), decode, graph)
        return cubed_error(cosines, everything(14))

    value, grads = jax.value_and_grad(loss)(decode)
    assert float(value) == 1
    assert all(not leaf.any() for leaf in jax.tree.leaves(grads))


def test_information_without_a_discriminator_is_two_coins():
    h = jax.random.normal(KEY, (2, 6, 3))
    found = information_loss(jnp.zeros((3, 3)), h[0], h[1], everything(6))
    np.testing.assert_allclose(found, 2 * math.log(2), rtol=1e-6)


def test_decorrelation_of_equal_white_views_is_what_the_unbiased_variance_leaves():
    h = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 4)))[0]
    h = np.linalg.qr(h - h.mean(axis=0))[0]
    n, d, strength = 12, 4, 1e-3
    with jax.enable_x64(True):
        z = standardised(jnp.asarray(5 * h), everything(n), 0)
        found = disagreement(z, z, everything(n), strength)
    np.testing.assert_allclose(found, strength * 2 * math.sqrt(d) / n, rtol=1e-9)


def test_a_constant_column_does_not_end_the_run():
    h = jnp.concatenate([jnp.ones((6, 1)), jax.random.normal(KEY, (6, 2))], axis=1)

    def loss(h, epsilon):
        z = standardised(h, everything(6), epsilon)
        return disagreement(z, z, everything(6), 1e-3)

    assert jnp.isfinite(jax.grad(loss)(h, 1e-5)).all()
    assert not jnp.isfinite(jax.grad(loss)(h, 0.0)).all()  # as released


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
    found = views.encode(ends, {"encoder": None}, graph, KEY)
    first, second = np.asarray(found["first"][0]), np.asarray(found["second"][0])
    np.testing.assert_allclose(1 - first.mean(), rate, atol=0.04)
    assert (first == second).all() == (columns == "union")


def test_topology_draws_edges_of_the_graph_and_their_sources():
    graph, _ = random_graph()
    pretext = PRETEXTS["topology_reconstruction"](ENCODER, edges=10_000, hidden=4)
    shared = model("topology_reconstruction").init(KEY)["shared"]
    found = jax.jit(pretext.encode)(shared, graph, KEY)
    ends = np.stack([found["first"], found["second"]], axis=1)
    assert (adjacency(graph)[ends[:, 0], ends[:, 1]] == 1).all()
    drawn = {tuple(pair) for pair in np.sort(ends, axis=1).tolist()}
    assert drawn == {tuple(pair) for pair in graph.edges.tolist()}
    assert set(found["other"].tolist()) <= set(range(14))


def test_a_task_sees_the_same_view_whatever_other_tasks_there_are():
    graph, _ = random_graph()
    together = model(*PRETEXTS)
    params = together.init(jax.random.key(0))
    all_losses = losses(*PRETEXTS)(params, together.batch(graph))
    for k, name in enumerate(sorted(PRETEXTS)):
        alone = model(name)
        own = alone.init(jax.random.key(0))
        mine = jax.tree.leaves(params["tasks"][k])
        for left, right in zip(mine, jax.tree.leaves(own["tasks"]), strict=True):
            np.testing.assert_array_equal(left, right)
        found = losses(name)(own, alone.batch(graph))
        np.testing.assert_allclose(found[0], all_losses[k], rtol=1e-5)


def test_padding_changes_no_loss():
    graph, _ = random_graph()
    padded = graph.padded(nodes=20, edges=len(graph.edge_mask) + 9)
    together = model(*PRETEXTS)
    params = together.init(jax.random.key(0))
    of = losses(*PRETEXTS)
    np.testing.assert_allclose(
        of(params, together.batch(padded)),
        of(params, together.batch(graph)),
        rtol=2e-5,
    )


@functools.cache
def trained(text):
    methods = {
        "mgda": mtopt.mgda(5, normalize="l2"),
        "equal_weighting": mtopt.equal_weighting(5),
    }
    graph, _ = random_graph()
    together = model(*PRETEXTS)
    tx = optax.chain(methods[text], optax.adamw(5e-3))
    params = together.init(jax.random.key(0))
    state = mtopt.TrainState.create(params, tx, jax.random.key(1))
    step = mtopt.make_train_step(together.tasks, tx)
    # Graphs of two sizes, padded to one shape, as for the two encoders of a run.
    smaller, _ = random_graph(edges=12)
    shape = {"nodes": 16, "edges": 40}
    batches = [together.batch(g.padded(**shape)) for g in (graph, smaller)]
    start = np.asarray(losses(*PRETEXTS)(params, batches[0]))
    for t in range(40):
        state, _ = step(state, batches[t % 2])
    end = np.asarray(losses(*PRETEXTS)(state.params, batches[0]))
    return step, state, start, end


@pytest.mark.parametrize("text", ["mgda", "equal_weighting"])
def test_a_run_compiles_once_and_lowers_the_losses(text):
    step, state, start, end = trained(text)
    assert step._cache_size() == 1
    assert (end < start).sum() >= 4
    assert (end / start).mean() < 0.95
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_mgda_weighs_normalised_rows_as_the_paper_does():
    graph, _ = random_graph()
    together = model(*PRETEXTS)
    params = together.init(jax.random.key(0))
    tx = mtopt.mgda(5, normalize="l2")

    @jax.jit
    def solve(params, key):
        problem = together.tasks.problem(together.batch(graph), key)
        _, grads = problem.losses_and_grads(params)
        direction, state = tx.update(grads, tx.init(params), params)
        return grads, direction, state.weights

    grads, direction, weights = solve(params, KEY)
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


def test_a_step_costs_the_passes_of_its_five_tasks():
    graph, _ = random_graph(nodes=120, edges=400, columns=60)
    encoder = gcn(60, hidden=(32, 16))
    options = {
        "decorrelation": {"sample": graphs.saint(100)},
        "node_subgraph_contrast": {
            "sample": graphs.ego(30, hops=2, nodes=80),
            "hidden": 32,
        },
        "topology_reconstruction": {"edges": 100, "hidden": 32},
    }
    pretexts = {
        name: make(encoder, **options.get(name, {})) for name, make in PRETEXTS.items()
    }
    together = pretext_model(encoder, pretexts)
    params = together.init(jax.random.key(0))

    def own(name):
        def loss(shared, head, graph, key):
            z = pretexts[name].encode(shared, graph, key)
            return pretexts[name].loss(head, z, key)

        head = pretext_model(encoder, {name: pretexts[name]}).init(KEY)["tasks"][0]
        grad = jax.value_and_grad(loss, argnums=(0, 1))
        return flops(grad, params["shared"], head[name], graph, KEY)

    alone = sum(own(name) for name in PRETEXTS)
    tx = mtopt.mgda(5, normalize="l2")

    def step(params, graph, key):
        problem = together.tasks.problem(together.batch(graph), key)
        _, grads = problem.losses_and_grads(params)
        return tx.update(grads, tx.init(params), params)

    assert flops(step, params, graph, KEY) <= 1.05 * alone
