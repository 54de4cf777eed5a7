"""Is a class learned better with how its input was turned, as one label or as two?

``python -m experiments.main --experiment=joint_labels``. On few of scikit-learn's
digits, which need no file, the forms of :mod:`mtopt.pretext.joint_labels` stand beside
a plain model: all copies under their class alone, class and turn as two tasks, joint
labels read from one copy and from all, and what one copy learns from all.
"""

from .config import get_config as get_config
from .run import prepare as prepare
