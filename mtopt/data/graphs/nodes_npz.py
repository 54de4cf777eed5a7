"""A graph of your own from an ``.npz`` file, with every array checked."""

import os
import pathlib

import numpy as np
from jaxtyping import Int

from mtopt.data.graphs.graph import Graph
from mtopt.data.graphs.nodes import SCALES, NodeData, scaled
from mtopt.data.tables.npz_file import Archive
from mtopt.errors import UserError, expect_one_of

SPARSE = ("x_indptr", "x_indices", "x_shape")

Entries = tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]
"""Rows, columns and values of the entries of features, and N and F."""


def graph_npz(path: str | os.PathLike[str], *, scale: str = "standard") -> NodeData:
    """A graph of your own, or a published one, from a ``.npz`` file.

    ================= ========== =====================================================
    array             shape      what
    ================= ========== =====================================================
    ``edges``         ``[E, 2]`` the ends of every edge, in [0, N); direction, loops
                                 and second copies are left out. ``[2, E]`` is read
                                 as well, but for two edges, where it can't be told
    ``x``             ``[N, F]`` features, finite numbers, ...
    ``x_indptr``      ``[N+1]``  ... or the same in compressed rows: those of node i
    ``x_indices``     ``[M]``    stand at ``x_indptr[i]:x_indptr[i+1]`` of
    ``x_data``        ``[M]``    ``x_indices`` (the columns) and ``x_data`` (the
    ``x_shape``       ``[2]``    values, 1 if not given), and N and F
    ``y``             ``[N]``    classes from 0; -1 (or NaN) for a node without one.
                                 Without the array no node has one: pretexts need none
    ================= ========== =====================================================

    What other arrays the file has, unread, stands in the result's ``reading``.

    Args:
      path: the file.
      scale: ``"standard"``: every column with mean 0 and variance 1 over the nodes, as
        ParetoGNN; ``"rows"``: every node's values divided by their sum, as Kipf and
        Welling; ``"none"``.

    Raises:
      UserError: for another scale, a file that can't be read or lacks an array, or
        arrays that are no graph.

    Example:
      >>> import tempfile
      >>> path = pathlib.Path(tempfile.mkdtemp()) / "path.npz"
      >>> np.savez(path, x=np.eye(3), edges=np.array([[0, 1, 2], [1, 2, 0]]))
      >>> data = graph_npz(path)
      >>> data.edges.tolist(), data.labels.tolist()
      ([[0, 1], [0, 2], [1, 2]], [-1, -1, -1])
    """
    expect_one_of("scale", scale, SCALES)
    path = pathlib.Path(path)
    archive = Archive(path)
    if "edges" not in archive or not ("x" in archive or "x_indptr" in archive):
        raise UserError(
            f"{archive}: expected edges, and features as x or as "
            f"{', '.join(SPARSE)}; see mtopt.data.graphs.nodes_npz"
        )
    rows, columns, values, shape = _features(archive)
    if scale == "rows" and values.min(initial=0) < 0:
        raise UserError(
            f"{path}: features go down to {values.min():g}: scale='rows' divides by "
            "their sum and expects none below 0; use scale='standard'"
        )
    features = scaled(rows, columns, values, shape, scale)
    raw = scaled(rows, columns, values, shape, "none")
    edges = _edges(archive["edges"], path)
    try:
        edges = np.asarray(Graph.of(features, edges).edges)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    labels = _labels(archive, shape[0])
    name = path.parent.name if path.stem == "data" else path.stem
    reading = {
        "file": str(path),
        "inputs": {"x": f"{shape[1]} columns, scale={scale!r}"},
        "not read": archive.unread,
    }
    name = name.removeprefix("graph_")
    return NodeData(name, features, raw, edges, labels, reading)


def _edges(edges: np.ndarray, path: pathlib.Path) -> Int[np.ndarray, "E 2"]:
    """Edges a row each, whichever way the file has them."""
    edges = _whole(edges, f"{path}: edges", "numbers of nodes")
    if edges.shape == (2, 2) and _pairs(edges) != _pairs(edges.T):
        raise UserError(
            f"{path}: edges has shape (2, 2), and an edge may be a row or a column: "
            "expected another number of edges; store each twice"
        )
    if edges.ndim == 2 and edges.shape[1] != 2 and edges.shape[0] == 2:
        edges = edges.T
    if edges.ndim != 2 or edges.shape[1] != 2:
        raise UserError(
            f"{path}: edges has shape {edges.shape}: expected (E, 2) or (2, E)"
        )
    return edges


