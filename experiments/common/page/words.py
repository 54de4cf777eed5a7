"""What came out of a comparison, in sentences that claim no more than was measured."""

from collections.abc import Sequence

import numpy as np

from ..comparison_sheet import TIME_REFERENCE
from ..looks import falls, late_falls, undefined
from ..paired import differences
from ..results import Comparison
from ..standing import Standing
from ..ties import FEWEST_SEEDS, LEVEL


def summary(parts: Sequence[Comparison]) -> tuple[str, ...]:
    """Which method came first, how sure that is, and whether training was steady.

    Args:
      parts: a comparison for each group of tasks; without any there is no sentence.
    """
    if not parts or not parts[0].methods:
        return ()
    first = _first(parts)
    sentences = [_placed(parts, first), *_gain(parts, first)]
    if len(first) == 1:
        sentences += [line for part in parts for line in _told_apart(part, first[0])]
    if not any(map(falls, parts)):
        sentences += dict.fromkeys(line for part in parts for line in late_falls(part))
    return tuple(sentences)


def alerts(parts: Sequence[Comparison]) -> tuple[str, ...]:
    """What diverged, what fell after its best look, and what could not be measured."""
    notes = [note for part in parts for each in part.results for note in each.notes]
    looks = [
        f"{part.group}: {line}" if part.group else line
        for part in parts
        for line in (*undefined(part), *falls(part))
    ]
    return (*dict.fromkeys(notes), *looks)


def _first(parts: Sequence[Comparison]) -> list[int]:
    """The methods of the best mean rank."""
    ranks = Standing.of(parts).ranks
    return np.flatnonzero(np.isclose(ranks, ranks.min())).tolist()


def _placed(parts: Sequence[Comparison], first: list[int]) -> str:
    methods = parts[0].methods
    names = _listed([methods[i].name for i in first])
    if len(methods) == 1:
        return f"{names} is the only method: there is no other one to rank it by."
    standing = Standing.of(parts)
    if not np.isfinite(standing.rows[first]).any():
        return "No method has a number on test data."
    number = len(standing.higher)
    verb = "comes" if len(first) == 1 else "share the first place:"
    place = "first by " if len(first) == 1 else ""
    return (
        f"{names} {verb} {place}mean rank {standing.ranks[first[0]]:.2f} among "
        f"{len(methods)} methods, over {number} metric{'s' * (number > 1)} on test "
        "data."
    )


def _gain(parts: Sequence[Comparison], first: list[int]) -> list[str]:
    """How the first one compares with single-task models, if that is known."""
    standing = Standing.of(parts)
    row = standing.rows[first[0]]
    lacking = np.isnan(row[~np.isnan(standing.baselines)]).any()
    changes = standing.delta_m(row), standing.delta_p(row)
    if len(first) > 1 or lacking or np.isnan(changes).any():
        return []
    better = [changes[0] < 0, changes[1] > 0]
    both = f"{'better' if all(better) else 'worse'} by both"
    verdict = "one says better, the other worse" if any(better) != all(better) else both
    return [
        "Against the single-task models its relative changes are "
        f"Δm {changes[0]:+.2f} % and Δp {changes[1]:+.2f} %: {verdict}."
    ]


def _told_apart(part: Comparison, first: int) -> list[str]:
    """Whether its difference to equal weighting may be chance, in one group of tasks.

    All methods are tested against that one, since which one is first is seen only after
    looking at all.
    """
    names = [method.name for method in part.methods]
    if TIME_REFERENCE not in names or names[first] == TIME_REFERENCE:
        return []
    tests = differences(part, TIME_REFERENCE)
    found = tests[names[first]]
    if np.isnan(found.mean):
        return []
    better = (found.mean > 0) == part.higher_is_better[0]
    side = "better" if better else "worse"
    head = f"{part.group}: its" if part.group else "Its"
    line = (
        f"{head} {part.comparable_name}, the mean of tasks, is {abs(found.mean):.3g} "
        f"{side} than that of {TIME_REFERENCE}, seed by seed"
    )
    if found.pairs < FEWEST_SEEDS:
        seeds = f"{found.pairs} seed" + "s" * (found.pairs > 1)
        return [f"{line}: {seeds} cannot say whether that is chance."]
    how_many = f"{len(tests)} method{'s' * (len(tests) > 1)}"
    p_value = "< 0.001" if found.p_value < 0.001 else f"= {found.p_value:.2g}"
    return [
        f"{line}: {'not ' * (found.p_value > LEVEL)}more than seeds differ by (p "
        f"{p_value}; paired t-tests of {how_many} against it, Holm's correction)."
    ]


def _listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
