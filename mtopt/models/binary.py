"""Labels 0 and 1 of which few are 1: a kind whose models are chosen by F1.

A model that always says 0 has a good accuracy there, and an F1 of 0:

Example:
  >>> import numpy as np
  >>> logits, labels = np.array([-1.0, -2.0, -3.0, -4.0]), np.array([1, 0, 0, 0])
  >>> known = np.ones(4, bool)
  >>> {m.name: m.value(logits, labels, known) for m in by_f1.metrics}
  {'f1': 0.0, 'auc': 1.0, 'accuracy': 0.75}
"""

from mtopt.kind import Kind
from mtopt.metrics import Metric, accuracy, auc, f1
from mtopt.models.heads import binary_cross_entropy
from mtopt.models.links import LABELS, PROBABILITIES

by_f1 = Kind(
    loss=binary_cross_entropy,
    metrics=(
        Metric("f1", True, f1),
        Metric("auc", True, auc),
        Metric("accuracy", True, accuracy),
    ),
    label=LABELS["binary"],
    probabilities=PROBABILITIES["binary"],
    columns=1,
)
"""As ``binary``, with F1 for the first metric: ``kind="mtopt.models.binary:by_f1"``."""
