"""Writes the page of a run or a sweep, ``report.html``, again from its folder alone.

``python -m experiments.report --run=FOLDER``, or ``mtopt report``. Every run ends with
it; what was added to the folder since, as pictures of an analysis, goes into the new
one.
"""

from absl import flags

from .common.command import command, start
from .common.page.folder import write_page
from .common.places import RUN, finished_run
from .common.stored_sweep import read_run_or_sweep

flags.declare_key_flag(RUN.name)


@command
def main(argv: list[str]) -> None:
    """Writes the page, and says where it is."""
    del argv
    folder = finished_run()
    read_run_or_sweep(folder)
    print(f"page     {write_page(folder)}")


if __name__ == "__main__":
    start(main)
