"""The training loop: resumable, with metric records and checkpoints."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtopt.batch import Batch
from mtopt.data.batches import Batches
from mtopt.errors import UserError
from mtopt.nonfinite import check_finite, each_model
from mtopt.step import TrainState
from mtopt.training.checkpoint import Checkpoints
from mtopt.training.clock import Clock
from mtopt.training.dispatch import MOST_STEPS, Dispatch
from mtopt.training.held import Held
from mtopt.training.processes import is_first
from mtopt.training.program import Program, StepLosses
from mtopt.training.program_memory import BYTES
from mtopt.training.tensorboard import TensorBoard
from mtopt.training.writer import MetricWriter, read_records

Progress = Callable[[int, np.ndarray], None]
Write = Callable[[dict[str, Any]], None]

PER_TASK = {
    "weights": "opt_state",
    "task_weights": "opt_state",
    "explained": "opt_state",
    "outlier_logit": "params",
}
"""Numbers of every task that training records hold, and where the state has them."""

_FOUND = {
    # Fields of states, and no option of a like name that optax injects.
    "opt_state": lambda path, _: not isinstance(path[-1], jax.tree_util.DictKey),
    "params": None,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """How long to train, and how often to write.

    Args:
      steps: optimizer steps in all.
      log_every: steps between training records; each waits for the device.
      checkpoint_every: steps between checkpoints; the last step is always one.
      steps_per_call: the most steps that one call of a compiled program takes; None for
        as many as is fast, by the rule of :class:`mtopt.training.dispatch.Dispatch`.
        Records, checkpoints and callbacks are due when they are in either case.

    Raises:
      UserError: for a number below 1.
    """

    steps: int
    log_every: int
    checkpoint_every: int
    steps_per_call: int | None = None

    def __post_init__(self) -> None:
        for field, value in dataclasses.asdict(self).items():
            if isinstance(value, int | float) and value < 1:
                raise UserError(f"{field} is {value}: expected at least 1")

    def due(self, step: int, every: int) -> bool:
        """True after ``step`` steps where something happens every so many."""
        return step % every == 0 or step == self.steps

    def until_due(self, step: int, every: Sequence[int]) -> int:
        """How many steps there are from ``step`` to the next of such events."""
        return min(self.steps - step, *(each - step % each for each in every))


class Callback(NamedTuple):
    """A function called every so many steps beside training, such as validation.

    Attributes:
      every: steps between two calls; the last step always has one.
      function: ``(step, state, carry, write) -> carry``: what it makes of the state,
        stored with it in the checkpoints; ``write`` appends a metric record.
      ended: ``(state, carry) -> bool`` of every model, ``[S]`` or ``[S, K]``, asked
        after each call: those that have ended stay as they are, and training ends with
        the last of them. None: they train to the end.
    """

    every: int
    function: Callable[[int, TrainState, Any, Write], Any]
    ended: Callable[[TrainState, Any], Any] | None = None


class Measurement(NamedTuple):
    """What is measured of every so many steps, beside them, for their records.

    Attributes:
      every: steps from one to the next; the last step always is one. A training record
        is due there, too.
      function: ``(state, batch) -> {name: [S] or [S, K, ...]}`` before the step, such
        as ``Program.measure``. In place of an array, ``{name: bool [S]}``: of that, the
        names of what is true are recorded.
    """

    every: int
    function: Callable[[TrainState, Batch], Mapping[str, Any]]


def train(
    program: Program,
    batches: Callable[[int], Iterator[Batch]],
    options: LoopOptions,
    folder: pathlib.Path,
    *,
    tasks: Sequence[str],
    seeds: Sequence[int],
    names: Sequence[str] | None = None,
    init_carry: Callable[[TrainState], Any] = lambda state: (),
    callback: Callback | None = None,
    finish: Callable[[TrainState, Any, Write], None] | None = None,
    measure: Measurement | None = None,
    tensorboard: bool = False,
    belongs_to: Mapping[str, str] = MappingProxyType({}),
    progress: Progress = lambda step, losses: None,
) -> tuple[TrainState, Any]:
    """Trains S seeds side by side.

    The folder gets ``metrics.jsonl`` and ``checkpoints/``. Where it already holds a
    checkpoint of this run, training continues from it, with the same batches, keys and
    arithmetic as a run that was never interrupted: the final parameters are equal bit
    for bit.

    Args:
      program: what to run; see :func:`mtopt.training.program.shared_program`.
      batches: ``steps done -> iterator`` over the batches ``[S, ...]`` that follow;
        where it is a :class:`mtopt.data.batches.Batches`, many steps go in one call.
      options: how long.
      folder: where the files go.
      tasks: the names of the K tasks, sorted.
      seeds: one seed per model; it decides the initial parameters and the noise in the
        step.
      names: of the S models, for errors; ``seed 0`` and so on unless given.
      init_carry: ``state -> tree``: the carry that belongs to the first state; nothing
        unless given.
      callback: what happens beside training.
      finish: ``(state, carry, write)``: what happens after it, the records still open.
      measure: more numbers to write into records.
      tensorboard: also write the records as TensorBoard events.
      belongs_to: what the run is of, name to text, such as the fingerprint of its data;
        checkpoints of another are refused.
      progress: called with the step and the mean losses ``[K]`` at every training
        record, NaN for a task without a label in the batch; before the first step, all
        are NaN.

    Returns:
      The state after the last step, and the carry.

    Raises:
      UserError: where a loss is no longer finite (or, of a guarded step, anything), or
        a checkpoint does not fit. Not where the guard stops models one by one: training
        then ends with the last of them.
    """
    names = names or [f"seed {seed}" for seed in seeds]
    folder.mkdir(parents=True, exist_ok=True)
    with Checkpoints(folder / "checkpoints", belongs_to=belongs_to) as checkpoints:
        state, carry = resume(program, seeds, checkpoints, init_carry)
        start = _position(state)
        held = Held(_never if callback is None else callback.ended or _never)
        held.look(state, carry)
        progress(start, np.full(len(tasks), np.nan))
        mirror = TensorBoard(folder) if tensorboard and is_first() else None
        with MetricWriter(
            folder / "metrics.jsonl", resume_from=start, mirror=mirror
        ) as writer:
            clock = Clock(start)
            step, measured = start, {}

            def record(step: int, state: TrainState, found: StepLosses) -> None:
                losses = _checked(program, state, found, step, tasks, names)
                numbers = measured | _numbers_per_task(state, losses.shape)
                pace = clock.rate(step), dispatch.step_bytes
                _record(writer.write, step, seeds, tasks, losses, pace, numbers)
                measured.clear()
                progress(step, _mean_of_present(losses))

            def look(state: TrainState, batch: Batch) -> None:
                assert measure is not None
                with clock.paused(state):
                    measured.update(jax.device_get(measure.function(state, batch)))

            every = [options.log_every, options.checkpoint_every]
            every += [] if callback is None else [callback.every]
            dispatch = Dispatch(
                program.step,
                _everywhere(program, batches(start)),
                min(options.steps_per_call or MOST_STEPS, *every),
                in_any_case=options.steps_per_call is not None,
            )
            while step < options.steps and not held.models.all():
                wanted, shown = options.until_due(step, every), None
                if measure is not None:
                    # The steps up to the measured one, then that one alone.
                    ahead = options.until_due(step, [measure.every])
                    wanted = min(wanted, max(1, ahead - 1))
                    shown = look if ahead == 1 else None
                state, losses, taken = dispatch.advance(state, wanted, shown)
                state, losses = held.put_back(state, losses)
                step += taken
                if step == start + 1:
                    jax.block_until_ready(losses)
                    clock = Clock(step)  # compiling is not training
                recorded = bool(measured) or options.due(step, options.log_every)
                if recorded:
                    record(step, state, losses)
                    if (stopped(program, state) | held.models).all():
                        with clock.paused(state):
                            checkpoints.save(step, (state, carry))
                        break
                if callback is not None and options.due(step, callback.every):
                    with clock.paused(state):
                        carry = callback.function(step, state, carry, writer.write)
                        held.look(state, carry)
                last = held.models.all()
                if last and not recorded:
                    record(step, state, losses)
                if last or options.due(step, options.checkpoint_every):
                    with clock.paused(state):
                        checkpoints.save(step, (state, carry))
            if finish is not None:
                finish(state, carry, writer.write)
    return state, carry


def read_per_task(folder: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    """The curve of one per-task number from the training records of a run.

    Args:
      folder: of the run.
      name: an entry of :data:`PER_TASK`, ``loss``, or what the run measured.

    Returns:
      ``step [T]``, ``values [S, T, K, ...]`` and the names of the ``tasks [K]``; of a
      number that the run has not, none.
    """
    found = _curve(folder, name)
    tasks = [list(record) for seed in found["values"] for record in seed]
    values = [[list(each.values()) for each in own] for own in found["values"]]
    return {
        "tasks": np.array(tasks[-1] if tasks else [], str),
        "step": found["step"],
        "values": np.array(values, np.float64),
    }


def read_per_model(folder: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    """The curve of one number of each model from the training records of a run.

    Args:
      folder: of the run.
      name: what the run measured, such as ``condition``.

    Returns:
      ``step [T]`` and ``values [S, T]``; nan where it was infinite.
    """
    found = _curve(folder, name)
    return found | {"values": np.array(found["values"], np.float64)}


def read_seconds_per_step(folder: pathlib.Path) -> float:
    """What a step of a run took, of all models at once: the median of its records.

    The first one is left out: what is compiled late falls into it.

    Args:
      folder: of the run.

    Returns:
      Seconds; nan for a run of a single record.
    """
    rates = {
        record["step"]: record["steps_per_second"]
        for record in read_records(folder / "metrics.jsonl")
        if record.get("steps_per_second")
    }
    later = [rates[step] for step in sorted(rates)[1:]]
    return float(1 / np.median(later)) if later else float("nan")


def resume(
    program: Program,
    seeds: Sequence[int],
    checkpoints: Checkpoints,
    init_carry: Callable[[TrainState], Any],
) -> tuple[TrainState, Any]:
    """The latest state and carry from the checkpoints, or the initial ones.

    Args:
      program: what runs.
      seeds: one per model.
      checkpoints: those of the run, which may be none.
      init_carry: what :func:`train` was given.

    Raises:
      UserError: where the last one does not fit the program.
    """
    state = program.init(jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32)))
    first = state, init_carry(state)
    if checkpoints.latest is None:
        return first
    return checkpoints.load(checkpoints.latest, first)


def stopped(program: Program, state: TrainState) -> np.ndarray:
    """Which models of a guarded program take no more steps, ``[S]`` or ``[S, K]``."""
    noticed = np.asarray(state.nonfinite.first) >= 0
    return noticed if program.on_nonfinite == "stop" else np.zeros_like(noticed)


def _everywhere(program: Program, batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches, made of samples that all devices have where the program has some."""
    if not isinstance(batches, Batches):
        return batches
    common = program.everywhere(batches.common)
    return Batches(batches.make, common, batches.parts)


