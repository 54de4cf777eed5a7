"""A kind of labels of your own: its loss, its metrics, and what its outputs say."""

import dataclasses
from collections.abc import Callable
from typing import Any

from mtopt.errors import UserError
from mtopt.imported import imported, is_imported


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What the labels of a task are, in place of a kind that mtopt has.

    Wherever a kind is named it stands as ``module:name``: of a data set, of a column
    (``kind={"wait": "mine:poisson"}``), of a model.

    Args:
      loss: ``(outputs, targets) -> losses [b]`` of samples, jax. ``outputs`` are those
        of the head in float32, ``[b, C]``, or ``[b]`` of one column.
      metrics: :class:`mtopt.metrics.Metric`, each with its name and direction, of a
        task on a split, NumPy: ``(outputs [n, ...], targets [n, ...], mask [n]) ->
        float``. Models are chosen by the first one.
      label: ``outputs -> what is predicted``, NumPy.
      probabilities: ``outputs -> [b, C]``, jax; None where labels are no classes.
      columns: of the last layer of a head; None: as many as the data set has outputs.
      integers: whether labels are classes 0, 1, 2 ..., and not numbers.

    Raises:
      UserError: for a kind without a metric.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from mtopt.metrics import Metric
      >>> def deviance(outputs, targets, mask):
      ...     rate, y = np.exp(outputs[mask]), targets[mask]
      ...     return float(2 * np.mean(y * np.log((y + (y == 0)) / rate) - (y - rate)))
      >>> poisson = Kind(
      ...     loss=lambda outputs, targets: jnp.exp(outputs) - targets * outputs,
      ...     metrics=(Metric("deviance", False, deviance),),
      ...     label=np.exp, columns=1)
      >>> poisson.loss(jnp.zeros(2), jnp.array([0.0, 3.0])).tolist()
      [1.0, 1.0]
    """

    loss: Callable[[Any, Any], Any]
    metrics: tuple[Any, ...]
    label: Callable[[Any], Any]
    probabilities: Callable[[Any], Any] | None = None
    columns: int | None = None
    integers: bool = False

    def __post_init__(self) -> None:
        if not self.metrics:
            raise UserError("a kind of labels has no metrics: expected one or more")


def own_kind(name: str) -> Kind | None:
    """The kind of a name that says which module it is in; None for any other name.

    Raises:
      UserError: where there is no such module, or the name is of no kind.
    """
    if not is_imported(name):
        return None
    found = imported("kind of labels", name)
    if not isinstance(found, Kind):
        raise UserError(
            f"kind of labels {name!r} is a {type(found).__name__}: expected a "
            "mtopt.Kind"
        )
    return found
