r"""Annotators who answer wrongly: what they cost, and what finding them gives back.

``python -m experiments.main --experiment=outlier_tasks``. Ten tasks name handwritten
digits with one network, three of them adversarial, noisy, or unrelated; see
:func:`mtopt.data.planted_outliers`. Every aggregator trains

========= ===========================================================================
without   the regular tasks alone, as if somebody had told
with      all tasks
weighted  all tasks, in ``outlier_weighted``
gate      all tasks, with two networks and a gate of every task between them
========= ===========================================================================

and, where there is no outlier, the regular tasks in ``outlier_weighted``. It shows the
test accuracy of the regular tasks, and the weights and gates over time. The default,
four aggregators and three seeds, takes about five minutes on two cores;
``--method=all`` tries every aggregator there is.
"""

from .config import get_config as get_config
from .run import prepare as prepare
