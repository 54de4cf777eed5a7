"""A mirror of the metric records for TensorBoard, without TensorFlow."""

import math
import pathlib
import time
from collections.abc import Iterator
from typing import Any

from mtopt.errors import UserError


def require() -> None:
    """Raises unless the optional package is installed.

    Raises:
      UserError: saying how to install it.
    """
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise UserError(
            "tensorboard=true needs tensorboardX, which is not installed: "
            'pip install "mtopt[tensorboard]"'
        ) from error


class TensorBoard:
    """Writes records as event files, one run per seed: ``tensorboard --logdir=runs``.

    The JSON lines stay the source of truth; a resumed run writes the steps since its
    checkpoint a second time here.

    Args:
      folder: the run's folder; events go to ``tensorboard/seed-N`` in it.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        require()
        self._folder = folder / "tensorboard"
        self._writers = {}

    def write(self, record: dict[str, Any]) -> None:
        """One scalar per finite number in the record, such as ``train/loss/left``."""
        import tensorboardX

        seed = record["seed"]
        if seed not in self._writers:
            place = self._folder / f"seed-{seed}"
            # Names hold whole seconds: another writer's file must not be replaced.
            self._writers[seed] = tensorboardX.SummaryWriter(
                str(place), filename_suffix=f".{time.time_ns()}"
            )
        numbers = {
            k: v for k, v in record.items() if k not in ("step", "seed", "split")
        }
        for tag, value in _scalars(record["split"], numbers):
            self._writers[seed].add_scalar(tag, value, record["step"])

    def close(self) -> None:
        """Flushes and closes the event files."""
        for writer in self._writers.values():
            writer.close()


def _scalars(tag: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from _scalars(f"{tag}/{name}", entry)
    elif isinstance(value, int | float) and math.isfinite(value):
        yield tag, value
