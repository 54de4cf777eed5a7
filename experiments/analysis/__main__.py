"""What trained models are like: sharpness, conflicts and spectra of a finished run."""

import pathlib

from absl import flags

from mtopt.training.writer import write_json

from ..common.command import command, start
from ..common.compilation_cache import keep_compiled_programs
from ..common.places import RUN, finished_run
from . import pictures
from .config import AnalysisConfig
from .report import summary, table
from .run import analyze

flags.DEFINE_float("rho", 0.05, "The radius of the ball that sharpness is measured in.")
flags.DEFINE_bool("adaptive", False, "Measure parameters in units of their own size.")
flags.DEFINE_integer("points", 21, "Points along each axis of the loss landscape.")
flags.DEFINE_integer("samples", 1024, "Test samples for sharpness and landscape.")
flags.DEFINE_integer("seed", 0, "Of the directions and the choice of samples.")
flags.declare_key_flag(RUN.name)
flags.declare_key_flag("data_dir")
flags.declare_key_flag("compilation_cache")
FLAGS = flags.FLAGS

PICTURES = {
    "landscape.png": pictures.landscape,
    "slice.png": pictures.slices,
    "alphas.png": pictures.alphas,
}


@command
def main(argv: list[str]) -> None:
    """Checks everything, then measures, then writes."""
    del argv
    folder = finished_run()
    config = AnalysisConfig(
        FLAGS.rho, FLAGS.adaptive, FLAGS.points, FLAGS.samples, FLAGS.seed
    )
    own_data = pathlib.Path(FLAGS.data_dir) if FLAGS["data_dir"].present else None
    keep_compiled_programs()
    found = analyze(folder, config, own_data)
    write_json(folder / "analysis.json", summary(found))
    for name, draw in PICTURES.items():
        draw(found, folder / name)
    print(f"\n{table(found)}\n")
    for name in PICTURES:
        print(f"picture  {folder / name}")
    print(f"numbers  {folder / 'analysis.json'}")


if __name__ == "__main__":
    start(main)
