"""A pretext task beside few labels: what keeps an auxiliary task from hurting.

``python -m experiments.main --experiment=auxiliary``. Digits of which 50 or 150 are
labelled; beside them the encoder reconstructs masked pixels of all training images. The
first method trains on the labels alone, the others on both; each model is chosen on
validation data, and compared with the first one's of the same seed.
"""

from .config import get_config as get_config
from .run import prepare as prepare
