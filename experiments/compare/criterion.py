"""What a trial is chosen by: what models are, or what ``--by`` names."""

from collections.abc import Sequence

import numpy as np

from mtopt.training.criterion import Criterion

from .unit import Outcome


def value_of(criterion: Criterion, outcome: Outcome) -> float:
    """That of a unit, the mean over its seeds; NaN where one of them has none.

    Args:
      criterion: what it is chosen by.
      outcome: of the unit, on validation data.
    """
    if not criterion.units:
        return float(outcome.scores.mean())
    # A seed that diverged may have had good looks before; its score is nan.
    if not outcome.metrics or np.isnan(outcome.scores).any():
        return float("nan")
    each = [
        outcome.metrics[task][criterion.metric] / unit
        for task, unit in criterion.units.items()
    ]
    return float(np.mean(each))


def best_of(criterion: Criterion, outcomes: Sequence[Outcome]) -> int:
    """The best trial; of equal ones the first, of none with a number the first.

    Args:
      criterion: what it is chosen by.
      outcomes: of the trials.
    """
    values = np.array([value_of(criterion, outcome) for outcome in outcomes])
    cost = -values if criterion.higher_is_better else values
    return int(np.argmin(np.where(np.isnan(cost), np.inf, cost)))
