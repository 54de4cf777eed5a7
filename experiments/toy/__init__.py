"""The toy problem in two dimensions: where methods end that start in five places.

``python -m experiments.main --experiment=toy``. Two losses of one point in the plane,
with a narrow valley between the starts and the Pareto front; see
:func:`mtopt.data.toy.toy_tasks`. Nash-MTL, FAMO and others draw this picture with the
first loss scaled by 0.1, CAGrad with ``--config.scale=1 --config.starts=cagrad``.
"""

from .config import get_config as get_config
from .run import prepare as prepare
