"""What was measured, a group for each cell and method: kept, compared, as tables."""

import dataclasses
import json
import pathlib
import statistics
from typing import Any

from .cells import Cell
from .turns import Cost

PLAIN_OF = {
    "mtopt": "plain jax",
    "mtopt remat": "plain jax",
    "autojac": "plain torch",
    "autogram": "plain torch",
    "one by one": "plain torch",
}
"""The plain step that a column's is compared with: that of its own side."""

RATIOS = (
    "autojac / mtopt",
    "autogram / mtopt",
    "one by one / mtopt",
    "mtopt / plain jax",
    "plain torch / plain jax",
)
COSTS = ("ms a step", "compile s", "MFLOP", "temporary MB", "peak MB over plain")


@dataclasses.dataclass(frozen=True)
class Group:
    """The steps that took turns.

    Attributes:
      cell: of this.
      method: as text.
      costs: by column; those of the plain steps are of the same turns.
      errors: of the columns that could not be measured.
      versions: of the libraries.
      device: where the steps ran.
    """

    cell: Cell
    method: str
    costs: dict[str, Cost]
    errors: dict[str, str]
    versions: dict[str, str]
    device: str

    @property
    def name(self) -> tuple[Cell, str]:
        """What a later measurement of the same takes the place of."""
        return self.cell, self.method

    def ratio(self, column: str, other: str) -> float | None:
        """The median over turns of one time over another."""
        if column not in self.costs or other not in self.costs:
            return None
        pairs = zip(self.costs[column].seconds, self.costs[other].seconds, strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)

    def extra(self, column: str) -> int | None:
        """Bytes of peak memory over those of the plain step of the same side."""
        plain = self.costs.get(PLAIN_OF.get(column, ""))
        if column not in self.costs or plain is None:
            return None
        peak, other = self.costs[column].peak, plain.peak
        return None if peak is None or other is None else peak - other


def load(path: pathlib.Path) -> list[Group]:
    """The groups in a file; none where there is no file."""
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    return [
        Group(
            **group
            | {
                "cell": Cell(*group["cell"]),
                "costs": {n: Cost(**cost) for n, cost in group["costs"].items()},
            }
        )
        for group in found
    ]


def merged(before: list[Group], after: list[Group]) -> list[Group]:
    """All groups, the later of those of one cell and method, cells together."""
    found = {group.name: group for group in [*before, *after]}
    cells = list(dict.fromkeys(cell for cell, _ in found))
    return sorted(found.values(), key=lambda group: cells.index(group.cell))


def ratios(group: Group) -> list[str]:
    """The texts of :data:`RATIOS`."""
    return [_text(group.ratio(*what.split(" / "))) for what in RATIOS]


def costs(group: Group) -> list[list[str]]:
    """A line for each column: its name, and the texts of :data:`COSTS`."""
    lines = []
    for column, cost in group.costs.items():
        found = (
            1e3 * statistics.median(cost.seconds),
            cost.compile,
            _millions(cost.flops),
            _millions(cost.temporary),
            _millions(group.extra(column)),
        )
        lines.append([column, *map(_text, found)])
    return lines


def markdown(groups: list[Group]) -> str:
    """Both tables, for a page."""
    heads = ["cell", "method", *RATIOS]
    first = [[str(g.cell), f"`{g.method}`", *ratios(g)] for g in groups]
    second = [
        [str(g.cell), f"`{g.method}`", *line] for g in groups for line in costs(g)
    ]
    tables = [
        _markdown(heads, first),
        _markdown(["cell", "method", "step", *COSTS], second),
    ]
    missing = [
        f"- {group.cell}, `{group.method}`, {column}: {error}"
        for group in groups
        for column, error in group.errors.items()
    ]
    return "\n\n".join([*tables, "\n".join(missing)]).rstrip() + "\n"


def as_json(groups: list[Group]) -> list[dict[str, Any]]:
    """What :func:`load` reads."""
    return [dataclasses.asdict(group) for group in groups]


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _millions(number: float | None) -> float | None:
    return None if number is None else number / 1e6


def _text(number: float | None) -> str:
    """Three digits; a dash where nothing was measured."""
    if number is None:
        return "-"
    if abs(number) >= 100:
        return f"{number:.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"
