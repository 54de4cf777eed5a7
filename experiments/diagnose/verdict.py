"""What the findings say of balancing, by thresholds that are stated and reasoned."""

import dataclasses

import numpy as np

from .findings import Findings

CONFLICT = 0.1
"""Two gradients conflict for good where their mean cosine is below minus this, a task
and the rest where its gradient and the sum of all others do. To make one orthogonal to
the other, as PCGrad does (Yu et al., 2020, arXiv 2001.06782), then shortens it by more
than 1 - sqrt(1 - 0.1^2), half a percent. Single cosines below 0 say little: of
unrelated tasks half of them are. Between 0.1 and minus 0.1 two gradients are called
unrelated."""

PAIRS = 0.1
"""The tasks conflict as a whole where a tenth of all pairs does: fewer are found among
many tasks by chance, and leaving one out is the smaller change."""

SCALE = 10.0
"""The scales differ where the longest gradient is ten times the shortest: that one can
turn the sum of the two by no more than asin(1 / 10), six degrees."""

LEARNS = 0.05
"""A task can learn where its loss, alone, falls by a twentieth of where it began."""

KEEPS = 0.5
"""A task is held back where its training loss falls by less than half of what it falls
alone in as many steps, and it is no better shared on validation data: a model of few
rows alone learns them by heart. Where no model was trained alone, it is where its loss
does not fall by :data:`LEARNS` while that of another task does."""

NAMED = 5
"""So many tasks are named in a sentence."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What is to be said, and of whom.

    Attributes:
      case: ``"conflict"``, ``"harmless conflict"``, ``"scales"``, ``"held back"``,
        ``"unrelated"`` or ``"agreement"``.
      held_back: tasks that learn less beside the others than they should; in a
        conflict, those of them that the others pull against.
      pairs: those that conflict for good.
      sentences: the verdict in words, the first one the decision.
    """

    case: str
    held_back: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    sentences: tuple[str, ...]


def judge(found: Findings) -> Verdict:
    """The verdict on a run of equal weighting.

    Args:
      found: what was measured.
    """
    held = held_back(found)
    suffers = held & (found.against < -CONFLICT)
    pairs = conflicting(found)
    number = len(found.tasks) * (len(found.tasks) - 1) / 2
    ratio = scale_ratio(found)
    upper = found.cosine[np.triu_indices(len(found.tasks), 1)]
    if suffers.any():
        case, held = "conflict", suffers
    elif len(pairs) >= PAIRS * number:
        case = "harmless conflict"
    elif ratio >= SCALE:
        case = "scales"
    elif held.any():
        case = "held back"
    elif (abs(upper) < CONFLICT).all():
        case = "unrelated"
    else:
        case = "agreement"
    names = tuple(found.tasks[k] for k in np.flatnonzero(held))
    decision = _decision(case, found, names, len(pairs), ratio)
    more = [*_scales_too(case, ratio), *_rank(found), *_sharing(found), _limits(found)]
    return Verdict(case, names, pairs, (decision, *more))


def scale_ratio(found: Findings) -> float:
    """The longest gradient over the shortest, of tasks that have one."""
    known = found.norm[found.norm > 0]
    return float(known.max() / known.min()) if len(known) else 1.0


def conflicting(found: Findings) -> tuple[tuple[str, str], ...]:
    """The pairs whose mean cosine is below minus :data:`CONFLICT`."""
    upper = np.triu(found.cosine < -CONFLICT, 1)
    return tuple((found.tasks[i], found.tasks[j]) for i, j in np.argwhere(upper))


def kept(found: Findings) -> np.ndarray:
    """What a loss falls beside the others over what it falls alone, ``[K]``.

    nan for a task that does not learn alone, or has no model of its own.
    """
    alone = found.alone_first - found.alone_last
    learns = alone >= LEARNS * abs(found.alone_first)
    share = (found.first - found.last) / np.where(learns, alone, np.nan)
    return np.where(learns, share, np.nan)