def _never(state: TrainState, carry: Any) -> np.ndarray:
    """No model ends before the others."""
    return np.zeros(np.shape(state.step), bool)


def _position(state: TrainState) -> int:
    """How many batches the run has drawn, those without a step among them.

    Models that have ended before the others stand still.
    """
    return int(np.max(state.step + state.nonfinite.skipped))


def _checked(
    program: Program,
    state: TrainState,
    found: StepLosses,
    step: int,
    tasks: Sequence[str],
    names: Sequence[str],
) -> np.ndarray:
    """The losses, NaN where a task has none; raises where the run is to stop."""
    losses, present = np.asarray(found.values), np.asarray(found.present)
    _check_finite(program, state, np.where(present, losses, 0), step, tasks, names)
    return np.where(present, losses, np.nan)


def _mean_of_present(losses: np.ndarray) -> np.ndarray:
    """The mean over seeds of the losses that there are, ``[K]``."""
    there = ~np.isnan(losses)
    total = np.where(there, losses, 0).sum(axis=0)
    return np.where(there.any(axis=0), total / np.maximum(there.sum(axis=0), 1), np.nan)


def _check_finite(
    program: Program,
    state: TrainState,
    losses: np.ndarray,
    step: int,
    tasks: Sequence[str],
    names: Sequence[str],
) -> None:
    """Raises where the run is to stop, naming the batch if the step was guarded."""
    if program.on_nonfinite == "raise":
        found = state.nonfinite
        per_model = len(np.ravel(found.skipped)) // len(names)
        for i, own in enumerate(each_model(found)):
            mine = tasks if per_model == 1 else tasks[i % per_model :][:1]
            check_finite(own, mine, names[i // per_model])
    elif program.on_nonfinite is None and not np.isfinite(losses).all():
        model, task = np.argwhere(~np.isfinite(losses))[0]
        raise UserError(
            f"the loss of task {tasks[task]!r} is {losses[model, task]} at step {step} "
            f"({names[model]}): lower the learning rate, or clip the gradient"
        )


def _curve(folder: pathlib.Path, name: str) -> dict[str, Any]:
    """The steps ``[T]`` of one entry of the training records, and it, by seed."""
    values, steps = {}, []
    for record in read_records(folder / "metrics.jsonl"):
        if name in record and record["split"] == "train":
            values.setdefault(record["seed"], []).append(record[name])
            steps.append(record["step"])
    return {"step": np.unique(steps), "values": list(values.values())}


def _numbers_per_task(
    state: TrainState, shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """The numbers of :data:`PER_TASK` that there are, and counts that are not 0."""
    found = {
        name: optax.tree.get(getattr(state, place), name, None, filtering=_FOUND[place])
        for name, place in PER_TASK.items()
    }
    counted = {
        "nonfinite_batches": state.nonfinite.batches,
        "stationary_steps": state.stationary.steps,
    }
    for name, values in counted.items():
        if np.any(values):
            found[name] = np.asarray(values).reshape(shape)
    return {
        name: np.asarray(values)
        for name, values in found.items()
        if values is not None and values.shape == shape
    }


def _record(
    write: Write,
    step: int,
    seeds: Sequence[int],
    tasks: Sequence[str],
    losses: np.ndarray,
    pace: tuple[float | None, int | None],
    numbers: Mapping[str, Any],
) -> None:
    for s, seed in enumerate(seeds):
        record = {"step": step, "seed": seed, "split": "train"}
        for name, values in {"loss": losses, **numbers}.items():
            if isinstance(values, Mapping):
                record[name] = [each for each, true in values.items() if true[s]]
                continue
            own = values[s].tolist()
            of_tasks = values.ndim > 1
            record[name] = dict(zip(tasks, own, strict=True)) if of_tasks else own
        write(record | dict(zip(("steps_per_second", BYTES), pace, strict=True)))
