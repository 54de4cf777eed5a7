"""Which method is best in a column, and which ones cannot be told apart from it."""

import itertools
from collections.abc import Sequence

import numpy as np

from mtopt.metrics import holm, paired_interval

from .by_seed import Seeds, in_common
from .sheet import BEST, TIED

LEVEL = 0.05
"""The share of columns of equal methods in which some are told apart by chance."""
FEWEST_SEEDS = 3
"""Of two methods in common, to be called tied."""


def marks(rows: Sequence[Seeds], *, higher: bool) -> list[str]:
    """The best of some methods, and those that are tied with it.

    A method that lacks a seed has no mark: the ones that are left may be the easy ones.
    Tied are those whose paired difference to the best is 0 for all that their seeds
    say: two-sided t-tests over all pairs of methods, with Holm's correction. All pairs,
    since the best is known only after looking at all.

    Args:
      rows: of every method, the number of each seed; nan where it is undefined.
      higher: the direction of the numbers.

    Returns:
      :data:`~experiments.common.sheet.BEST`,
      :data:`~experiments.common.sheet.TIED` or nothing for each. Without another
      method there is no best.

    Example:
      >>> ours, other = {0: 0.9, 1: 0.8, 2: 0.85}, {0: 0.89, 1: 0.82, 2: 0.83}
      >>> far = {seed: value - 0.5 for seed, value in ours.items()}
      >>> marks([far, ours, other], higher=True)
      ['', 'best', 'tied']
    """
    means = [float(np.mean(list(row.values()))) for row in rows]
    known = [i for i, mean in enumerate(means) if np.isfinite(mean)]
    found = [""] * len(rows)
    if len(known) < 2:
        return found
    top = (max if higher else min)(means[i] for i in known)
    first = next(i for i in known if means[i] == top)
    pairs = list(itertools.combinations(known, 2))
    p_values = holm([_p_value(rows[i], rows[j]) for i, j in pairs])
    for (i, j), p_value in zip(pairs, p_values, strict=True):
        if first in (i, j) and p_value > LEVEL:
            found[i if j == first else j] = TIED
    return [BEST if i in known and means[i] == top else m for i, m in enumerate(found)]


def _p_value(one: Seeds, other: Seeds) -> float:
    """Of the seeds that both have; nan where they are too few."""
    pair = in_common(one, other)
    few = len(pair[0]) < FEWEST_SEEDS
    return float("nan") if few else paired_interval(*pair).p_value
