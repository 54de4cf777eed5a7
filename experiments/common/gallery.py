"""Which pictures a comparison has: what is drawn of it depends on what it recorded."""

import functools
import pathlib
from collections.abc import Callable, Sequence

from . import pictures
from .conflict_pictures import agreement, conflicts, diagnosed
from .critical_differences import critical_differences, enough
from .gate_pictures import gate_masses, masses
from .over_time import WORDS, histories, over_time
from .results import Comparison
from .standing import ranked
from .time_picture import time_against_quality, timed

Draw = Callable[[pathlib.Path], None]


def gallery(folder: pathlib.Path, parts: Sequence[Comparison]) -> dict[str, Draw]:
    """File name to what draws the picture there.

    Args:
      folder: of the run, whose training records are read.
      parts: its results, on each group of tasks.
    """
    found: dict[str, Draw] = {
        "test.png": functools.partial(pictures.scatter, parts),
        "curves.png": functools.partial(pictures.curves, parts),
    }
    if timed(parts):
        found["time.png"] = functools.partial(time_against_quality, parts)
    if enough(parts):
        found["ranks.png"] = functools.partial(critical_differences, parts)
    for number in WORDS:
        if histories(folder, parts, number):
            draw = functools.partial(over_time, folder, parts, number)
            found[f"{number}.png"] = draw
    if diagnosed(folder, parts):
        found["conflicts.png"] = functools.partial(conflicts, folder, parts)
        found["agreement.png"] = functools.partial(agreement, folder, parts)
    names = [method.name for method in ranked(parts)[0].methods]
    if of_gates := masses(folder, names):
        title = parts[0].experiment
        found["gates.png"] = functools.partial(gate_masses, title, of_gates)
    return found
