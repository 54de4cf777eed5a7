"""What is measured: a model, a number of tasks and a batch, the same on every side.

Nothing here imports a library of arrays but NumPy: the processes of either side do.
"""

import re
from typing import Any, NamedTuple

import numpy as np


class Network(NamedTuple):
    """A model of the benchmark.

    Attributes:
      shape: that of one input.
      classes: 1 for binary labels, which are then floats.
      batch: the number of samples, where a cell does not say one.
    """

    shape: tuple[int, ...]
    classes: int
    batch: int


HIDDEN = (1024, 512)  # of the MLP, on 1024 features
NETWORKS = {
    "mlp": Network((1024,), 1, 128),
    "lenet": Network((36, 36, 1), 10, 256),
    "resnet18": Network((32, 32, 3), 10, 64),
}


class Cell(NamedTuple):
    """One model at one number of tasks.

    Attributes:
      model: a key of :data:`NETWORKS`.
      tasks: K, at least 1.
      batch: samples, all of them with labels of all tasks.
    """

    model: str
    tasks: int
    batch: int

    @property
    def network(self) -> Network:
        """The model's shapes."""
        return NETWORKS[self.model]

    def __str__(self) -> str:
        return f"{self.model} K={self.tasks} B={self.batch}"


DEFAULT = ("mlp:2", "mlp:8", "mlp:40", "lenet:2", "lenet:8", "resnet18:2")


def parse(text: str) -> Cell:
    """A cell from ``MODEL:K`` or ``MODEL:K:BATCH``.

    Raises:
      ValueError: for another text.

    Example:
      >>> str(parse("mlp:8")), str(parse("lenet:2:16"))
      ('mlp K=8 B=128', 'lenet K=2 B=16')
    """
    found = re.fullmatch(r"(\w+):([1-9]\d*)(?::([1-9]\d*))?", text)
    if found is None or found[1] not in NETWORKS:
        raise ValueError(
            f"--cell has {text!r}: expected MODEL:K or MODEL:K:BATCH with a model of "
            f"{', '.join(NETWORKS)}, as in mlp:8"
        )
    batch = found[3] or NETWORKS[found[1]].batch
    return Cell(found[1], int(found[2]), int(batch))


def numbers(cell: Cell) -> tuple[Any, Any]:
    """Inputs ``[B, ...]``, channels last, and labels ``[K, B]``, drawn from seed 0."""
    rng = np.random.default_rng(0)
    classes = cell.network.classes
    x = rng.normal(size=(cell.batch, *cell.network.shape)).astype("float32")
    y = rng.integers(max(classes, 2), size=(cell.tasks, cell.batch))
    return x, y.astype("float32" if classes == 1 else "int32")
