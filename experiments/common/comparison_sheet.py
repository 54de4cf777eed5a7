"""A comparison of methods as a sheet: its columns, and what they mean."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from mtopt import metrics

from .by_seed import by_seed
from .looks import FALL, LISTED, last_looks
from .published import published_block, published_legend
from .results import (
    Comparison,
    MethodResult,
    seed_count,
    tasks_measured,
    title,
)
from .sheet import (
    BEST,
    TIED,
    UNDEFINED,
    Block,
    Cell,
    Column,
    Sheet,
    number,
    seeds_column,
)
from .standing import LEAST_SCORE, Standing, ranked
from .ties import FEWEST_SEEDS, marks

MAX_TASK_COLUMNS = 6
TIME_REFERENCE = "equal_weighting"
"""Whose steps the time of others is told in."""


def comparison_sheet(parts: Sequence[Comparison]) -> Sheet:
    """The comparison as cells, one row a method, the best by mean rank first.

    Columns: the primary metric of every task (of the mean, the lowest and the highest
    task where there are more than 6) and its mean over tasks; against the single-task
    models the two published relative changes; the mean rank; the time of a step and its
    memory, the step of the chosen model, and how far the last look at validation data
    was from the best one. What a comparison has no number for is left out.

    Tasks of several kinds have other metrics, and a block of their own; what is over
    all tasks follows in another one.

    Args:
      parts: the results, on each group of tasks. A seed that is nan is left out of its
        cell, which a star marks; a number that is not defined at all shows as a dash.
    """
    parts = ranked(parts)
    standing = Standing.of(parts)
    names = tuple(" ".join(result.name.split()) for result in parts[0].results)
    over_all = [_summary(parts, standing), _training(parts)]
    together = len(parts) == 1
    blocks = []
    for part in parts:
        tasks, mean = _tasks(part)
        pieces = [[column] for column in tasks]
        pieces += [[mean, *(over_all[0] if together else [])]]
        pieces += [[*(over_all[1] if together else []), *_last_looks(part)]]
        blocks.append(Block(title(part), names, pieces))
    if not together:
        blocks.append(Block("all groups", names, over_all))
    if (elsewhere := published_block(parts)) is not None:
        blocks.append(elsewhere)
    columns = [column for block in blocks for column in block.columns]
    return Sheet(blocks, _legend(parts, standing, columns), _meaning(parts))


def _tasks(comparison: Comparison) -> tuple[list[Column], Column]:
    """The primary metric: columns of tasks, and that of their mean."""
    primary = [result.metrics[..., 0] for result in comparison.results]
    alike = [comparison.comparable(values) for values in primary]
    measured = tasks_measured(primary)
    means = [values[:, measured].mean(1) for values in alike]
    if len(comparison.task_names) <= MAX_TASK_COLUMNS:
        tasks = [
            _marked(comparison, " ".join(name.split()), [own[:, k] for own in primary])
            for k, name in enumerate(comparison.task_names)
        ]
    else:
        seed_means = [metrics.mean_and_spread(v, axis=0)[0] for v in alike]
        seed_means = [values[measured] for values in seed_means]
        tasks = [
            seeds_column(head, [extreme(own, keepdims=True) for own in seed_means])
            for head, extreme in {"lowest task": np.min, "highest task": np.max}.items()
        ]
    return tasks, _marked(comparison, "mean of tasks", means)


def _marked(comparison: Comparison, head: str, rows: list[np.ndarray]) -> Column:
    """Seeds of one metric; the best method marked, not the single-task models."""
    behind = rows[len(rows) - len(comparison.methods) :]
    own = list(map(by_seed, comparison.methods, behind))
    found = marks(own, higher=comparison.higher_is_better[0])
    return seeds_column(head, rows).marked([""] * (len(rows) - len(own)) + found)


def _summary(parts: Sequence[Comparison], standing: Standing) -> list[Column]:
    """The columns that compare with the single-task models and among the methods."""
    methods, single = parts[0].methods, standing.single
    rank = Column("rank ↓", [Cell(number(rank, 2)) for rank in standing.ranks])
    if single is None:
        return [rank]
    lacking = [_lacks_some(row, single) for row in standing.rows]

    def changes(
        head: str, change: Callable[[np.ndarray], float], higher: bool
    ) -> Column:
        cells = [
            Cell(number(change(row), 2, "+"), note="†" * lacks)
            for row, lacks in zip(standing.rows, lacking, strict=True)
        ]
        # Of a method that lacks some, the change is one of other metrics.
        of_seeds = [
            by_seed(method, [math.nan if lacks else change(row) for row in seeds])
            for method, seeds, lacks in zip(
                methods, standing.seeds, lacking, strict=True
            )
        ]
        found = marks(of_seeds, higher=higher)
        return Column(head, cells).marked(found)

    columns = [
        changes("Δm% ↓", standing.delta_m, False),
        changes("Δp% ↑", standing.delta_p, True),
        rank,
    ]
    return [Column(c.head, [Cell(UNDEFINED), *c.cells]) for c in columns]


def _lacks_some(row: np.ndarray, single: np.ndarray) -> bool:
    """Whether a method lacks some, not all, of the metrics it is compared by."""
    lacks = np.isnan(row[~np.isnan(single)])
    return bool(lacks.any() and not lacks.all())


def _training(parts: Sequence[Comparison]) -> list[Column]:
    """The time of a step and its memory, and the step of the chosen model."""
    # Single-task models are apart for each group, methods are the same for all.
    rows = [
        row if row[0] is parts[0].baseline else row[:1]
        for row in zip(*(part.results for part in parts), strict=True)
    ]
    columns = []
    if unit := _unit_of_time(parts):
        times = [sum(each.seconds_per_step for each in row) / unit for row in rows]
        columns.append(Column("time", [Cell(number(time, 2)) for time in times]))
    # Single-task models of several groups are trained one group after the other.
    peaks = [max(each.step_bytes for each in row) / 1e6 for row in rows]
    if not np.isnan(peaks).all():
        columns.append(Column("MB", [Cell(number(peak, 1)) for peak in peaks]))
    chosen = [_chosen([step for each in row for step in _steps(each)]) for row in rows]
    if any(cell.text != UNDEFINED for cell in chosen):
        columns.append(Column("chosen step", chosen))
    return columns


def _unit_of_time(parts: Sequence[Comparison]) -> float:
    """The seconds of a step of the reference; 0 where it was not run."""
    found = [m.seconds_per_step for m in parts[0].methods if m.name == TIME_REFERENCE]
    return found[0] if found and found[0] > 0 else 0.0


def _steps(result: MethodResult) -> list[int]:
    """The chosen steps of the seeds that did not diverge."""
    if result.chosen_steps is None:
        return []
    return result.chosen_steps[~result.lost].ravel().tolist()


def _chosen(steps: list[int]) -> Cell:
    """All of them, from the first to the last."""
    bounds = dict.fromkeys([min(steps), max(steps)]) if steps else [UNDEFINED]
    return Cell("–".join(map(str, bounds)))


def _last_looks(comparison: Comparison) -> list[Column]:
    """How far training ended from its best look, where there were looks.

    The single-task models are chosen task by task, and have no common look.
    """
    found = [last_looks(comparison, result) for result in comparison.methods]
    if all(np.isnan(seeds).all() for seeds in found):
        return []
    cells = [Cell(UNDEFINED)] * (comparison.baseline is not None)
    for seeds in found:
        mean = float(metrics.mean_and_spread(seeds, axis=0)[0])
        far = bool((abs(seeds) > 100 * FALL).any())
        cells.append(Cell(number(mean, 1, "+"), note="!" * far))
    return [Column("last look", cells)]


def _meaning(parts: Sequence[Comparison]) -> dict[str, str]:
    """What the marks mean, where there is more than one method."""
    methods = parts[0].methods
    if len(methods) < 2:
        return {}
    if max(len(method.seeds) for method in methods) < FEWEST_SEEDS:
        few = f"with fewer than {FEWEST_SEEDS} seeds none can be called tied with it."
        return {BEST: f"best method of the column; {few}"}
    return {
        BEST: "best method of the column.",
        TIED: "not told apart from the best: paired t-tests over the seeds of all "
        "pairs of methods, with Holm's correction at the 5 % level in each column. "
        "More seeds tell more apart.",
    }


def _legend(
    parts: Sequence[Comparison], standing: Standing, columns: list[Column]
) -> list[str]:
    """What the columns mean, and what was left out of them."""
    over = f"{len(standing.higher)} metric" + "s" * (len(standing.higher) > 1)
    each = " / ".join(dict.fromkeys(", ".join(part.metric_names) for part in parts))
    over += f" ({each} of each task)"
    heads = {column.head for column in columns}
    notes = {cell.note for column in columns for cell in column.cells}
    entries = []
    if (single := standing.single) is not None:
        entries += [
            f"Δm%: mean relative change to single task over {over}, signed so that "
            "worse is above 0; lower is better.",
            "Δp%: mean relative gain over single task, within each task and then over "
            "tasks; higher is better.",
        ]
        if left_out := np.isnan(single).sum():
            entries.append(
                f"Of these, {left_out} undefined for single task, 0, or a score of "
                f"{LEAST_SCORE} or less: not in Δm%, Δp%."
            )
        if "†" in notes:
            entries.append("†: without the metrics that are undefined for this method.")
    entries += _units(parts)
    entries.append(f"rank: mean rank among the methods over {over}; 1 is best.")
    if "time" in heads:
        unit = 1000 * _unit_of_time(parts)
        entries.append(
            f"time: of a step of all seeds that are trained at once, in steps of "
            f"{TIME_REFERENCE} ({unit:.3g} ms)."
        )
    if "MB" in heads:
        entries.append(
            "MB: memory of the compiled step, of all seeds that are trained at once, "
            "by XLA's analysis: arguments (state and batch) and temporaries, without "
            "the data set."
        )
    if "chosen step" in heads:
        entries.append("chosen step: of the models in the table, over seeds.")
    if "last look" in heads:
        entries.append(_of_last_looks(parts, "!" in notes))
    if "*" in notes:
        entries.append("*: without the seeds that are undefined.")
    if np.isnan(standing.rows).any():
        entries.append(f"{UNDEFINED}: undefined; ranks last.")
    return [*entries, *published_legend(parts), *_protocol(parts)]


def _units(parts: Sequence[Comparison]) -> list[str]:
    """What means of tasks of unlike units are in, a line for each way to say it."""
    found = []
    for part in parts:
        if part.units is None:
            continue
        which = "mean of tasks"
        if len(part.task_names) > MAX_TASK_COLUMNS:
            which = "lowest, highest task, mean of tasks"
        found.append(
            f"{which}: {part.metric_names[0]} in units of the standard deviation of "
            "each task's targets."
        )
    return list(dict.fromkeys(found))


def _of_last_looks(parts: Sequence[Comparison], far: bool) -> str:
    directions = {part.higher_is_better[0] for part in parts}
    units = ["points"] * (True in directions) + ["%"] * (False in directions)
    more = f"; !: more than {100 * FALL:g} with some seed" if far else ""
    return (
        "last look: what the mean of tasks on validation data had lost on its best "
        f"look when training ended, in {' or '.join(units)}{more}."
    )


def _protocol(parts: Sequence[Comparison]) -> list[str]:
    """How it was trained; seeds where they are those of all rows."""
    every = {result.seeds for part in parts for result in part.results}
    seeds = next(iter(every))
    named = seed_count(parts[0])
    if len(every) == 1 and len(seeds) <= LISTED:
        named = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    return [f"Protocol: {line}; {named}." for line in parts[0].protocol]
