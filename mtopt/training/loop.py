"""The training loop: steps, validation, checkpoints, and the model it chooses."""

import contextlib
import dataclasses
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mtopt.data.dataset import Dataset
from mtopt.errors import UserError
from mtopt.metrics import METRICS
from mtopt.step import TrainState
from mtopt.training.checkpoint import Checkpoints
from mtopt.training.evaluate import Scores, evaluate
from mtopt.training.program import Program
from mtopt.training.tensorboard import TensorBoard
from mtopt.training.writer import MetricWriter, read_records, write_json

Progress = Callable[[int, np.ndarray], None]

PER_TASK = {
    "weights": "opt_state",
    "task_weights": "opt_state",
    "outlier_logits": "opt_state",
    "outlier_logit": "params",
}
"""Numbers of every task that training records hold, and where the state has them."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train, and how often to look.

    Args:
      steps: optimizer steps in all.
      batch_size: samples per step (per task and step, if inputs are disjoint).
      eval_every: steps between validations; the last step is always one.
      log_every: steps between training records; each waits for the device.
      checkpoint_every: steps between checkpoints; the last step is always one.

    Raises:
      UserError: for a number below 1.
    """

    steps: int
    batch_size: int
    eval_every: int
    log_every: int
    checkpoint_every: int

    def __post_init__(self):
        for field, value in dataclasses.asdict(self).items():
            if value < 1:
                raise UserError(f"{field} is {value}: expected at least 1")

    def due(self, step: int, every: int) -> bool:
        """True after ``step`` steps where something happens every so many."""
        return step % every == 0 or step == self.steps


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Chosen:
    """The best model so far on validation data, per seed (and task, if separate)."""

    score: Any
    step: Any
    params: Any
    model_state: Any

    def update(self, score: Any, state: TrainState) -> "Chosen":
        """Replaces the models whose validation score is higher than before."""
        better = score > self.score

        def pick(new, old):
            where = better.reshape(better.shape + (1,) * (new.ndim - better.ndim))
            return jnp.where(where, new, old)

        fresh = (state.step, state.params, state.model_state)
        kept = (self.step, self.params, self.model_state)
        return Chosen(
            jnp.where(better, score, self.score), *jax.tree.map(pick, fresh, kept)
        )


@dataclasses.dataclass(frozen=True)
class Fit:
    """What a training run leaves behind, for S seeds.

    Attributes:
      state: the state after the last step.
      chosen: the model of the step that was best on validation data.
      test: its scores on the test split.
    """

    state: TrainState
    chosen: Chosen
    test: Scores


