"""Pretext tasks, one file each: what an encoder learns from without labels.

On graphs, :data:`PRETEXTS` maps each name to its factory, ``(encoder, *, ...) ->
Pretext``, and :func:`pretext_model` trains them. On arrays, :func:`with_pretexts`
trains them beside the labels of any model.
"""

from collections.abc import Callable

from mtopt.models.encoder import Encoder as Encoder
from mtopt.pretext.array_encoder import ArrayEncoder as ArrayEncoder
from mtopt.pretext.array_encoder import encoder_of as encoder_of
from mtopt.pretext.decorrelation import decorrelation as decorrelation
from mtopt.pretext.feature_reconstruction import (
    feature_reconstruction as feature_reconstruction,
)
from mtopt.pretext.joint_labels import joint_labels as joint_labels
from mtopt.pretext.joint_labels import rotations as rotations
from mtopt.pretext.masked_reconstruction import (
    masked_reconstruction as masked_reconstruction,
)
from mtopt.pretext.masked_views import masked_views as masked_views
from mtopt.pretext.model import PretextModel as PretextModel
from mtopt.pretext.model import pretext_model as pretext_model
from mtopt.pretext.mutual_information import mutual_information as mutual_information
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
from mtopt.pretext.virtual_adversarial import (
    virtual_adversarial as virtual_adversarial,
)
from mtopt.pretext.with_pretexts import with_pretexts as with_pretexts

PRETEXTS: dict[str, Callable[..., Pretext]] = {
    "decorrelation": decorrelation,
    "feature_reconstruction": feature_reconstruction,
    "node_graph_information": node_graph_information,
    "node_subgraph_contrast": node_subgraph_contrast,
    "topology_reconstruction": topology_reconstruction,
}
"""Every pretext task on graphs by its name."""
