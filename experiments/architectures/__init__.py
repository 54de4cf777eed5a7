"""Architectures of as many parameters: what experts, gates and towers are worth.

``python -m experiments.main --experiment=architectures``. Every architecture is trained
by every method on tasks that are related as told (:func:`mtopt.data.related_tasks`),
once all one function, once in two groups that have nothing in common. Two controls come
first: a shared bottom, and one gate for all tasks, which tells routing from gating.
``architectures_census`` is the same on census income.
"""

from .config import get_config as get_config
from .run import prepare as prepare
