"""What a graph was understood to be: for a file beside the results, and in words."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtopt.data.description import titled
from mtopt.data.fingerprint import fingerprint_of
from mtopt.data.graphs.nodes import NodeData


def describe_graph(data: NodeData) -> dict[str, Any]:
    """Nodes, edges, features and classes of a graph, as plain values for JSON.

    Args:
      data: the graph.

    Returns:
      ``name``, ``fingerprint`` (of edges, labels and scaled features), ``nodes``,
      ``edges``, ``features`` (columns, and entries that are stored), ``classes`` (how
      many nodes each has), ``missing`` (nodes without one) and ``reading``.

    Example:
      >>> from mtopt.data.graphs.nodes import stochastic_blocks
      >>> found = describe_graph(stochastic_blocks(nodes=6, classes=2, words=4))
      >>> found["nodes"], found["classes"], found["missing"]
      (6, {0: 3, 1: 3}, 0)
    """
    classes, counts = np.unique(data.labels[data.labels >= 0], return_counts=True)
    return {
        "name": data.name,
        "fingerprint": fingerprint_of((data.features, data.edges, data.labels)),
        "nodes": len(data.labels),
        "edges": len(data.edges),
        "features": {
            "columns": data.features.shape[1],
            "entries": len(data.features.values),
        },
        "classes": dict(zip(classes.tolist(), counts.tolist(), strict=True)),
        "missing": int((data.labels < 0).sum()),
        "reading": dict(data.reading),
    }


def graph_summary(described: Mapping[str, Any]) -> str:
    """The lines that a run prints of its graph.

    Args:
      described: of :func:`describe_graph`.

    Example:
      >>> from mtopt.data.graphs.nodes import stochastic_blocks
      >>> blocks = stochastic_blocks(nodes=6, classes=2, words=4, within=1., across=0.)
      >>> print(graph_summary(describe_graph(blocks)).splitlines()[0])
      data     stochastic_blocks: a graph of 6 nodes and 6 undirected edges
    """
    features, reading = described["features"], described["reading"]
    labels = (
        f"{len(described['classes'])} classes, {described['missing']} nodes have none"
    )
    lines = [
        (
            "data",
            f"{described['name']}: a graph of {described['nodes']} nodes and "
            f"{described['edges']} undirected edges",
        ),
        ("inputs", f"{features['columns']} columns, {features['entries']} entries"),
        (
            "labels",
            labels if described["classes"] else "none: pretexts need no classes",
        ),
    ]
    return titled(lines, reading)
