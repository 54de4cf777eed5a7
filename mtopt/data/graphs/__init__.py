"""Graphs of static shape: padded edges, sparse features, samples made inside jit.

:data:`SAMPLERS` maps the name of every sampler that takes a part of a graph to its
factory.
"""

from collections.abc import Callable

from mtopt.data.graphs.features import Features as Features
from mtopt.data.graphs.graph import Graph as Graph
from mtopt.data.graphs.graph import degrees as degrees
from mtopt.data.graphs.graph import propagate as propagate
from mtopt.data.graphs.sampling import Sampler as Sampler
from mtopt.data.graphs.sampling import drop_edges as drop_edges
from mtopt.data.graphs.sampling import ego as ego
from mtopt.data.graphs.sampling import induced as induced
from mtopt.data.graphs.sampling import mask_columns as mask_columns
from mtopt.data.graphs.sampling import random_nodes as random_nodes
from mtopt.data.graphs.sampling import saint as saint
from mtopt.data.graphs.sampling import shuffle as shuffle
from mtopt.data.graphs.sampling import whole as whole

SAMPLERS: dict[str, Callable[..., Sampler]] = {"ego": ego, "saint": saint}
"""Every sampler of a part of a graph by its name."""
