"""Trains a short run of equal weighting with diagnostics, and judges it."""

import dataclasses
import pathlib
from collections.abc import Callable, Collection

from mtopt.errors import UserError

from ..common.config import Config
from ..common.runner import Training, step_costs, train_all
from .findings import Findings, read_findings

METHOD = "equal_weighting"
ALL_GRADIENTS = "upgrad"
"""What stands for the cost of a step that takes the gradients of all tasks."""
STEPS = 200
DIAGNOSED = 20
"""So many of them are diagnosed, and ten times as many losses are recorded: a task may
learn most of what it learns in the first few."""


def short(config: Config, told: Collection[str] = ()) -> Config:
    """The configuration of a short run with diagnostics.

    Args:
      config: of the experiment.
      told: the fields that keep their values.
    """
    steps = config.steps if "steps" in told else STEPS
    fields = {
        "steps": steps,
        "seeds": config.seeds[:1],
        "diagnose_every": max(1, steps // DIAGNOSED),
        "log_every": max(1, steps // (10 * DIAGNOSED)),
        "eval_every": max(1, steps // 5),
        "checkpoint_every": steps,
        "paired": 0,
    }
    own = {name: value for name, value in fields.items() if name not in told}
    return dataclasses.replace(config, methods=(METHOD,), **own)


def prepare(
    config: Config, experiment: str, data_dir: pathlib.Path | None
) -> Callable[[pathlib.Path], Findings]:
    """Checks and builds all, without touching a file.

    Args:
      config: as :func:`short` returns it.
      experiment: its name.
      data_dir: the folder of data sets.

    Returns:
      What trains in a folder, and says what was found.

    Raises:
      UserError: for anything that can't be run, or a single task.
    """
    config.check()
    if not config.diagnose_every:
        raise UserError(
            "diagnose_every is 0: expected at least 1, there is no diagnosis"
        )
    both = dataclasses.replace(config, methods=(METHOD, ALL_GRADIENTS))
    training = Training.of(both, data_dir)
    if len(training.dataset.tasks) < 2:
        raise UserError(f"{config.data} has one task: there is nothing to balance")

    def find(folder: pathlib.Path) -> Findings:
        costs = step_costs(training._replace(baselines=[]))
        ratio = costs[ALL_GRADIENTS].flops / costs[METHOD].flops
        shown = training._replace(methods=training.methods[:1])
        parts = train_all(shown, config, experiment, folder)
        gone = [note for part in parts for note in part.methods[0].notes]
        if gone:
            raise UserError(
                f"{gone[0]}: expected finite numbers; lower the learning rate, or clip "
                "the gradient, before anything is balanced"
            )
        alone = [run.text for run in training.baselines]
        return read_findings(folder, METHOD, alone, parts, ratio)

    return find
