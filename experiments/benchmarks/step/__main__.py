"""What a step costs: mtopt beside JAX and PyTorch without it, TorchJD, and a loop.

``mtopt benchmark step``. A *cell* is a model with K tasks and a batch; a *group* is a
cell and a method, whose steps take turns, each in a process of its own:

* ``plain jax``, ``plain torch``: the gradient of the mean loss and Adam. It is the cost
  of a step that knows nothing of tasks;
* ``mtopt``: the same model by :func:`mtopt.make_train_step`;
* ``mtopt remat``, with ``--remat``: the same with the encoder under ``jax.checkpoint``,
  as ``--config.remat`` has it;
* ``autojac``, ``autogram``: TorchJD's two engines, where it has the method;
* ``one by one``: K backward passes one after another into flat vectors, and weights on
  the CPU, as LibMTL does it.

All processes are held on one core, and treat memory as a program of one's own does:
none keeps what it freed, as programs of the command line do
(``experiments.common.allocator``). Times are of the processor, which other work on the
machine hardly changes: two threads on a busy machine measure that machine. On an
accelerator they are of the wall. Read the ratios, medians over turns; they come first.
FLOPs and temporary bytes are the compiler's (the body of a loop counts once). Peak
memory is what the steps add to the process, without the compiler's own, or all of the
accelerator's; it is compared with that of the plain step of the same library.

PyTorch and TorchJD come with the extra ``bench``. The folder gets ``step.md``,
``step.json`` and ``step.png``; what another run left there stays, where this one does
not measure it anew, so that a long table can be measured in parts.
"""

import importlib.metadata
import importlib.util
import pathlib

from absl import flags

from mtopt.errors import UserError
from mtopt.grammar import MethodText
from mtopt.training.writer import write_json

from ...common.command import command, start
from . import cells, picture, results, torch_side
from .results import Group
from .turns import Worker, take_turns, workers

CELLS = flags.DEFINE_multi_string(
    "cell", list(cells.DEFAULT), "MODEL:K or MODEL:K:BATCH; repeat it."
)
METHODS = flags.DEFINE_multi_string(
    "step_method",
    [
        "equal_weighting",
        "mgda",
        "flat_regions(mgda)",
        "log_losses(rep_mtl(equal_weighting(reduction='sum')))",
        "outlier_weighted(equal_weighting)",
        "trimmed_mean",
        "graddrop",
    ],
    "A method, as text; repeat it.",
)
OUT = flags.DEFINE_string("step_out", "runs/step", "The folder to write to.")
ROUNDS = flags.DEFINE_integer("step_rounds", 7, "Turns of each step.", lower_bound=1)
SECONDS = flags.DEFINE_float(
    "turn_seconds", 0.25, "About how long a turn takes.", lower_bound=0.0
)
REMAT = flags.DEFINE_bool(
    "remat", False, "Measure mtopt's steps with a rematerialised encoder, too."
)
CORE = flags.DEFINE_integer("core", 0, "The core to hold processes on.", lower_bound=0)


@command
def main(argv: list[str]) -> None:
    """Measures, and prints each line as it is known."""
    del argv
    try:
        chosen = [cells.parse(text) for text in CELLS.value]
    except ValueError as error:
        raise UserError(str(error)) from error
    for text in METHODS.value:
        MethodText.parse(text)
    versions = installed()
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    if "torchjd" not in versions:
        print("without torch and torchjd (pip install 'mtopt[bench]'): JAX's columns")
    folder = pathlib.Path(OUT.value)
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(chosen, METHODS.value, versions)
    print_costs(found)
    groups = results.merged(results.load(folder / "step.json"), found)
    write_json(folder / "step.json", results.as_json(groups))
    (folder / "step.md").write_text(results.markdown(groups), encoding="utf-8")
    picture.draw(groups, folder / "step.png")
    print(f"\npicture  {folder / 'step.png'}")
    print(f"folder   {folder}")


def installed() -> dict[str, str]:
    """The versions of the libraries that take part: torch's, if TorchJD is there."""
    both = all(importlib.util.find_spec(name) for name in ("torch", "torchjd"))
    names = ("jax", "torch", "torchjd") if both else ("jax",)
    return {name: importlib.metadata.version(name) for name in names}


def measure(
    chosen: list[cells.Cell], methods: list[str], versions: dict[str, str]
) -> list[Group]:
    """All groups; prints the ratios of each.

    Args:
      chosen: the cells.
      methods: as text.
      versions: of the libraries that take part.
    """
    widths = [max(9, len(what)) for what in results.RATIOS]
    label = 2 + max(map(len, methods))
    heads = "".join(f"  {w:>{n}}" for w, n in zip(results.RATIOS, widths, strict=True))
    found, others = [], "torchjd" in versions
    for cell in chosen:
        print(f"\n{f'{cell}':<{label}}{heads}", flush=True)
        plain = ("plain jax", *(["plain torch"] if others else []))
        with workers(cell, plain, "", CORE.value) as at_hand:
            for method in methods:
                group = one_group(cell, method, at_hand, versions)
                found.append(group)
                texts = zip(results.ratios(group), widths, strict=True)
                line = "".join(f"  {text:>{width}}" for text, width in texts)
                print(f"{method:<{label}}{line}", flush=True)
                for column, error in group.errors.items():
                    print(f"  {column}: {error[:200]}", flush=True)
    return found


def one_group(
    cell: cells.Cell,
    method: str,
    plain: dict[str, Worker],
    versions: dict[str, str],
) -> Group:
    """The steps of one cell and method, and the plain ones in the same turns."""
    theirs = torch_side.columns(method) if "torchjd" in versions else ()
    again = ("mtopt remat",) if REMAT.value else ()
    columns = ("mtopt", *again, *theirs)
    with workers(cell, columns, method, CORE.value) as own:
        costs, errors = take_turns(plain | own, ROUNDS.value, SECONDS.value)
    device = plain["plain jax"].built.get("device", "")
    return Group(cell, method, costs, errors, versions, device)


def print_costs(groups: list[Group]) -> None:
    """The second table: what the ratios are of."""
    label = max(len(f"{g.cell}  {g.method}") for g in groups)
    heads = "".join(f"  {what:>9}" for what in results.COSTS)
    print(f"\n{'':<{label}}  {'step':<11}{heads}")
    for group in groups:
        for column, *texts in results.costs(group):
            pairs = zip(texts, results.COSTS, strict=True)
            line = "".join(f"  {text:>{max(9, len(what))}}" for text, what in pairs)
            print(f"{f'{group.cell}  {group.method}':<{label}}  {column:<11}{line}")


if __name__ == "__main__":
    start(main)
