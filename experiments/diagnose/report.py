"""Findings and verdict as text, and as the values of ``diagnosis.json``."""

import dataclasses
import textwrap
from typing import Any

import numpy as np

from .findings import Findings
from .verdict import (
    CONFLICT,
    KEEPS,
    LEARNS,
    PAIRS,
    SCALE,
    Verdict,
    kept,
    scale_ratio,
)

WIDTH = 100
MAX_NAMED = 8


def to_text(title: str, found: Findings, verdict: Verdict) -> str:
    """The numbers with what they are judged by, those of each task, and the verdict.

    Args:
      title: what was run.
      found: what was measured.
      verdict: what that says.
    """
    told = (
        "gradient: its length. with others: its cosine with the sum of all others. "
        "raised in: the measured steps that raise the loss, to "
        "first order. kept: the fall of the training loss over that of a model of the "
        f"task alone; below {KEEPS:g}, and no better shared, the task is held back. "
        "score, alone: the best look at validation data, shared and alone."
    )
    if len(found.tasks) > MAX_NAMED:
        told += f" Of {len(found.tasks)} tasks, the {MAX_NAMED} that keep least."
    parts = [title, _table(_judged(found, verdict)), _table(_of_tasks(found))]
    parts.append(textwrap.fill(told, WIDTH))
    said = [textwrap.fill(sentence, WIDTH) for sentence in verdict.sentences]
    return "\n\n".join([*parts, *said])


def to_plain(found: Findings, verdict: Verdict) -> dict[str, Any]:
    """All that was found and said, for a file."""
    return {
        **dataclasses.asdict(verdict),
        "thresholds": {
            "conflict": CONFLICT,
            "pairs": PAIRS,
            "scale": SCALE,
            "learns": LEARNS,
            "keeps": KEEPS,
        },
        "findings": dataclasses.asdict(found),
    }


def _judged(found: Findings, verdict: Verdict) -> list[tuple[str, ...]]:
    number = len(found.tasks)
    pairs = number * (number - 1) // 2
    rows = [
        ("", "found", "judged by"),
        (
            "pairs and steps with a cosine below 0",
            f"{found.conflict_share:.0%}",
            "half of unrelated ones have",
        ),
        (
            f"pairs with a mean cosine below -{CONFLICT}",
            f"{len(verdict.pairs)} of {pairs}",
            f"{PAIRS:.0%}",
        ),
        (
            "longest gradient over shortest",
            f"{scale_ratio(found):.3g}",
            f"{SCALE:g}",
        ),
        ("largest loss over smallest", _loss_ratio(found), "the gradients"),
        ("condition of the Gramian", f"{found.condition:.3g}", ""),
        ("independent gradients", f"{found.rank:.0f} of {number}", "all"),
        (
            "FLOPs with all gradients over equal weighting",
            f"{found.cost:.2f}",
            "",
        ),
    ]
    return rows


def _loss_ratio(found: Findings) -> str:
    positive = (found.first > 0).all()
    return f"{found.first.max() / found.first.min():.3g}" if positive else "–"


def _of_tasks(found: Findings) -> list[tuple[str, ...]]:
    """A row a task; of many those that keep least of what they learn alone."""
    share = kept(found)
    order = np.argsort(np.where(np.isnan(share), np.inf, share), kind="stable")
    rows = [
        (
            "task",
            "gradient",
            "with others",
            "loss from",
            "to",
            "raised in",
            "kept",
            "score",
            "alone",
        )
    ]
    for k in sorted(order[:MAX_NAMED].tolist()):
        numbers = (found.norm, found.first, found.last)
        length, first, last = (_number(each[k]) for each in numbers)
        rows.append(
            (
                textwrap.shorten(found.tasks[k], 30),
                length,
                f"{found.against[k]:+.2f}",
                first,
                last,
                f"{found.raised[k]:.0%}",
                _number(share[k]),
                _number(found.score[k]),
                _number(found.alone_score[k]),
            )
        )
    return rows


def _number(value: Any) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "–"


def _table(rows: list[tuple[str, ...]]) -> str:
    """Columns at one width, the first to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
