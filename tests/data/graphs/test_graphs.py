"""Graphs: features in their form, steps along edges, samples of static shape."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.data import graphs
from mtopt.data.graphs import Features, Graph, sparse
from mtopt.data.graphs.sparse import sparse_product
from mtopt.models.gcn import gcn
from tests.helpers.close import assert_close
from tests.helpers.graphs import adjacency, dense_of, permuted, random_graph

KEY = jax.random.key(3)
SAMPLERS = {
    "whole": graphs.whole,
    "saint": graphs.saint(8),
    "ego": graphs.ego(2, hops=1, nodes=9),
    "small ego": graphs.ego(3, hops=2, nodes=5),
    "released ego": graphs.ego(3, hops=1, nodes=5, form="released"),
}


def test_features_are_what_they_stand_for():
    graph, dense = random_graph()
    x = graph.features
    kernel = np.random.default_rng(1).normal(size=(9, 4))
    np.testing.assert_allclose(
        jax.jit(x.project)(jnp.asarray(kernel, jnp.float32)), dense @ kernel, atol=1e-5
    )
    norms = jax.jit(Features.squared_norms)
    np.testing.assert_allclose(norms(x), (dense**2).sum(axis=1), rtol=1e-5)
    stored = Features.dense(jnp.asarray(dense, jnp.float32))
    assert_close(dense_of(stored), dense, rtol=1e-6)
    np.testing.assert_allclose(norms(stored), (dense**2).sum(axis=1), rtol=1e-5)


def test_views_of_features_are_those_of_the_dense_ones():
    graph, dense = random_graph()
    rng = np.random.default_rng(1)
    keep, which = rng.random(9) < 0.5, rng.random(14) < 0.5
    row = rng.normal(size=9)
    kept = jax.jit(Features.keep_columns)(graph.features, jnp.asarray(keep))
    np.testing.assert_allclose(dense_of(kept), dense * keep, atol=1e-6)
    replaced = jax.jit(Features.replace_rows)(
        graph.features, jnp.asarray(which), jnp.asarray(row, jnp.float32)
    )
    expected = np.where(which[:, None], row, dense)
    np.testing.assert_allclose(dense_of(replaced), expected, atol=1e-6)
    lengths = (expected**2).sum(axis=1)
    found = jax.jit(Features.squared_norms)(replaced)
    np.testing.assert_allclose(found, lengths, rtol=1e-5)


@pytest.mark.parametrize("entries", [0, 10, sparse.BLOCK, 2 * sparse.BLOCK + 7])
def test_a_sparse_product_is_the_dense_one_in_one_block_or_several(entries):
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, 9, entries), rng.integers(0, 5, entries)
    values, x = rng.normal(size=entries), rng.normal(size=(5, 3))
    pull, dense = rng.normal(size=(7, 3)), np.zeros((9, 5))
    np.add.at(dense, (rows, columns), values)
    with jax.enable_x64(True):
        # Rows 7 and 8 are none of the seven asked for.
        at = jnp.asarray(rows), jnp.asarray(columns)

        def product(values, x):
            return sparse_product(*at, values, x, 7)

        found, back = jax.vjp(product, jnp.asarray(values), jnp.asarray(x))
        by_values, by_x = back(jnp.asarray(pull))
    np.testing.assert_allclose(found, dense[:7] @ x, atol=1e-9)
    np.testing.assert_allclose(by_x, dense[:7].T @ pull, atol=1e-9)
    outer = np.vstack([pull @ x.T, np.zeros((2, 5))])
    np.testing.assert_allclose(by_values, outer[rows, columns], atol=1e-9)


def test_a_step_along_the_edges_is_the_normalised_adjacency():
    graph, _ = random_graph()
    h = np.random.default_rng(2).normal(size=(14, 3))
    loops = adjacency(graph)
    scale = 1 / np.sqrt(loops.sum(axis=1))
    np.testing.assert_allclose(graphs.degrees(graph), loops.sum(axis=1))
    np.testing.assert_allclose(
        jax.jit(graphs.propagate)(graph, jnp.asarray(h, jnp.float32)),
        scale[:, None] * loops * scale @ h,
        atol=1e-6,
    )


def test_loops_and_second_copies_of_an_edge_are_left_out():
    x = Features.dense(jnp.eye(3))
    graph = Graph.of(x, np.array([[0, 1], [1, 0], [0, 1], [2, 2]]))
    assert graph.edges.tolist() == [[0, 1]]


def test_an_edge_to_nowhere_is_one_line():
    with pytest.raises(mtopt.UserError, match=r"nodes 0 to 5: expected .* \[0, 3\)"):
        Graph.of(Features.dense(jnp.eye(3)), np.array([[0, 5]]))
    with pytest.raises(mtopt.UserError, match="cannot pad 3 nodes and 1 edges"):
        Graph.of(Features.dense(jnp.eye(3)), np.array([[0, 1]])).padded(
            nodes=2, edges=9
        )


def test_an_induced_subgraph_has_its_nodes_and_the_edges_among_them():
    graph, dense = random_graph()
    nodes = np.array([7, 2, 11, 0, 0])
    real = jnp.asarray(np.arange(5) < 4)
    part = jax.jit(graphs.induced)(graph, jnp.asarray(nodes), real)
    expected = adjacency(graph)[np.ix_(nodes[:4], nodes[:4])]
    np.testing.assert_array_equal(adjacency(part)[:4, :4], expected)
    np.testing.assert_allclose(dense_of(part.features)[:4], dense[nodes[:4]], atol=1e-6)
    assert not dense_of(part.features)[4].any()
    assert part.node_mask.tolist() == [True] * 4 + [False]


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_have_static_shapes_and_real_nodes(name):
    graph, _ = random_graph(edges=12)
    part = jax.jit(SAMPLERS[name])(KEY, graph)
    assert len(part.node_mask) == {"saint": 8, "ego": 9, "small ego": 5}.get(name, 14)
    assert part.edges.shape == graph.edges.shape
    first, second = np.asarray(part.edges)[np.asarray(part.edge_mask)].T
    real = np.asarray(part.node_mask)
    assert real[first].all()
    assert real[second].all()


def test_ego_takes_the_nodes_within_reach_and_the_nearest_first():
    line = Graph.of(
        Features.dense(jnp.eye(20)), np.stack([np.arange(19), np.arange(1, 20)], 1)
    )
    sample = jax.jit(graphs.ego(1, hops=2, nodes=10))
    for seed in range(5):
        part = sample(jax.random.key(seed), line)
        found = dense_of(part.features)[np.asarray(part.node_mask)].argmax(axis=1)
        assert len(found) == min(found[0] + 2, 19) - max(found[0] - 2, 0) + 1
        assert (np.diff(np.abs(found - found[0])) >= 0).all()


def numbers_of(part):
    """Which nodes of a graph of one-hot features are real in a part."""
    return dense_of(part.features)[np.asarray(part.node_mask)].argmax(axis=1)


def test_the_released_ego_takes_all_within_reach_and_small_graphs_whole():
    rng = np.random.default_rng(1)
    graph = Graph.of(Features.dense(jnp.eye(40)), rng.integers(0, 40, (34, 2)))
    dense = adjacency(graph)

    @jax.jit
    def samples(key):
        def of(hops, nodes):
            return graphs.ego(4, hops=hops, nodes=nodes, form="released")(key, graph)

        return of(0, 10), of(2, 10), of(2, 40)

    for seed in range(3):
        start, reached, whole = samples(jax.random.key(seed))
        seeds = numbers_of(start)
        assert len(seeds) == 4
        ball = np.flatnonzero(dense[seeds].sum(0) @ dense)
        assert len(ball) > 10  # more than ``nodes``, which caps nothing here
        np.testing.assert_array_equal(numbers_of(reached), ball)
        found = adjacency(reached)[np.ix_(ball, ball)]
        np.testing.assert_array_equal(found, dense[np.ix_(ball, ball)])
        assert len(numbers_of(whole)) == 40


def test_an_ego_of_no_more_nodes_than_seeds_says_that_it_takes_these_alone():
    graph, _ = random_graph()

    def sample(*arguments, **options):
        return jax.eval_shape(graphs.ego(*arguments, **options), KEY, graph)

    with pytest.warns(UserWarning, match=r"none but its seeds.* seeds=1, or hops=0"):
        sample(8, hops=2, nodes=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample(8, hops=0, nodes=8)
        sample(8, hops=2, nodes=9)
        sample(20, hops=2, nodes=20)
        sample(8, hops=2, nodes=8, form="released")


def test_saint_prefers_nodes_of_high_degree():
    star = Graph.of(
        Features.dense(jnp.eye(30)), np.stack([np.zeros(29, int), np.arange(1, 30)], 1)
    )
    sample = graphs.saint(3)
    draw = jax.jit(jax.vmap(lambda key: sample(key, star).features.left[:, 0].sum()))
    share = float(draw(jax.random.split(KEY, 400)).mean())
    assert share > 0.5  # of 3 in 30 at random the centre is one in 10


def test_drop_edges_and_columns_have_their_rates():
    graph, _ = random_graph(nodes=200, edges=4000)
    kept = graphs.drop_edges(KEY, graph, 0.35).edge_mask.mean()
    np.testing.assert_allclose(kept, 0.65, atol=0.03)
    np.testing.assert_allclose(
        graphs.mask_columns(KEY, 4000, 0.2).mean(), 0.8, atol=0.03
    )


def _same_on_real(graph, padded):
    edges, nodes = len(graph.edge_mask), len(graph.node_mask)
    np.testing.assert_array_equal(padded.edge_mask[:edges], graph.edge_mask)
    assert not padded.edge_mask[edges:].any()
    np.testing.assert_allclose(
        dense_of(padded.features)[:nodes], dense_of(graph.features), atol=1e-6
    )
    np.testing.assert_array_equal(padded.node_mask[:nodes], graph.node_mask)
    assert not padded.node_mask[nodes:].any()


@pytest.mark.parametrize(
    "name",
    [
        "ego",
        "shuffle",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("saint", "small ego", "drop_edges")
        ),
    ],
)
def test_padding_leaves_random_views_as_they_were(name):
    graph, _ = random_graph()
    views = {
        **SAMPLERS,
        "shuffle": graphs.shuffle,
        "drop_edges": lambda key, graph: graphs.drop_edges(key, graph, 0.5),
    }
    padded = graph.padded(nodes=23, edges=len(graph.edge_mask) + 6)
    view = jax.jit(views[name])
    _same_on_real(view(KEY, graph), view(KEY, padded))


@pytest.mark.parametrize(
    ("normalization", "activation"),
    [
        ("batch", "prelu"),
        ("layer", "relu"),
        pytest.param("batch", "relu", marks=pytest.mark.slow),
        pytest.param("layer", "prelu", marks=pytest.mark.slow),
    ],
)
def test_the_encoder_follows_a_permutation_and_does_not_see_padding(
    normalization, activation
):
    graph, _ = random_graph()
    encoder = gcn(9, hidden=(6, 4), normalization=normalization, activation=activation)
    params = jax.jit(encoder.init)(jax.random.key(0))
    apply = jax.jit(encoder.apply)
    h = np.asarray(apply(params, graph))
    order = jax.random.permutation(jax.random.key(4), 14)
    moved = apply(params, permuted(graph, order))
    np.testing.assert_allclose(moved, h[np.asarray(order)], atol=1e-5)
    padded = apply(params, graph.padded(nodes=20, edges=50))
    np.testing.assert_allclose(padded[:14], h, atol=1e-6)
    assert not padded[14:].any()


def test_the_encoder_is_its_equation():
    graph, dense = random_graph()
    encoder = gcn(9, hidden=(5, 3))
    params = encoder.init(jax.random.key(0))
    loops = adjacency(graph)
    scale = 1 / np.sqrt(loops.sum(axis=1))
    normalised = scale[:, None] * loops * scale
    h = dense
    for layer in params["layers"].values():
        kernel, bias, slope = (
            np.asarray(layer[name], float) for name in ("kernel", "bias", "slope")
        )
        h = normalised @ h @ kernel + bias
        h = (h - h.mean(axis=0)) / np.sqrt(h.var(axis=0) + 1e-5)
        h = np.where(h > 0, h, slope * h)
    found = jax.jit(encoder.apply)(params, graph)
    np.testing.assert_allclose(found, h, atol=1e-4)


def test_encoder_options_are_checked():
    with pytest.raises(mtopt.UserError, match="normalization is 'bach'"):
        gcn(3, normalization="bach")
    with pytest.raises(mtopt.UserError, match="hidden is"):
        gcn(3, hidden=())


def test_the_gradient_reaches_a_token_in_masked_rows():
    graph, _ = random_graph()
    encoder = gcn(9, hidden=(4,))
    params = encoder.init(jax.random.key(0))

    def loss(token):
        features = graph.features.replace_rows(jnp.arange(14) < 3, token)
        view = dataclasses.replace(graph, features=features)
        return (encoder.apply(params, view) ** 3).sum()

    assert (jnp.abs(jax.jit(jax.grad(loss))(jnp.zeros(9))) > 0).all()