def _pairs(edges: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(pair) for pair in np.sort(edges, axis=1).tolist()}


def _features(archive: Archive) -> Entries:
    """The features' entries, dense or sparse in the file; a place may appear twice."""
    path = archive.path
    if "x" in archive:
        x = archive["x"]
        _check_numbers(x, "x", path)
        if x.ndim != 2 or 0 in x.shape:
            raise UserError(
                f"{path}: x has shape {x.shape}: expected (N, F), a row for each node"
            )
        rows, columns = np.nonzero(x)
        return rows, columns, x[rows, columns], x.shape
    if missing := [key for key in SPARSE if key not in archive]:
        raise UserError(
            f"{archive} and no {', no '.join(missing)}: expected features as x, or as "
            f"all of {', '.join(SPARSE)}"
        )
    indptr, indices, shape = (
        _whole(archive[key], f"{path}: {key}", "whole numbers") for key in SPARSE
    )
    if shape.shape != (2,) or (shape < 1).any():
        raise UserError(
            f"{path}: x_shape is {shape.tolist()}: expected N and F, of at least 1"
        )
    nodes, width = (int(size) for size in shape)
    values = archive["x_data"] if "x_data" in archive else np.ones(indices.shape)
    _check_numbers(values, "x_data", path)
    starts = indptr.shape == (nodes + 1,) and indptr[0] == 0
    rises = starts and (np.diff(indptr) >= 0).all()
    if not rises or indices.shape != (indptr[-1],) or values.shape != indices.shape:
        raise UserError(
            f"{path}: x_indptr {indptr.shape} does not fit {nodes} nodes, x_indices "
            f"{indices.shape} and x_data {values.shape}: expected ({nodes + 1},) "
            "numbers that rise from 0 to the length of both"
        )
    if indices.size and not 0 <= indices.min() <= indices.max() < width:
        raise UserError(
            f"{path}: x_indices go from {indices.min()} to {indices.max()}: expected "
            f"columns in [0, {width}), as x_shape has it"
        )
    rows = np.repeat(np.arange(nodes), np.diff(indptr))
    return rows, indices, values, (nodes, width)


def _check_numbers(array: np.ndarray, key: str, path: pathlib.Path) -> None:
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: {key} is of type {array.dtype}: expected numbers")
    if wrong := int((~np.isfinite(array)).sum()):
        raise UserError(
            f"{path}: {key} has {wrong} entries that are NaN or infinite: expected "
            "finite numbers; fill them, with the column's mean for example"
        )


def _labels(archive: Archive, nodes: int) -> Int[np.ndarray, " N"]:
    """The class of every node, -1 where it has none."""
    if "y" not in archive:
        return np.full(nodes, -1)
    y, path = archive["y"], archive.path
    if y.dtype.kind not in "biuf":
        raise UserError(
            f"{path}: y is of type {y.dtype}: expected classes 0, 1, 2 ..., and -1 for "
            "a node without one; numpy.unique(y, return_inverse=True)[1] numbers names"
        )
    if y.shape not in ((nodes,), (nodes, 1)):
        raise UserError(
            f"{path}: y has shape {y.shape}: expected ({nodes},), a class for each "
            "node; numpy.argmax(y, axis=1) numbers one-hot rows"
        )
    y = y.reshape(nodes)
    if y.dtype.kind == "f":
        y = np.where(np.isnan(y), -1, y)
    labels = _whole(y, f"{path}: y", "classes 0, 1, 2 ...")
    if labels.min() < -1:
        raise UserError(
            f"{path}: y goes down to {labels.min()}: expected classes 0, 1, 2 ..., and "
            "-1 for a node without one"
        )
    return labels


def _whole(array: np.ndarray, what: str, expected: str) -> Int[np.ndarray, "..."]:
    """Whole numbers as integers, whatever type they are stored in."""
    if array.dtype.kind == "f":
        fits = np.isfinite(array) & (array == np.floor(array)) & (abs(array) < 2**53)
    else:
        fits = np.full(array.shape, array.dtype.kind in "biu")
    if not fits.all():
        raise UserError(
            f"{what} is {array.dtype} and holds {array[~fits].ravel()[0]!s:.20}: "
            f"expected {expected}"
        )
    return array.astype(np.int64)
