"""Random, stratified splits for data that comes without validation or test part."""

import numpy as np

from mtopt.errors import UserError

TRAIN, VALID, TEST = range(3)
SPLITS = ("train", "valid", "test")


def divide(
    split: np.ndarray,
    group: np.ndarray,
    fractions: dict[int, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Splits the missing parts off the training samples, group by group.

    A group of n training samples gives ``round(fraction * n)`` of them to a missing
    part, and at least one if n is 3 or more; it keeps at least one itself.

    Args:
      split: the part that each sample belongs to, ``TRAIN`` where nothing is known.
      group: the task of each sample if every sample has one, else zeros.
      fractions: missing part to its share of the training samples.
      rng: the randomness.

    Returns:
      The part of each sample, ``[N]``.

    Example:
      >>> parts = divide(np.zeros(20, int), np.repeat([0, 1], [4, 16]),
      ...                {VALID: 0.25, TEST: 0.25}, np.random.default_rng(0))
      >>> [np.bincount(parts[:4]).tolist(), np.bincount(parts[4:]).tolist()]
      [[2, 1, 1], [8, 4, 4]]
    """
    parts = split.copy()
    for one in np.unique(group):
        members = rng.permutation(np.flatnonzero((group == one) & (split == TRAIN)))
        least = int(len(members) >= 3)
        left = len(members)
        for later, (part, fraction) in enumerate(fractions.items(), 1):
            most = left - 1 - least * (len(fractions) - later)
            taken = min(max(round(fraction * len(members)), least), max(most, 0))
            parts[members[left - taken : left]] = part
            left -= taken
    return parts


def check_fractions(**fractions: float) -> None:
    """Raises unless the shares are positive and leave something to train on."""
    for name, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise UserError(f"{name} is {fraction}: expected a share between 0 and 1")
    if sum(fractions.values()) >= 1:
        raise UserError(
            f"{' + '.join(fractions)} is {sum(fractions.values()):g}: expected less "
            "than 1, the rest is trained on"
        )
