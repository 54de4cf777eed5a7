"""What raw inputs are made into, as those of training were: fitted once, then kept."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from mtopt.errors import UserError


@runtime_checkable
class Encoding(Protocol):
    """Raw inputs to those of a model, by what was fitted on the training part.

    A data set whose loader changes what it reads has one, in ``encoding``. It is a
    frozen dataclass of texts, numbers, tuples and dicts, so that the description of a
    model can hold it as JSON; see :mod:`mtopt.data.encodings`.
    """

    def __call__(self, raw: Any) -> np.ndarray:
        """The inputs ``[N, ...]`` of raw ones.

        Raises:
          UserError: for what is not such as the training data were.
        """
        ...


@runtime_checkable
class EncodingOfTasks(Encoding, Protocol):
    """One whose raw inputs say which task a row belongs to, and may hold labels."""

    def tasks_of(self, raw: Any) -> dict[str, Int[np.ndarray, " n"]]:
        """Task to the numbers of its rows, where tasks have rows of their own.

        Raises:
          UserError: where ``raw`` does not say, or has a task that training had not.
        """
        ...

    def targets_of(self, raw: Any) -> dict[str, Any]:
        """Task to the labels that ``raw`` has of it, one for each of its rows."""
        ...


@dataclasses.dataclass(frozen=True)
class AsTheyAre:
    """Inputs that no loader has changed: arrays of one type and shape.

    Args:
      dtype: of the training inputs.
      shape: of a sample.

    Example:
      >>> AsTheyAre("uint8", (2, 2))(np.zeros((3, 2, 2), np.uint8)).shape
      (3, 2, 2)
      >>> AsTheyAre("uint8", (2, 2))(np.zeros((3, 2, 2)))
      Traceback (most recent call last):
      mtopt.errors.UserError: inputs are float64[3, 2, 2]: expected uint8[N, 2, 2], as \
the model was trained on
    """

    dtype: str
    shape: tuple[int, ...]

    def __call__(self, raw: Any) -> np.ndarray:
        """The array, floats in the precision of training."""
        x = np.asarray(raw)
        expected = np.dtype(self.dtype)
        # Floats differ by rounding; uint8 are pixels, which a model divides by 255.
        fits = x.dtype == expected or x.dtype.kind == expected.kind == "f"
        if not fits or x.ndim == 0 or x.shape[1:] != self.shape:
            sides = ", ".join(map(str, ("N", *self.shape)))
            raise UserError(
                f"inputs are {x.dtype}{list(x.shape)}: expected {self.dtype}[{sides}], "
                "as the model was trained on"
            )
        return x.astype(expected)


@dataclasses.dataclass(frozen=True)
class Unknown:
    """In place of an encoding where raw inputs can't be made into those of a model.

    Args:
      reason: why, as a clause.
    """

    reason: str

    def __call__(self, raw: Any) -> np.ndarray:
        """Raises."""
        raise UserError(f"cannot encode raw inputs: {self.reason}")
