"""Pretext tasks, one file each: what an encoder learns from without labels.

:data:`PRETEXTS` maps each name to its factory, ``(encoder, *, ...) -> Pretext``.
"""

from collections.abc import Callable

from mtopt.models.gcn import Encoder as Encoder
from mtopt.pretext.decorrelation import decorrelation as decorrelation
from mtopt.pretext.feature_reconstruction import (
    feature_reconstruction as feature_reconstruction,
)
from mtopt.pretext.joint_labels import joint_labels as joint_labels
from mtopt.pretext.joint_labels import rotations as rotations
from mtopt.pretext.model import PretextModel as PretextModel
from mtopt.pretext.model import pretext_model as pretext_model
from mtopt.pretext.node_graph_information import (
    node_graph_information as node_graph_information,
)
from mtopt.pretext.node_subgraph_contrast import (
    node_subgraph_contrast as node_subgraph_contrast,
)
from mtopt.pretext.pretext import Pretext as Pretext
from mtopt.pretext.topology_reconstruction import (
    topology_reconstruction as topology_reconstruction,
)

PRETEXTS: dict[str, Callable[..., Pretext]] = {
    "decorrelation": decorrelation,
    "feature_reconstruction": feature_reconstruction,
    "node_graph_information": node_graph_information,
    "node_subgraph_contrast": node_subgraph_contrast,
    "topology_reconstruction": topology_reconstruction,
}
"""Every pretext task by its name."""
