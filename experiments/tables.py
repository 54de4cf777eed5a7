"""The table of finished runs again, for a terminal, a page, a paper or a program.

``python -m experiments.tables --run=FOLDER --format=markdown``, or ``mtopt tables``.
``--run`` may stand several times: runs of one experiment are put together.
"""

import pathlib

from absl import flags

from mtopt.errors import UserError
from mtopt.training.writer import write_text

from .common.command import command, start
from .common.comparison_sheet import TIME_REFERENCE, comparison_sheet
from .common.paired import TUNED_WEIGHTS, find_method, paired_sheet, usual_references
from .common.places import OUT, RUN, finished_runs
from .common.results import Comparison
from .common.results_file import read_comparisons
from .common.several_runs import put_together
from .common.sheet_forms import to_csv, to_latex, to_markdown
from .common.standing import ranked
from .common.table import to_text

FORMS = {"terminal": to_text, "markdown": to_markdown, "latex": to_latex}
CSV = "csv"

flags.DEFINE_enum(
    "format",
    "terminal",
    [*FORMS, CSV],
    "The form; csv has every number of every seed in full.",
)
flags.DEFINE_multi_string(
    "against",
    None,
    "A method that all others are compared with, seed by seed; repeat it for several. "
    f"Unless given: {TIME_REFERENCE}, and the {TUNED_WEIGHTS} of a sweep, where they "
    "were run with more than one seed.",
)
flags.declare_key_flag(RUN.name)
flags.declare_key_flag(OUT.name)
FLAGS = flags.FLAGS


@command
def main(argv: list[str]) -> None:
    """Reads the runs, and writes or prints their table."""
    del argv
    runs = map(read_comparisons, finished_runs())
    text = _text(put_together(list(runs)), FLAGS.format, FLAGS.against)
    if OUT.value is None:
        print(text)
        return
    path = pathlib.Path(OUT.value)
    if not path.parent.is_dir():
        raise UserError(f"no folder {path.parent}: expected one for --out={path}")
    write_text(path, text + "\n")
    print(f"table    {path}")


def _text(parts: list[Comparison], form: str, against: list[str] | None) -> str:
    """The table, and the paired comparisons below it."""
    for name in against or ():
        find_method(parts[0], name)
    if form == CSV:
        return to_csv(parts)
    ordered = ranked(parts)
    sheets = [comparison_sheet(parts)]
    for name in usual_references(parts[0]) if against is None else against:
        sheets += [paired_sheet(part, name) for part in ordered]
    return "\n\n".join(map(FORMS[form], sheets))


if __name__ == "__main__":
    start(main)
