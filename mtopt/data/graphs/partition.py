"""Graph partitioning into parts of about equal size, whose numbers serve as labels."""

import numpy as np
from jaxtyping import Int

from mtopt.data.graphs.graph import check_edges
from mtopt.errors import expect


def has_metis() -> bool:
    """Whether METIS is installed: ``pip install "mtopt[graphs]"``."""
    try:
        import pymetis  # noqa: F401
    except ImportError:
        return False
    return True


def partition(
    edges: Int[np.ndarray, "E 2"], nodes: int, *, parts: int = 10, metis: bool = True
) -> Int[np.ndarray, " N"]:
    """Which part each node is in: few edges between parts, parts of about one size.

    METIS does it; without it, spectral clustering of scikit-learn takes its place. That
    balances no sizes, so that its labels are another task: compare only with others
    made the same way.

    Args:
      edges: undirected, each once.
      nodes: N, at least ``parts``.
      parts: how many, 2 or more.
      metis: False for spectral clustering, whatever is installed.

    Raises:
      UserError: for edges of another shape, or a number of parts that the nodes do not
        allow.

    Example:
      >>> two = np.array([[0, 1], [1, 2], [0, 2], [3, 4], [4, 5], [3, 5], [2, 3]])
      >>> labels = partition(two, 6, parts=2, metis=False)
      >>> bool((labels[:3] == labels[0]).all()), bool((labels[3:] != labels[0]).all())
      (True, True)

    References:
      Karypis and Kumar, A Fast and High Quality Multilevel Scheme for Partitioning
      Irregular Graphs, SIAM Journal on Scientific Computing, 1998.
    """
    check_edges(edges, nodes)
    expect(2 <= parts <= nodes, "parts", parts, f"2 to the number of nodes, {nodes}")
    if metis and has_metis():
        import pymetis

        both = np.concatenate([edges, edges[:, ::-1]])
        both = both[np.argsort(both[:, 0], kind="stable")]
        starts = np.searchsorted(both[:, 0], np.arange(nodes + 1))
        graph = pymetis.CSRAdjacency(starts.tolist(), both[:, 1].tolist())
        cut = pymetis.part_graph(parts, adjacency=graph)
        return np.fromiter(cut[1], np.int64)
    return _spectral(edges, nodes, parts)


def _spectral(
    edges: Int[np.ndarray, "E 2"], nodes: int, parts: int
) -> Int[np.ndarray, " N"]:
    import scipy.sparse
    from sklearn.cluster import KMeans

    first, second = np.concatenate([edges, edges[:, ::-1]]).T
    near = scipy.sparse.csr_matrix((np.ones(len(first)), (first, second)), (nodes,) * 2)
    # A weak link between all nodes joins the components, or each would be a part.
    degree = np.asarray(near.sum(axis=1)).ravel() + 1
    scale = 1 / np.sqrt(degree)
    normalised = scipy.sparse.diags(scale) @ near @ scipy.sparse.diags(scale)
    weak = scipy.sparse.linalg.LinearOperator(
        (nodes, nodes),
        matvec=lambda v: normalised @ v.ravel() + scale * (scale @ v.ravel()) / nodes,
        dtype=float,
    )
    start = np.random.default_rng(0).normal(size=nodes)
    _, vectors = scipy.sparse.linalg.eigsh(
        weak, k=min(parts, nodes - 1), which="LA", v0=start
    )
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = vectors / np.maximum(lengths, 1e-12)
    means = KMeans(parts, n_init=10, random_state=0)  # pyright: ignore
    return means.fit_predict(rows).astype(np.int64)
