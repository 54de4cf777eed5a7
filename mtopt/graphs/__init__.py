"""Graphs of static shape: padded edges, sparse features, samples made inside jit.

:data:`SAMPLERS` maps the name of every sampler that takes a part of a graph to its
factory.
"""

from collections.abc import Callable

from mtopt.graphs.features import Features as Features
from mtopt.graphs.graph import Graph as Graph
from mtopt.graphs.graph import degrees as degrees
from mtopt.graphs.graph import propagate as propagate
from mtopt.graphs.sampling import Sampler as Sampler
from mtopt.graphs.sampling import drop_edges as drop_edges
from mtopt.graphs.sampling import ego as ego
from mtopt.graphs.sampling import induced as induced
from mtopt.graphs.sampling import mask_columns as mask_columns
from mtopt.graphs.sampling import random_nodes as random_nodes
from mtopt.graphs.sampling import saint as saint
from mtopt.graphs.sampling import shuffle as shuffle
from mtopt.graphs.sampling import whole as whole

SAMPLERS: dict[str, Callable[..., Sampler]] = {"ego": ego, "saint": saint}
