"""The table of finished runs again, for a terminal, a page, a paper or a program.

``python -m experiments.tables --run=FOLDER --format=markdown``, or ``mtopt tables``.
"""

import pathlib

from absl import flags

from mtopt.errors import UserError
from mtopt.training.writer import write_text

from .common.command import command, start
from .common.comparison_sheet import TIME_REFERENCE, comparison_sheet
from .common.paired import find_method, paired_sheet
from .common.results import Comparison
from .common.results_file import read_comparisons
from .common.several_runs import put_together
from .common.sheet_forms import to_csv, to_latex, to_markdown
from .common.standing import ranked
from .common.table import to_text

FORMS = {"terminal": to_text, "markdown": to_markdown, "latex": to_latex}
CSV = "csv"

flags.DEFINE_multi_string(
    "run",
    None,
    "The folder of a finished run; repeat it to put runs of one experiment together.",
)
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
    f"Unless given: {TIME_REFERENCE}, where it was run with more than one seed.",
)
flags.DEFINE_string("out", None, "The file to write; unless given it is printed.")
FLAGS = flags.FLAGS


@command
def main(argv: list[str]) -> None:
    """Reads the runs, and writes or prints their table."""
    del argv
    if not FLAGS.run:
        raise UserError("no --run: expected --run=FOLDER, the folder of a finished run")
    runs = [read_comparisons(pathlib.Path(run)) for run in FLAGS.run]
    text = _text(put_together(runs), FLAGS.format, FLAGS.against)
    if FLAGS.out is None:
        print(text)
        return
    path = pathlib.Path(FLAGS.out)
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
    for name in _usual(parts[0]) if against is None else against:
        sheets += [paired_sheet(part, name) for part in ordered]
    return "\n\n".join(map(FORMS[form], sheets))


def _usual(comparison: Comparison) -> list[str]:
    """What methods are compared with where no one says."""
    return [
        method.name
        for method in comparison.methods
        if method.name == TIME_REFERENCE
        and len(method.seeds) > 1
        and len(comparison.methods) > 1
    ]


if __name__ == "__main__":
    start(main)
