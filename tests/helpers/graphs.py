"""Small graphs that several test files share."""

import jax
import jax.numpy as jnp
import numpy as np

from mtopt.data.graphs import Features, Graph

WORDS = np.array([[1, 0, 3], [0, 2, 0], [0, 0, 0], [1, 0, 0]], float)
"""The features that :func:`save_graph` writes."""


def random_graph(nodes=14, edges=30, columns=9, seed=0, shift=True):
    """A random graph whose words are standardised, and the same features dense."""
    rng = np.random.default_rng(seed)
    words = (rng.random((nodes, columns)) < 0.4) * rng.uniform(0.5, 2, (nodes, columns))
    rows, found = np.nonzero(words)
    moved = rng.normal(size=columns) if shift else None
    features = Features.sparse(rows, found, words[rows, found], (nodes, columns), moved)
    dense = words - (moved[None] if shift else 0)
    return Graph.of(features, rng.integers(0, nodes, (edges, 2))), dense


@jax.jit
def _dense(features):
    return features.project(jnp.eye(features.shape[1], dtype=jnp.float32))


def dense_of(features):
    return np.asarray(_dense(features))


def adjacency(graph):
    """A + I in float64, of the real edges."""
    count = len(graph.node_mask)
    found = np.eye(count)
    for first, second in np.asarray(graph.edges)[np.asarray(graph.edge_mask)]:
        found[first, second] = found[second, first] = 1
    return found


def permuted(graph, order):
    """The same graph, with node ``order[i]`` in place i."""
    place = jnp.argsort(order)
    features = graph.features.take(order, graph.node_mask, place)
    return Graph(features, place[graph.edges], graph.edge_mask, graph.node_mask)


def save_graph(path, **changed):
    arrays = {
        "edges": np.array([[0, 1], [2, 1], [1, 2], [3, 3]]),
        "x_indptr": np.array([0, 2, 3, 3, 4]),
        "x_indices": np.array([0, 2, 1, 0], np.int16),
        "x_data": np.array([1.0, 3.0, 2.0, 1.0], np.float32),
        "x_shape": np.array([4, 3]),
        "y": np.array([0, 1, -1, 1], np.int8),
        **changed,
    }
    np.savez(
        path, **{name: value for name, value in arrays.items() if value is not None}
    )
    return path
