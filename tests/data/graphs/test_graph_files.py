"""Graphs of one's own: which files are read, and what is refused in one line."""

import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.data.graphs import Features, Graph
from mtopt.data.graphs.description import describe_graph, graph_summary
from mtopt.data.graphs.graph import check_edges
from mtopt.data.graphs.nodes import link_split
from mtopt.data.graphs.nodes_npz import graph_npz
from mtopt.data.graphs.partition import partition
from tests.helpers.graphs import WORDS, dense_of, save_graph

EDGES = np.array([[0, 1], [2, 1], [1, 2], [3, 3]])
NO_SPARSE = dict.fromkeys(("x_indptr", "x_indices", "x_data", "x_shape"))


def read(tmp_path, **changed):
    return graph_npz(save_graph(tmp_path / "mine.npz", **changed))


@pytest.mark.parametrize(
    "edges",
    [EDGES.T, EDGES.astype(float), EDGES.astype(np.uint8), EDGES.T.astype(np.float32)],
    ids=["two rows", "floats", "bytes", "two rows of floats"],
)
def test_edges_are_read_whichever_way_they_lie(tmp_path, edges):
    """Two rows of three and more edges would be two edges if they were not turned."""
    assert read(tmp_path, edges=edges).edges.tolist() == [[0, 1], [1, 2]]


def test_three_edges_in_two_rows_are_three(tmp_path):
    found = read(tmp_path, edges=np.array([[0, 1, 2], [1, 2, 3]]))
    assert found.edges.tolist() == [[0, 1], [1, 2], [2, 3]]


def test_two_edges_are_read_where_both_ways_say_the_same(tmp_path):
    assert read(tmp_path, edges=np.array([[0, 1], [1, 2]])).edges.tolist() == [
        [0, 1],
        [1, 2],
    ]
    with pytest.raises(mtopt.UserError, match="an edge may be a row or a column"):
        read(tmp_path, edges=np.array([[0, 1], [2, 3]]))
    twice = np.repeat([[0, 1], [2, 3]], 2, axis=0)
    assert read(tmp_path, edges=twice).edges.tolist() == [[0, 1], [2, 3]]


def test_a_graph_may_have_no_edges(tmp_path):
    for edges in (np.zeros((0, 2), int), np.zeros((2, 0), int)):
        assert read(tmp_path, edges=edges).edges.shape == (0, 2)


def test_dense_features_are_the_same_features(tmp_path):
    sparse = read(tmp_path)
    dense = read(tmp_path, x=WORDS, **NO_SPARSE)
    np.testing.assert_array_equal(dense_of(dense.raw), WORDS)
    np.testing.assert_array_equal(dense_of(dense.features), dense_of(sparse.features))


def test_a_place_that_stands_twice_is_added_up(tmp_path):
    twice = {
        "x_indptr": np.array([0, 3, 4, 4, 5]),
        "x_indices": np.array([2, 0, 2, 1, 0]),
        "x_data": np.array([1.0, 1.0, 2.0, 2.0, 1.0]),
    }
    found = read(tmp_path, **twice)
    np.testing.assert_array_equal(dense_of(found.raw), WORDS)
    np.testing.assert_allclose(dense_of(found.features).std(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (None, [-1, -1, -1, -1]),
        (np.array([0.0, np.nan, 2, 1]), [0, -1, 2, 1]),
        (np.array([[0], [1], [-1], [1]]), [0, 1, -1, 1]),
        (np.array([True, False, True, True]), [1, 0, 1, 1]),
    ],
    ids=["none", "floats", "a column", "bools"],
)
def test_labels_as_they_come(tmp_path, y, expected):
    found = read(tmp_path, y=y)
    assert found.labels.tolist() == expected
    assert found.labels.dtype == np.int64
    assert found.classes == max(expected) + 1


