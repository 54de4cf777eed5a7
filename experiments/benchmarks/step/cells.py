"""What is measured: a model, a number of tasks and a batch, the same on every side.

Nothing here imports a library of arrays but NumPy: the processes of either side do.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np


class Network(NamedTuple):
    """A model of the benchmark.

    Attributes:
      shape: that of one input.
      kind: of the labels; binary ones are floats.
      classes: 1 for binary labels.
      batch: the number of samples, where a cell does not say one.
      options: of mtopt's model.
    """

    shape: tuple[int, ...]
    kind: str
    classes: int
    batch: int
    options: Mapping[str, Any] = MappingProxyType({})


HIDDEN = (1024, 512)  # of the MLP, on 1024 features
WIDTH = 16  # of SegNet: a quarter of the published one
NETWORKS = {
    "mlp": Network((1024,), "binary", 1, 128, {"hidden": HIDDEN}),
    "lenet": Network((36, 36, 1), "classification", 10, 256),
    "resnet18": Network((32, 32, 3), "classification", 10, 64),
    "segnet": Network((64, 64, 3), "segmentation", 13, 8, {"width": WIDTH}),
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
    """Inputs ``[B, ...]``, channels last, and labels ``[K, B]``, drawn from seed 0.

    Of pixels, one of each: ``[K, B, h, w]``.
    """
    rng = np.random.default_rng(0)
    shape, kind, classes, *_ = cell.network
    x = rng.normal(size=(cell.batch, *shape)).astype("float32")
    of_sample = shape[:2] if kind == "segmentation" else ()
    y = rng.integers(max(classes, 2), size=(cell.tasks, cell.batch, *of_sample))
    return x, y.astype("float32" if kind == "binary" else "int32")
