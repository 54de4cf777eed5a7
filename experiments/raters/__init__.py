"""Raters who are more or less severe: what a number for each of them is worth.

``python -m experiments.main --experiment=raters --data_dir=DIR``, where DIR holds
``computer/data.npz``: 190 people rate the same 20 profiles of computers from 0 to 10.
One task, the rating; who rated is an input. An ordinal head with a severity for every
rater (:mod:`mtopt.models.ordinal`) stands beside the same head without, and beside a
free softmax with a bias for every rater and level, all on the same splits, the penalty
of each chosen on validation data.
"""

from .config import get_config as get_config
from .run import prepare as prepare