REFUSED = {
    "no edges": ({"edges": None}, r"mine.npz has x_data, .*: expected edges, and feat"),
    "no features": (NO_SPARSE, "has edges, y: expected edges, and features as x"),
    "half of them": ({"x_shape": None}, "has .* and no x_shape: expected features"),
    "counted from one": (
        {"edges": EDGES + 1},
        r"edges join nodes 1 to 4: expected nodes in \[0, 4\), counted from 0",
    ),
    "three ends": ({"edges": np.zeros((4, 3), int)}, r"edges has shape \(4, 3\)"),
    "a list of nodes": ({"edges": np.arange(4)}, r"shape \(4,\): expected \(E, 2\)"),
    "half a node": ({"edges": EDGES + 0.5}, "edges is float64 and holds 0.5: expected"),
    "a node that is NaN": ({"edges": EDGES * np.nan}, "edges is float64 and holds nan"),
    "names of nodes": ({"edges": EDGES.astype(str)}, "edges is <U21 and holds 0"),
    "a NaN feature": (
        {"x_data": np.array([1.0, np.nan, 2, 1])},
        "x_data has 1 entries that are NaN or infinite: expected finite",
    ),
    "a dense NaN": (
        NO_SPARSE | {"x": np.where(WORDS == 3, np.inf, WORDS)},
        "x has 1 entries that are NaN or infinite",
    ),
    "dense words": (NO_SPARSE | {"x": WORDS.astype(str)}, "x is of type <U"),
    "a row of features": (NO_SPARSE | {"x": WORDS[0]}, r"x has shape \(3,\): expected"),
    "columns beyond F": (
        {"x_shape": np.array([4, 2])},
        r"x_indices go from 0 to 2: .*2",
    ),
    "nodes beyond N": (
        {"x_shape": np.array([5, 3])},
        "x_indptr .* does not fit 5 nodes",
    ),
    "values beyond M": ({"x_data": np.ones(3)}, r"x_data \(3,\): expected \(5,\)"),
    "falling starts": ({"x_indptr": np.array([0, 3, 2, 3, 4])}, "numbers that rise"),
    "three sizes": ({"x_shape": np.array([4, 3, 1])}, r"x_shape is \[4, 3, 1\]"),
    "names of classes": (
        {"y": np.array(list("abcd"))},
        r"y is of type <U1: expected classes .*return_inverse=True",
    ),
    "one-hot classes": ({"y": np.eye(4)}, r"y has shape \(4, 4\): .*argmax"),
    "half a class": ({"y": np.array([0, 0.5, 1, 1])}, "y is float64 and holds 0.5"),
    "other sentinels": ({"y": np.array([0, -100, 1, 1])}, "y goes down to -100"),
    "too few classes": (
        {"y": np.zeros(3, int)},
        r"y has shape \(3,\): expected \(4,\)",
    ),
    "objects": ({"y": np.array([None] * 4)}, "cannot read array y of"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_graph_is_one_clear_line(tmp_path, what):
    changed, message = REFUSED[what]
    with pytest.raises(mtopt.UserError, match=message) as error:
        read(tmp_path, **changed)
    assert "\n" not in str(error.value)
    assert str(tmp_path / "mine.npz") in str(error.value)


def test_a_file_that_is_none_and_a_scale_that_is_none(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(mtopt.UserError, match=r"cannot read the file of .*text.npz \("):
        graph_npz(tmp_path / "text.npz")
    with pytest.raises(mtopt.UserError, match="scale is 'l2'"):
        graph_npz(tmp_path / "any.npz", scale="l2")
    # A sum near 0 would blow a node's features up.
    path = save_graph(tmp_path / "mine.npz", x_data=np.array([1.0, -1, 2, 1]))
    with pytest.raises(mtopt.UserError, match="features go down to -1: scale='rows'"):
        graph_npz(path, scale="rows")


@pytest.mark.parametrize(
    "use",
    [
        lambda edges: Graph.of(Features.dense(jnp.eye(4)), edges),
        lambda edges: link_split(edges, 4),
        lambda edges: partition(edges, 4, parts=2),
    ],
    ids=["Graph.of", "link_split", "partition"],
)
@pytest.mark.parametrize("edges", [EDGES[:3].T, EDGES[:, 0]], ids=["turned", "flat"])
def test_arrays_that_are_no_edges_are_refused_without_a_file(use, edges):
    # Where hints are checked, they refuse these shapes first.
    with pytest.raises((mtopt.UserError, TypeError), match="edges"):
        use(edges)
    with pytest.raises(mtopt.UserError, match=r"expected integers \(E, 2\)"):
        check_edges(edges, 4)


def test_a_graph_is_described_with_what_was_not_read(tmp_path):
    found = describe_graph(read(tmp_path, x=WORDS, split=np.zeros(4)))
    assert (found["nodes"], found["edges"], found["missing"]) == (4, 2, 1)
    assert found["classes"] == {0: 1, 1: 2}
    assert found["reading"]["not read"] == (
        "split",
        "x_data",
        "x_indices",
        "x_indptr",
        "x_shape",
    )
    printed = graph_summary(found)
    assert "2 classes, 1 nodes have none" in printed
    assert "not read split, x_data" in printed
    other = describe_graph(read(tmp_path, x=WORDS, y=np.array([0, 1, 1, 1])))
    assert other["fingerprint"] != found["fingerprint"]
    assert "none: pretexts need" in graph_summary(
        describe_graph(read(tmp_path, y=None))
    )
