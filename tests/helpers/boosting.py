"""Data and a fit that most tests of R-MTGB share: few programs to compile."""

import functools

import numpy as np

from mtopt import boosting
from tests.helpers import boosting_reference as reference

TASKS = 4


THETA = np.array([0.12, -0.05, 0.2, -0.1])


# Most tests run one of few programs: the same shapes, iterations and options.
ALL = (4, 5, 4)


def blocks(n1, n2, n3):
    return {"num_shared": n1, "num_partition": n2, "num_task_specific": n3}


def fit(x, y, task, counts=ALL, **options):
    options = {"num_tasks": TASKS, "learning_rate": 0.5, "theta": THETA} | options
    return boosting.fit(x, y, task, **blocks(*counts), **options)


@functools.cache
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(160, 3)).astype(np.float32)
    task = rng.integers(0, TASKS, 160)
    y = np.sin(2 * x[:, 0]) * np.where(task == 3, -1, 1) + 0.3 * x[:, 1] * task
    return x, y, task, rng.random(160) < 0.7


def targets(kind):
    x, y, _, _ = data()
    return {
        "regression": (y, None),
        "outputs": (np.stack([y, x[:, 2] ** 2], axis=1), None),
        "two": ((y > 0).astype(int), 2),
        "three": (np.digitize(y, [-0.5, 0.5]), 3),
    }[kind]


def class_logs(classes, task, rows, num_classes):
    """The logarithm of every class's share of a task's rows; half a row of none."""
    counts = np.zeros((task.max() + 1, num_classes))
    np.add.at(counts, (task[rows], classes[rows]), 1)
    counts = np.maximum(counts, 0.5)
    return np.log(counts / counts.sum(axis=1, keepdims=True))


@functools.cache
def expected(kind, start="zero"):
    x, _, task, train = data()
    y, classes = targets(kind)
    begin = None
    if start == "log_odds" and classes is not None:
        begin = class_logs(y, task, train, classes)
        if classes == 2:  # the reference has two logits: one is minus the other
            begin = (begin - begin[:, ::-1]) / 2
    return reference.boost(x, y, task, train, THETA, *ALL, 0.5, classes, begin)
