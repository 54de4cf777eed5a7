"""Graphs with labels: files, planted blocks, split edges; what embeddings are worth."""

import jax
import numpy as np
import pytest

import mtopt
from mtopt.data.graphs import partition as cutting
from mtopt.data.graphs.nodes import (
    SCALES,
    link_split,
    scaled,
    stochastic_blocks,
)
from mtopt.data.graphs.nodes_npz import graph_npz
from mtopt.data.graphs.partition import partition
from mtopt.metrics.probes import (
    auc,
    clustering_nmi,
    hits,
    link_prediction,
    probe_accuracy,
)
from tests.helpers.close import assert_close
from tests.helpers.graphs import WORDS, dense_of, save_graph


def test_a_file_is_read_as_documented(tmp_path):
    data = graph_npz(save_graph(tmp_path / "mine.npz"))
    assert (data.name, data.classes) == ("mine", 2)
    assert data.edges.tolist() == [[0, 1], [1, 2]]
    np.testing.assert_allclose(dense_of(data.raw), WORDS)
    scaled = dense_of(data.features)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-5)


def test_features_without_values_are_ones_and_rows_can_be_scaled(tmp_path):
    path = save_graph(tmp_path / "mine.npz", x_data=None)
    scaled = dense_of(graph_npz(path, scale="rows").features)
    expected = (WORDS > 0) / np.maximum((WORDS > 0).sum(axis=1, keepdims=True), 1)
    assert_close(scaled, expected, rtol=1e-6)


NOISE = np.random.default_rng(0).normal(size=200)
COLUMNS = {
    "small": 5e-7 * NOISE,
    "tiny": 1e-20 * NOISE,
    "large": 1e8 + NOISE,
    "seldom": np.where(np.arange(200) % 50 == 0, 1e4 + NOISE, 0),
    "all but one": np.where(np.arange(200) == 3, 0, 1e8 + NOISE),
    "integers": 1_700_000_000 + np.arange(200),
}
"""Columns at any scale: their mean, divided by their deviation, is up to 1e8."""


def stored(features):
    """The features as their parts say, in float64."""
    rows, columns, values, left, right = (
        np.asarray(leaf) for leaf in jax.tree.leaves(features)
    )
    found = left.astype(np.float64) @ right
    np.add.at(found, (rows, columns), values)
    return found


def test_columns_of_any_scale_are_standardised():
    table = np.stack([*COLUMNS.values()], axis=1)
    rows, columns = np.nonzero(table)
    found = scaled(rows, columns, table[rows, columns], table.shape, "standard")
    exact = (table - table.mean(axis=0)) / table.std(axis=0)
    # A column that only some nodes have an entry of keeps a shift, in float32.
    assert_close(stored(found), exact, rtol=1e-6)
    assert_close(found.squared_norms(), (exact**2).sum(axis=1), rtol=1e-6)


def test_constant_columns_are_zero_by_the_rounding_of_their_type():
    at = np.arange(9), np.zeros(9, int)
    for dtype in (np.float32, np.float64):
        column = np.full(9, 0.1, dtype)
        column[::2] = np.nextafter(dtype(0.1), dtype(1))
        assert not stored(scaled(*at, column, (9, 1), "standard")).any(), dtype


def test_entries_of_one_place_are_added_up():
    twice = np.array([0, 0, 1, 2]), np.array([0, 0, 0, 1]), np.array([1.0, 1.0, 1.0, 5])
    once = np.array([0, 1, 2]), np.array([0, 0, 1]), np.array([2.0, 1.0, 5.0])
    for scale in SCALES:
        found, exact = (scaled(*at, (4, 2), scale) for at in (twice, once))
        jax.tree.map(np.testing.assert_array_equal, found, exact)
    np.testing.assert_allclose(found.squared_norms(), [4, 1, 25, 0], rtol=1e-6)


def test_rows_of_small_values_are_divided_by_their_sum():
    at = np.array([0, 0]), np.array([0, 1]), np.array([1e-20, 3e-20])
    found = stored(scaled(*at, (2, 2), "rows"))
    np.testing.assert_allclose(found, [[0.25, 0.75], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "columns", "classes"),
    [
        ("cora", 2708, 5278, 1433, 7),
        ("citeseer", 3327, 4552, 3703, 6),
        ("cornell", 183, None, 1703, 5),
        ("texas", 183, None, 1703, 5),
        ("wisconsin", 251, None, 1703, 5),
    ],
)
def test_the_published_graphs(data_dir, name, nodes, edges, columns, classes):
    data = graph_npz(data_dir / f"graph_{name}" / "data.npz")
    assert data.name == name
    assert data.features.shape == (nodes, columns)
    assert data.classes == classes
    if edges:
        assert len(data.edges) == edges


