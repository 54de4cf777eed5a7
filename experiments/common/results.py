"""What a comparison of methods holds: plain arrays, no run folder, no model."""

import dataclasses

import numpy as np

from mtopt.errors import UserError


@dataclasses.dataclass(frozen=True)
class MethodResult:
    """What one method reached, over all its seeds; nan where it has no number.

    Attributes:
      name: the name in the table and the legends.
      metrics: test metrics ``[seeds, K, M]``; the first of the M is the primary one.
      curves: ``"step"``, ``[T]``, and ``"validation"``, the primary metric on
        validation data, ``[seeds, T, K]``. Empty for a method that has no steps.
      notes: what is to be said of it beside the numbers, a line each.
      seeds: of the first axis of the arrays; 0, 1 and so on unless given.
      chosen_steps: the step whose model was tested, ``[seeds]``, of models that are
        chosen task by task ``[seeds, K]``; None where none was chosen.
      seconds_per_step: what a step took, of all models that are trained at once; nan
        where it was not measured.
      step_bytes: the memory of its compiled step, for all models that are trained at
        once, on one device, beside the data set; nan where it is not known.
    """

    name: str
    metrics: np.ndarray
    curves: dict[str, np.ndarray]
    notes: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    chosen_steps: np.ndarray | None = None
    seconds_per_step: float = float("nan")
    step_bytes: float = float("nan")

    def __post_init__(self) -> None:
        if not self.seeds:
            object.__setattr__(self, "seeds", tuple(range(len(self.metrics))))
        if len(self.seeds) != len(self.metrics):
            raise UserError(
                f"{self.name!r} has {len(self.seeds)} seeds and metrics of "
                f"{len(self.metrics)}; give the seed of each"
            )

    @property
    def lost(self) -> np.ndarray:
        """Seeds without a single number, as those that diverged, bool ``[seeds]``."""
        return np.asarray(np.isnan(self.metrics).all(axis=(1, 2)))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Methods trained on the same K tasks and measured by the same M metrics.

    Attributes:
      experiment: the name of the experiment, for titles.
      task_names: the K tasks in the order of the arrays.
      metric_names: the M metrics, the primary one first.
      higher_is_better: the direction of each of the M metrics.
      baseline: the single-task runs, one model a task; None if there are none.
      methods: the methods, in the order of the table and of the colours.
      units: what the primary metric of each task is divided by, ``[K]``, where tasks
        are averaged or stand on one axis: the deviations of targets whose units may
        differ. None where they can be compared as they are.
      group: what to call the tasks where the experiment has others of other kinds.
      protocol: how the models were trained, chosen and tested, a line a protocol.
      measured_on: what the metrics are of, for titles: test data, or other rows.
    """

    experiment: str
    task_names: tuple[str, ...]
    metric_names: tuple[str, ...]
    higher_is_better: tuple[bool, ...]
    baseline: MethodResult | None
    methods: list[MethodResult]
    units: np.ndarray | None = None
    group: str = ""
    protocol: tuple[str, ...] = ()
    measured_on: str = "test"

    def __post_init__(self) -> None:
        tasks, number = len(self.task_names), len(self.metric_names)
        if len(self.higher_is_better) != number:
            raise UserError(
                f"higher_is_better has {len(self.higher_is_better)} entries for "
                f"{number} metrics; give one bool per metric"
            )
        for result in self.results:
            shape = result.metrics.shape
            if len(shape) != 3 or shape[1:] != (tasks, number) or not shape[0]:
                raise UserError(
                    f"metrics of {result.name!r} have shape {shape}; "
                    f"expected [seeds, {tasks} tasks, {number} metrics]"
                )
            if not result.curves:
                continue
            steps = len(result.curves["step"])
            shape = result.curves["validation"].shape
            if len(shape) != 3 or shape[1:] != (steps, tasks) or not shape[0]:
                raise UserError(
                    f"validation curves of {result.name!r} have shape {shape}; "
                    f"expected [seeds, {steps} steps, {tasks} tasks]"
                )

    def comparable(self, primary: np.ndarray) -> np.ndarray:
        """The primary metric of the tasks ``[..., K]``, in units to average it in."""
        return primary if self.units is None else primary / self.units

    @property
    def comparable_name(self) -> str:
        """What that is, for an axis."""
        over = "" if self.units is None else " / deviation"
        return self.metric_names[0] + over

    @property
    def results(self) -> list[MethodResult]:
        """The rows of the table: the single-task models, then the methods."""
        return [*([self.baseline] if self.baseline else []), *self.methods]


def title(comparison: Comparison) -> str:
    """What is shown: experiment, metric, direction, seeds."""
    direction = "higher" if comparison.higher_is_better[0] else "lower"
    what = f"{comparison.measured_on} {comparison.metric_names[0]}"
    metric = f"{what} ({direction} is better)"
    seeds = seed_count(comparison)
    spread = "" if seeds == "1 seed" else "mean ± standard deviation over "
    return f"{name(comparison)}: {metric}, {spread}{seeds}"


def name(comparison: Comparison) -> str:
    """What is compared: the experiment, and which of its groups of tasks."""
    return ", ".join(filter(None, (comparison.experiment, comparison.group)))


def seed_count(comparison: Comparison) -> str:
    """How many seeds the rows have, such as ``3 seeds`` or ``1 to 3 seeds``."""
    numbers = [len(result.metrics) for result in comparison.results]
    bounds = sorted({min(numbers), max(numbers)})
    return " to ".join(map(str, bounds)) + (" seed" if bounds == [1] else " seeds")


def tasks_measured(rows: list[np.ndarray]) -> np.ndarray:
    """Which tasks, the last axis, a mean of tasks is over.

    A task that no row has a number for is left out. One that only some rows lack is
    not: their means would not be comparable, and are nan.
    """
    tasks = [~np.isnan(row).all(axis=tuple(range(row.ndim - 1))) for row in rows]
    some = np.any(tasks, axis=0)
    return some if some.any() else ~some
