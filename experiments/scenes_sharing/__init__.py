"""Scenes of few labels: what classes, depth and normals gain from each other.

``python -m experiments.main --experiment=scenes_sharing``. Every task has 100 labelled
images of its own, and is trained on them alone, jointly with the two others on theirs,
and jointly with the others' labels permuted among their images: what joint training
still gives then is nothing that tasks share.
"""

from .config import get_config as get_config
from .run import prepare as prepare
