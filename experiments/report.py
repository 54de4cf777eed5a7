"""Writes the page of a run, ``report.html``, again from its folder alone.

``python -m experiments.report --run=FOLDER``, or ``mtopt report``. Every run ends with
it; what was added to the folder since, as pictures of an analysis, goes into the new
one.
"""

import pathlib

from absl import flags

from mtopt.errors import UserError

from .common.command import command, start
from .common.page.folder import write_page
from .common.stored_run import read_run

flags.DEFINE_string("run", None, "The folder of a run that has ended.")
FLAGS = flags.FLAGS


@command
def main(argv: list[str]) -> None:
    """Writes the page, and says where it is."""
    del argv
    if FLAGS.run is None:
        raise UserError("no --run: expected --run=FOLDER, the folder of a finished run")
    folder = pathlib.Path(FLAGS.run)
    read_run(folder)
    print(f"page     {write_page(folder)}")


if __name__ == "__main__":
    start(main)