def held_back(found: Findings) -> np.ndarray:
    """Which tasks learn less than they should, ``[K]``; see :data:`KEEPS`."""
    if np.isfinite(found.alone_first).any():
        return (kept(found) < KEEPS) & ~(gain(found) > 0)
    falls = found.first - found.last >= LEARNS * abs(found.first)
    return ~falls & falls.any()


def gain(found: Findings) -> np.ndarray:
    """How much better each task is shared on validation data, ``[K]``; nan: unknown."""
    return np.where(found.higher, 1, -1) * (found.score - found.alone_score)


def _decision(
    case: str, found: Findings, held: tuple[str, ...], pairs: int, ratio: float
) -> str:
    cost = f"{found.cost:.1f} times the FLOPs of equal weighting"
    who = ", ".join(held[:NAMED])
    if len(held) > NAMED:
        who = f"{len(held)} of {len(found.tasks)} tasks ({who} and others)"
    learn = f"learn{'s' * (len(held) == 1)} less beside the rest than {_alone(found)}"
    if case == "conflict":
        return (
            f"Balancing is worth a try: the other tasks pull against {who}, which "
            f"{learn}. Methods whose direction raises no loss, upgrad, mgda and "
            f"conflict_free, take {cost} a step; compare them with tuned fixed "
            "weights, which take no more than equal ones."
        )
    if case == "harmless conflict":
        return (
            f"Balancing is not called for yet: {_count(pairs, 'pair')} of tasks pull "
            "against each other, and no task is held back by it. A method that takes "
            f"all gradients has {cost} a step: try it if a task falls behind later."
        )
    if case == "scales":
        return (
            "Balance the losses, not the gradients: the longest gradient is "
            f"{ratio:.3g} times the shortest, and directions do not conflict. "
            "scale_invariant, uncertainty_weighting and imtl_l weigh losses at no "
            f"cost; a method that takes all gradients has {cost} a step, and no "
            "conflict to solve."
        )
    if case == "held back":
        return (
            f"Balancing is not the answer: {who} {learn}, and neither directions nor "
            "scales say why. A larger model, more steps, or layers of a task's own are "
            "to be tried first."
        )
    if case == "unrelated":
        return (
            "Balancing is not worth its cost here: the gradients stand at right "
            "angles, so that to first order a step for one task leaves the others "
            f"where they are, and there is no conflict to solve for {cost} a step."
        )
    return (
        "Balancing is not worth its cost here: the gradients agree, no scale "
        f"outweighs another, and no task is held back. Keep equal weighting; {cost} "
        "a step would solve a conflict that is not there."
    )


def _alone(found: Findings) -> str:
    known = np.isfinite(found.alone_first).any()
    return "half of what it does alone" if known else "the others do"


def _scales_too(case: str, ratio: float) -> list[str]:
    if case == "scales" or ratio < SCALE:
        return []
    return [
        f"The longest gradient is {ratio:.3g} times the shortest: bring the losses to "
        "one scale first, which costs nothing (scale_invariant, or log_losses around "
        "a method)."
    ]


def _rank(found: Findings) -> list[str]:
    number = int((found.norm > 0).sum())
    if found.rank >= number:
        return []
    return [
        f"Only {found.rank:.0f} of {number} gradients are independent: some "
        "tasks ask for the same, and weights that a solve gives them are not the only "
        "ones."
    ]


def _sharing(found: Findings) -> list[str]:
    """Whether sharing helps, which no method decides."""
    gains = gain(found)
    known = np.isfinite(gains)
    if not known.any():
        return ["Whether sharing helps was not measured: no model was trained alone."]
    better, worse = int((gains > 0).sum()), int((gains < 0).sum())
    said = (
        f"After {found.steps} steps {better} of {known.sum()} tasks are better shared "
        f"than alone on validation data, and {worse} worse."
    )
    if worse > better:
        said += " Sharing less may gain more than any balancing."
    return [said]


def _limits(found: Findings) -> str:
    return (
        f"Measured with equal weighting, over {found.steps} steps and "
        f"{_count(found.seeds, 'seed')}. It says nothing of later steps, and not "
        "whether a method gains: a comparison does."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
