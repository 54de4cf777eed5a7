"""Which metrics each kind of task has."""

from mtopt.kind import own_kind
from mtopt.metrics.ordinal import (
    level_macro_mae,
    level_mae,
    of_logits,
    quadratic_kappa,
)
from mtopt.metrics.pixels import PIXEL_METRICS
from mtopt.metrics.soft_labels import divergence, pair_accuracy, top_accuracy
from mtopt.metrics.task_metrics import Metric, accuracy, auc, mae, r2, rmse


def _ordinal(*, adjacent: bool) -> tuple[Metric, ...]:
    """The metrics of labels in order."""
    return (
        Metric("mae", False, of_logits(level_mae, adjacent=adjacent)),
        Metric("macro_mae", False, of_logits(level_macro_mae, adjacent=adjacent)),
        Metric("kappa", True, of_logits(quadratic_kappa, adjacent=adjacent)),
    )


METRICS: dict[str, tuple[Metric, ...]] = {
    "classification": (Metric("accuracy", True, accuracy),),
    "binary": (Metric("auc", True, auc), Metric("accuracy", True, accuracy)),
    "multilabel": (Metric("macro_auc", True, auc), Metric("accuracy", True, accuracy)),
    "regression": (
        Metric("rmse", False, rmse),
        Metric("mae", False, mae),
        Metric("r2", True, r2),
    ),
    "ordinal": _ordinal(adjacent=False),
    "ordinal_adjacent": _ordinal(adjacent=True),
    "soft": (Metric("accuracy", True, top_accuracy), Metric("kl", False, divergence)),
    "preference": (Metric("accuracy", True, pair_accuracy),),
    "pretext": (),
    **PIXEL_METRICS,
}
"""The metrics of each kind of task; the first one is its primary metric.

A pretext has no labels, hence none."""


def metrics_of(kind: str) -> tuple[Metric, ...]:
    """The metrics of a kind of labels, :class:`mtopt.Kind` of one's own among them.

    Args:
      kind: a key of :data:`METRICS`, or ``module:name``.
    """
    own = own_kind(kind)
    return METRICS[kind] if own is None else own.metrics