def fit(
    program: Program,
    dataset: Dataset,
    schedule: Schedule,
    folder: pathlib.Path,
    *,
    seeds: Sequence[int],
    tensorboard: bool = False,
    progress: Progress = lambda step, losses: None,
) -> Fit:
    """Trains S seeds, chooses each one's model on validation, tests it once.

    The folder gets ``metrics.jsonl``, ``checkpoints/`` and, at the end,
    ``result.json``. Where it already holds a checkpoint of this run, training
    continues from it, with the same batches, keys and arithmetic as a run that was
    never interrupted: the final parameters are equal bit for bit.

    Args:
      program: what to run; see :func:`shared_program` and :func:`separate_program`.
      dataset: what on.
      schedule: how long.
      folder: where the files go.
      seeds: one seed per model; it decides the initial parameters, the order of the
        samples and the noise in the step.
      tensorboard: also write the records as TensorBoard events.
      progress: called with the step and the mean losses ``[K]`` at every training
        record; before the first step, with losses that are NaN.

    Raises:
      UserError: where a loss is no longer finite, or a checkpoint does not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    update = jax.jit(Chosen.update, donate_argnums=0)
    with Checkpoints(folder / "checkpoints") as checkpoints:
        state, chosen = resume(program, seeds, checkpoints)
        start = int(np.ravel(state.step)[0])
        progress(start, np.full(len(dataset.tasks), np.nan))
        mirror = TensorBoard(folder) if tensorboard else None
        with MetricWriter(
            folder / "metrics.jsonl", resume_from=start, mirror=mirror
        ) as writer:
            batches = dataset.train.batches(
                schedule.batch_size, seeds=seeds, start=start
            )
            clock = _Clock(start)
            for step in range(start + 1, schedule.steps + 1):
                state, losses = program.step(state, next(batches))
                if step == start + 1:
                    jax.block_until_ready(losses)
                    clock = _Clock(step)  # compiling is not training
                if schedule.due(step, schedule.log_every):
                    losses = _checked(np.asarray(losses), step, dataset.tasks, seeds)
                    rate = clock.rate(step)
                    _record_losses(writer, step, seeds, dataset, losses, state, rate)
                    progress(step, losses.mean(axis=0))
                if schedule.due(step, schedule.eval_every):
                    with clock.paused(state):
                        scores = evaluate(
                            program,
                            state.params,
                            state.model_state,
                            dataset,
                            dataset.valid,
                        )
                        _record_scores(writer, "valid", step, seeds, dataset, scores)
                        chosen = update(chosen, _score(scores, program), state)
                if schedule.due(step, schedule.checkpoint_every):
                    with clock.paused(state):
                        checkpoints.save(step, (state, chosen))
            test = evaluate(
                program, chosen.params, chosen.model_state, dataset, dataset.test
            )
            _record_scores(writer, "test", schedule.steps, seeds, dataset, test)
    write_json(
        folder / "result.json",
        {
            "seeds": list(seeds),
            "tasks": list(dataset.tasks),
            "metrics": [metric.name for metric in METRICS[dataset.kind]],
            "test": test.metrics,
            "pooled_test": test.pooled,
            "chosen_step": np.asarray(chosen.step),
        },
    )
    return Fit(state, chosen, test)


def read_result(folder: pathlib.Path) -> dict[str, np.ndarray] | None:
    """The arrays of a finished run, None where there is none yet.

    Returns:
      ``test [S, K, M]`` and ``pooled [S, M]``; ``step [T]`` and ``validation
      [S, T, K]``, the primary metric on validation data.
    """
    if not (folder / "result.json").exists():
        return None
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    primary = result["metrics"][0]
    curves = {seed: [] for seed in result["seeds"]}
    steps = []
    for record in read_records(folder / "metrics.jsonl"):
        if record["split"] == "valid":
            curves[record["seed"]].append(list(record[primary].values()))
            steps.append(record["step"])
    return {
        "test": np.array(result["test"], np.float64),
        "pooled": np.array(result["pooled_test"], np.float64),
        "step": np.unique(steps),
        "validation": np.array(list(curves.values()), np.float64),
    }


def read_per_task(folder: pathlib.Path, name: str) -> dict[str, np.ndarray]:
    """What the training records of a run hold of one number per task.

    Args:
      folder: of the run.
      name: an entry of :data:`PER_TASK`, or ``loss``.

    Returns:
      ``step [T]`` and ``values [S, T, K]``; of a number that the run has not, none.
    """
    values, steps = {}, []
    for record in read_records(folder / "metrics.jsonl"):
        if name in record and record["split"] == "train":
            values.setdefault(record["seed"], []).append(list(record[name].values()))
            steps.append(record["step"])
    return {
        "step": np.unique(steps),
        "values": np.array(list(values.values()), np.float64),
    }


def resume(
    program: Program, seeds: Sequence[int], checkpoints: Checkpoints
) -> tuple[TrainState, Chosen]:
    """The state of a run and its model of choice: its last ones, or the first.

    Args:
      program: what runs.
      seeds: one per model.
      checkpoints: those of the run, which may be none.

    Raises:
      UserError: where the last one does not fit the program.
    """
    state, chosen = _start(program, seeds)
    if checkpoints.latest is None:
        return state, chosen
    return checkpoints.load(checkpoints.latest, (state, chosen))


def _start(program: Program, seeds: Sequence[int]) -> tuple[TrainState, Chosen]:
    state = program.init(jax.vmap(jax.random.key)(jnp.array(seeds, jnp.uint32)))
    nothing = jax.tree.map(jnp.copy, (state.step, state.params, state.model_state))
    score = jnp.full(program.models, -jnp.inf, jnp.float32)
    return state, Chosen(score, *nothing)


def _score(scores: Scores, program: Program) -> jax.Array:
    """Validation scores per model: [S, K] if tasks are apart, their mean if not."""
    defined = np.ma.masked_invalid(scores.selection)
    if len(program.models) == 1:
        defined = defined.mean(axis=1)
    # A model without a single defined score is as good as any other: 0.
    return jnp.asarray(np.ma.filled(defined, 0.0), jnp.float32)


def _checked(losses: np.ndarray, step: int, tasks: Sequence[str], seeds: Sequence[int]):
    if not np.isfinite(losses).all():
        seed, task = np.argwhere(~np.isfinite(losses))[0]
        raise UserError(
            f"the loss of task {tasks[task]!r} is {losses[seed, task]} at step {step} "
            f"(seed {seeds[seed]}): lower the learning rate, or clip the gradient"
        )
    return losses


def _record_losses(writer, step, seeds, dataset, losses, state, rate):
    found = {
        name: optax.tree.get(getattr(state, place), name, default=None)
        for name, place in PER_TASK.items()
    }
    for s, seed in enumerate(seeds):
        record = {
            "step": step,
            "seed": seed,
            "split": "train",
            "loss": dict(zip(dataset.tasks, losses[s].tolist(), strict=True)),
            "steps_per_second": rate,
        }
        for name, values in found.items():
            if values is not None and values.shape == losses.shape:
                own = np.asarray(values[s]).tolist()
                record[name] = dict(zip(dataset.tasks, own, strict=True))
        writer.write(record)


def _record_scores(writer, split, step, seeds, dataset, scores):
    for s, seed in enumerate(seeds):
        record = {"step": step, "seed": seed, "split": split}
        for m, metric in enumerate(METRICS[dataset.kind]):
            values = scores.metrics[s, :, m].tolist()
            record[metric.name] = dict(zip(dataset.tasks, values, strict=True))
            record[f"pooled_{metric.name}"] = float(scores.pooled[s, m])
        writer.write(record)


class _Clock:
    """Steps per second of training alone: evaluation and checkpoints do not count."""

    def __init__(self, step: int):
        self._step = step
        self._since = time.perf_counter()

    def rate(self, step: int) -> float | None:
        """Steps per second since the last call; None where there was no step."""
        now = time.perf_counter()
        steps, seconds = step - self._step, now - self._since
        self._step, self._since = step, now
        return round(steps / seconds, 1) if steps else None

    @contextlib.contextmanager
    def paused(self, state: TrainState) -> Iterator[None]:
        """Leaves out what is done inside, once the steps before it are done."""
        jax.block_until_ready(state)
        begin = time.perf_counter()
        yield
        self._since += time.perf_counter() - begin
