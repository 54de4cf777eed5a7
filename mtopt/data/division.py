"""Random, stratified splits for data that comes without validation or test part."""

import numpy as np
from jaxtyping import Int, Integer

from mtopt.errors import UserError

TRAIN, VALID, TEST = range(3)
SPLITS = ("train", "valid", "test")


def divide(
    split: Int[np.ndarray, " N"],
    group: Integer[np.ndarray, " N"],
    fractions: dict[int, float],
    rng: np.random.Generator | np.random.RandomState,
    equal: Int[np.ndarray, " N"],
) -> Int[np.ndarray, " N"]:
    """Splits the missing parts off the training samples, group by group.

    Of n training samples of a group a missing part gets ``round(fraction * n)``, and at
    least one if n is 3 or more; one at least is left. Equal samples of a group stay
    together, so that a part gets as many as whole bunches come near; a group with fewer
    bunches than parts is divided sample by sample.

    Args:
      split: the part that each sample belongs to, ``TRAIN`` where nothing is known.
      group: the task of each sample if every sample has one, else zeros.
      fractions: missing part to its share of the training samples.
      rng: the randomness.
      equal: a number for each sample, the same for equal ones, as
        :func:`mtopt.data.equal_rows.equal_rows` gives them.

    Returns:
      The part of each sample, ``[N]``.

    Example:
      >>> group, rng = np.repeat([0, 1], [4, 16]), np.random.default_rng(0)
      >>> parts = divide(np.zeros(20, int), group, {VALID: 0.25, TEST: 0.25}, rng,
      ...                equal=np.arange(20) // 2)
      >>> [np.bincount(parts[group == g]).tolist() for g in (0, 1)]
      [[2, 1, 1], [8, 4, 4]]
      >>> (parts[4::2] == parts[5::2]).all()
      np.True_
    """
    parts = split.copy()
    for one in np.unique(group):
        members = rng.permutation(np.flatnonzero((group == one) & (split == TRAIN)))
        bunches = adjoined(members[::-1], equal)
        if len(bunches) <= len(fractions):
            bunches = [member[None] for member in members[::-1]]
        least = int(len(bunches) >= 3)
        for later, (part, fraction) in enumerate(fractions.items(), 1):
            wanted = max(round(fraction * len(members)), least)
            most = len(bunches) - 1 - least * (len(fractions) - later)
            taken = _nearest([len(bunch) for bunch in bunches], wanted, most, least)
            for place in sorted(taken, reverse=True):
                parts[bunches.pop(place)] = part
    return parts


def adjoined(
    members: Int[np.ndarray, " n"], equal: Int[np.ndarray, " N"]
) -> list[Int[np.ndarray, " m"]]:
    """Bunches of equal members, in the order of the first of each.

    Example:
      >>> [b.tolist() for b in adjoined(np.array([2, 0, 1]), np.array([7, 8, 8]))]
      [[2, 1], [0]]
    """
    _, first, inverse = np.unique(
        equal[members], return_index=True, return_inverse=True
    )
    order = np.lexsort((np.arange(len(members)), first[inverse]))
    cuts = np.flatnonzero(np.diff(first[inverse][order])) + 1
    return np.split(members[order], cuts)


def _nearest(sizes: list[int], wanted: int, most: int, least: int) -> list[int]:
    """Which bunches, in their order, bring a part nearest to what is wanted."""
    taken, count = [], 0
    for place, size in enumerate(sizes):
        if count >= wanted or len(taken) >= most:
            break
        # A bunch that goes too far by more than half of itself is left to others.
        if 2 * count + size <= 2 * wanted:
            taken.append(place)
            count += size
    if not taken and 0 < least <= most:
        taken = [int(np.argmin(sizes))]
    return taken


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