def test_planted_blocks_have_more_edges_and_words_within():
    data = stochastic_blocks(nodes=200, classes=4, words=40)
    first, second = data.edges.T
    same = (data.labels[first] == data.labels[second]).mean()
    assert same > 0.7
    again = stochastic_blocks(nodes=200, classes=4, words=40)
    np.testing.assert_array_equal(data.edges, again.edges)
    with pytest.raises(mtopt.UserError, match=r"within is 2.*: expected a prob"):
        stochastic_blocks(within=2.0)


def test_a_link_split_divides_the_edges_and_finds_as_many_others():
    edges = stochastic_blocks(nodes=100).edges
    split = link_split(edges, 100)
    parts = (split.train, split.valid, split.test)
    true = np.concatenate([part[: len(part) // 2] for part in parts])
    other = np.concatenate([part[len(part) // 2 :] for part in parts])
    assert sorted(map(tuple, true.tolist())) == sorted(map(tuple, edges.tolist()))
    pairs = set(map(tuple, other.tolist()))
    assert len(pairs) == len(edges)
    assert not pairs & set(map(tuple, np.sort(edges, axis=1).tolist()))
    assert (other[:, 0] < other[:, 1]).all()
    assert abs(len(split.test) - 0.4 * len(edges)) <= 2
    with pytest.raises(mtopt.UserError, match="twice as many pairs without"):
        link_split(np.array([[0, 1], [1, 2], [0, 2]]), 3)


def two_cliques(size=12):
    pairs = np.stack(np.triu_indices(size, 1), axis=1)
    return np.concatenate([pairs, pairs + size, [[0, size]]])


@pytest.mark.parametrize("metis", [True, False])
def test_a_partition_cuts_where_few_edges_are(metis):
    if metis and not cutting.has_metis():
        pytest.skip("pymetis is not installed")
    labels = partition(two_cliques(), 24, parts=2, metis=metis)
    assert len(set(labels[:12])) == len(set(labels[12:])) == 1
    assert labels[0] != labels[12]


def test_spectral_clustering_takes_components_and_lonely_nodes():
    labels = partition(two_cliques()[:-1], 30, parts=2, metis=False)
    assert labels[0] != labels[12]
    assert labels.shape == (30,)


def test_embeddings_that_hold_the_classes_score_1_and_noise_scores_chance():
    labels = np.repeat([0, 1, 2, -1], 60)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(240, 5))
    good = np.eye(4)[labels][:, :3] + 0.01 * noise[:, :3]
    probe = {"splits": 2, "exponents": (0, 6), "folds": 2}
    assert probe_accuracy(good, labels, **probe) == 1
    assert probe_accuracy(noise, labels, **probe) < 0.5
    assert clustering_nmi(good, labels, repeats=1) > 0.99
    assert clustering_nmi(noise, labels, repeats=1) < 0.1
    # Classes need no numbers in a row: three, of which one is called 7.
    sparse = np.where(labels == 2, 7, labels)
    assert clustering_nmi(good, sparse, repeats=1) > 0.99


def test_links_are_predicted_from_what_the_nodes_have_in_common():
    data = stochastic_blocks(nodes=120, within=0.2, across=0.002)
    split = link_split(data.edges, 120)
    area, top = link_prediction(np.eye(4)[data.labels], split)
    assert area > 0.8
    assert 0 <= top <= 1
    noise, _ = link_prediction(np.random.default_rng(0).normal(size=(120, 4)), split)
    assert 0.3 < noise < 0.7


def test_auc_and_hits_count_the_edges_above_the_others():
    scores = np.array([4.0, 1.0, 3.0, 2.0])
    assert auc(scores, 2) == 0.5
    assert auc(np.array([1.0, 1.0]), 1) == 0.5
    assert hits(scores, 2, k=2) == 0.5
    assert hits(np.array([4.0, 3.5, 3.0, 2.0]), 2, k=1) == 1


def test_embeddings_that_diverged_are_one_line():
    with pytest.raises(mtopt.UserError, match="hold NaN or infinity"):
        probe_accuracy(np.full((4, 2), np.nan), np.array([0, 0, 1, 1]))
