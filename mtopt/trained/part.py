"""The tasks of one kind in a trained model."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from mtopt.trained.description import GroupDescription


@dataclasses.dataclass(frozen=True)
class Part:
    """The tasks of one group, with what predicts them.

    Args:
      group: what they are.
      predict: ``(params, model_state, x) -> outputs [K, B, ...]``, compiled.
      params: of the model.
      model_state: of the model.
    """

    group: GroupDescription
    predict: Callable[[Any, Any, Any], Float[Array, "K B ..."]]
    params: Any
    model_state: Any

    def __call__(self, x: Any) -> Float[Array, "K B ..."]:
        """The outputs of encoded inputs."""
        return self.predict(self.params, self.model_state, x)

    def in_units(self, k: int, outputs: Any) -> Any:
        """Outputs of one task's own classes; numbers as the data have them, in float64.

        Args:
          k: the number of the task.
          outputs: of it, ``[B, ...]``.
        """
        if not self.group.target_std:
            return self.group.of_task(k, outputs)
        wide = np.asarray(outputs, np.float64)
        return wide * self.group.target_std[k] + self.group.target_mean[k]
