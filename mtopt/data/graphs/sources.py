"""Where graphs with labelled nodes come from."""

from collections.abc import Callable

from mtopt.data.graphs.nodes import NodeData, stochastic_blocks
from mtopt.data.graphs.nodes_npz import graph_npz

GRAPHS: dict[str, Callable[..., NodeData]] = {
    "graph_npz": graph_npz,
    "stochastic_blocks": stochastic_blocks,
}
"""Every source of a graph by its name."""
