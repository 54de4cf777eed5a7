"""Supervised runs: training, validation, and the model it chooses, tested once."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError
from mtopt.metrics import mean_and_spread
from mtopt.step import TrainState
from mtopt.training.checkpoint import Checkpoints
from mtopt.training.criterion import criterion
from mtopt.training.divergence import Diverged, diverged, without_diverged
from mtopt.training.evaluate import (
    Scores,
    evaluate,
    metric_tasks,
    primary_metrics,
)
from mtopt.training.last_looks import SPLIT as TEST_LOOK
from mtopt.training.last_looks import last_looks, mean_of_looks
from mtopt.training.loop import (
    Callback,
    LoopOptions,
    Measurement,
    Progress,
    Write,
    resume,
    stopped,
    train,
)
from mtopt.training.model_fits import check_fits
from mtopt.training.parameters import CHOSEN_MODELS, write_parameters
from mtopt.training.processes import wait_for_all
from mtopt.training.program import Program
from mtopt.training.writer import read_records, write_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitOptions(LoopOptions):
    """The :class:`mtopt.training.loop.LoopOptions` of training on a data set.

    Args:
      steps: optimizer steps in all.
      log_every: steps between training records.
      checkpoint_every: steps between checkpoints.
      steps_per_call: the most steps of one call; None for as many as is fast.
      batch_size: samples per step (per task and step, if inputs are disjoint).
      eval_every: steps between validations; the last step is always one.
      choose_by: what models are chosen by on validation data: a task or a metric, as
        :func:`mtopt.training.criterion.criterion`; empty for the mean of each task's
        first metric.
      patience: validations without a better model, in a row, after which a model takes
        no more steps; None for never. Steps that a guard skipped do not count.
      test_looks: so many of the last validations look at the test split, too, and test
        scores are the means of those looks, as in tables of benchmarks without a
        validation split. None: the chosen model is tested, once.

    Raises:
      UserError: for a number below 1, more looks than there are, or looks and patience,
        which would end before them.
    """

    batch_size: int
    eval_every: int
    choose_by: str = ""
    patience: int | None = None
    test_looks: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.test_looks and self.patience:
            raise UserError(
                f"test_looks is {self.test_looks} and patience {self.patience}: "
                "expected one of them, as training that ends early has no last looks"
            )
        _ = self.tested

    @property
    def tested(self) -> tuple[int, ...]:
        """The steps at which the test split is looked at."""
        return last_looks(self.steps, self.eval_every, self.test_looks or 0)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class BestModel:
    """The best model so far on validation data, per seed (and task, if separate).

    Its parameters are the average of those of training where the chain keeps one.
    """

    score: Any
    step: Any
    params: Any
    model_state: Any

    @classmethod
    def first(cls, state: TrainState) -> "BestModel":
        """The first models, which any score replaces; copies, as steps donate."""
        models = jnp.shape(state.step)
        of_state = (state.step, state.evaluated_params, state.model_state)
        nothing = jax.tree.map(jnp.copy, of_state)
        return cls(jnp.full(models, -jnp.inf, jnp.float32), *nothing)

    def update(self, score: Any, state: TrainState) -> "BestModel":
        """Replaces the models whose validation score is higher than before."""
        better = score > self.score

        def pick(new: jax.Array, old: jax.Array) -> jax.Array:
            where = better.reshape(better.shape + (1,) * (new.ndim - better.ndim))
            return jnp.where(where, new, old)

        fresh = (state.step, state.evaluated_params, state.model_state)
        kept = (self.step, self.params, self.model_state)
        return BestModel(
            jnp.where(better, score, self.score), *jax.tree.map(pick, fresh, kept)
        )


@dataclasses.dataclass(frozen=True)
class Fit:
    """The result of a training run of S seeds.

    Attributes:
      state: the state after the last step.
      best: the model of the step that was best on validation data.
      test: its scores on the test split.
    """

    state: TrainState
    best: BestModel
    test: Scores


def fit(
    program: Program,
    dataset: Dataset | JointDataset,
    options: FitOptions,
    folder: pathlib.Path,
    *,
    seeds: Sequence[int],
    diagnose_every: int = 0,
    tensorboard: bool = False,
    belongs_to: Mapping[str, str] = MappingProxyType({}),
    progress: Progress = lambda step, losses: None,
) -> Fit:
    """Trains S seeds, chooses each one's model on validation, and tests.

    As :func:`mtopt.training.loop.train`, which see; the folder also gets
    the chosen models, ``models.safetensors``, and ``result.json`` at the end.

    Args:
      program: what to run; see :func:`mtopt.training.program.shared_program` and
        :func:`mtopt.training.program.separate_program`.
      dataset: what on.
      options: how long.
      folder: where the files go.
      seeds: one seed per model; it decides the initial parameters, the order of the
        samples and the noise in the step.
      diagnose_every: steps between diagnostics in the records, where the program
        measures them; 0: none.
      tensorboard: also write the records as TensorBoard events.
      belongs_to: what the run is of, as :func:`mtopt.training.loop.train`.
      progress: called with the step and the mean losses ``[K]`` at every training
        record; before the first step, with losses that are NaN.

    Raises:
      UserError: where the model is of other tasks than the data set, ``choose_by``
        names nothing of it, a loss is no longer finite, or a checkpoint does not fit. A
        model that the guard of a program with ``on_nonfinite="stop"`` has stopped is
        named in ``result.json``, under ``diverged``, and has no score: NaN.
    """
    if program.tasks is not None:
        check_fits(program.tasks, dataset)
    by = criterion(options.choose_by, dataset)
    update = jax.jit(BestModel.update, donate_argnums=0)

    def scores_of(model: tuple[Any, Any], state: TrainState, **on: Any) -> Scores:
        predict = functools.partial(program.predict, *model)
        return without_diverged(program, state, evaluate(predict, dataset, **on))

    def validate(
        step: int, state: TrainState, best: BestModel, write: Write
    ) -> BestModel:
        model = state.evaluated_params, state.model_state
        if step in options.tested:
            scores = scores_of(model, state, split=dataset.test)
            _record_scores(write, TEST_LOOK, step, seeds, dataset, scores)
        scores = scores_of(model, state, split=dataset.valid, by=by)
        _record_scores(write, "valid", step, seeds, dataset, scores)
        score = _score(scores, program, [by.has(task) for task in dataset.tasks])
        score = jnp.where(stopped(program, state), -jnp.inf, score)
        return update(best, score, state)

    def ended(state: TrainState, best: BestModel) -> np.ndarray:
        waited = np.asarray(state.step) - np.asarray(best.step)
        return waited >= (options.patience or np.inf) * options.eval_every

    tested = []

    def test(state: TrainState, best: BestModel, write: Write) -> None:
        if options.tested:
            wait_for_all(f"{folder} has its records")
            scores = mean_of_looks(folder, dataset, seeds, options.tested)
        else:
            chosen = best.params, best.model_state
            scores = scores_of(chosen, state, split=dataset.test)
        _record_scores(write, "test", options.steps, seeds, dataset, scores)
        tested.append(scores)
        chosen = {"params": best.params, "model_state": best.model_state}
        about = {"tasks": "\n".join(dataset.tasks), "seeds": " ".join(map(str, seeds))}
        write_parameters(folder / CHOSEN_MODELS, chosen, about)

    state, best = train(
        program,
        lambda start: dataset.train.batches(
            options.batch_size, seeds=seeds, start=start
        ),
        options,
        folder,
        tasks=dataset.tasks,
        seeds=seeds,
        init_carry=BestModel.first,
        callback=Callback(options.eval_every, validate, ended),
        finish=test,
        measure=Measurement(diagnose_every, program.measure)
        if diagnose_every and program.measure is not None
        else None,
        tensorboard=tensorboard,
        belongs_to=belongs_to,
        progress=progress,
    )
    (scores,) = tested
    write_json(
        folder / "result.json",
        {
            "steps": options.steps,
            "seeds": list(seeds),
            "tasks": list(dataset.tasks),
            "metrics": list(metric_tasks(dataset)),
            "primary": {
                task: metric.name for task, metric in primary_metrics(dataset).items()
            },
            "test": scores.metrics,
            "pooled_test": scores.pooled,
            "chosen_step": np.asarray(best.step),
            "validation_score": np.asarray(best.score),
            "diverged": [
                one._asdict() for one in diverged(program, state, dataset.tasks, seeds)
            ],
        },
    )
    wait_for_all(f"{folder} is written")
    return Fit(state, best, scores)


def read_result(folder: pathlib.Path) -> dict[str, np.ndarray] | None:
    """The arrays of a finished run, None where there is none yet.

    Returns:
      ``test [S, K, M]`` and ``pooled [S, M]``; ``step [T]`` and ``validation
      [S, T, K]``, the primary metric on validation data, NaN for a task without any;
      ``chosen_step``, that of the chosen models: ``[S]``, or ``[S, K]`` where each task
      has its own.
    """
    if not (folder / "result.json").exists():
        return None
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    primary = result["primary"]
    curves = {seed: [] for seed in result["seeds"]}
    steps = []
    for record in read_records(folder / "metrics.jsonl"):
        if record["split"] == "valid":
            curves[record["seed"]].append(
                [
                    record[primary[task]][task] if task in primary else np.nan
                    for task in result["tasks"]
                ]
            )
            steps.append(record["step"])
    return {
        "test": np.array(result["test"], np.float64),
        "pooled": np.array(result["pooled_test"], np.float64),
        "step": np.unique(steps),
        "validation": np.array(list(curves.values()), np.float64),
        "chosen_step": np.array(result["chosen_step"]),
    }


class Validation(NamedTuple):
    """What the chosen models of S seeds reached on validation data.

    Attributes:
      scores: what they were chosen by, higher is better, ``[S, K]`` where each task has
        its own model, else ``[S, 1]``; NaN for all models of a seed of which one
        diverged.
      metrics: task to metric to one value a seed.
    """

    scores: np.ndarray
    metrics: dict[str, dict[str, list[float]]]


def read_validation(folder: pathlib.Path) -> Validation:
    """That of a finished run, without a look at what its test gave.

    Args:
      folder: of the run.
    """
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    seeds, tasks = result["seeds"], result["tasks"]
    scores = np.array(result["validation_score"], np.float64).reshape(len(seeds), -1)
    scores[[seeds.index(one.seed) for one in read_diverged(folder)]] = np.nan
    steps = np.array(result["chosen_step"]).reshape(len(seeds), -1)
    steps = np.broadcast_to(steps, (len(seeds), len(tasks)))
    looks = {
        (record["seed"], record["step"]): record
        for record in read_records(folder / "metrics.jsonl")
        if record["split"] == "valid"
    }
    metrics = {task: {name: [] for name in result["metrics"]} for task in tasks}
    for s, seed in enumerate(seeds):
        for k, task in enumerate(tasks):
            look = looks.get((seed, int(steps[s, k])), {})
            for name, values in metrics[task].items():
                value = look.get(name, {}).get(task)
                values.append(np.nan if value is None else value)
    return Validation(scores, metrics)


def finished_steps(folder: pathlib.Path) -> int:
    """For how many steps a run has been trained to its end; 0 where it has not.

    A model that diverged counts as trained to the end: it takes no more steps.

    Args:
      folder: of the run.
    """
    path = folder / "result.json"
    if not path.exists():
        return 0
    return int(json.loads(path.read_text(encoding="utf-8"))["steps"])


def read_diverged(folder: pathlib.Path) -> list[Diverged]:
    """The models of a finished run that have diverged.

    Args:
      folder: of the run.
    """
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return [Diverged(**one) for one in result["diverged"]]


def restore(
    program: Program, seeds: Sequence[int], checkpoints: Checkpoints
) -> tuple[TrainState, BestModel]:
    """The latest state and best model from the checkpoints, or the first ones.

    Args:
      program: what ran.
      seeds: one per model.
      checkpoints: those of the run.

    Raises:
      UserError: where the last one does not fit the program.
    """
    return resume(program, seeds, checkpoints, BestModel.first)


def _score(scores: Scores, program: Program, part: Sequence[bool]) -> jax.Array:
    """Validation scores per model: [S, K] if tasks are apart.

    If not, the mean over those that have a part, ``[K]``, in what models are chosen by.
    """
    score = scores.selection
    if len(program.models) == 1:
        score, _ = mean_and_spread(score[:, np.array(part)], axis=1)
    # A model without a single defined score is as good as any other: 0.
    return jnp.asarray(np.where(np.isnan(score), 0, score), jnp.float32)


def _record_scores(
    write: Write,
    split: str,
    step: int,
    seeds: Sequence[int],
    dataset: Dataset | JointDataset,
    scores: Scores,
) -> None:
    for s, seed in enumerate(seeds):
        record = {"step": step, "seed": seed, "split": split}
        for m, (metric, tasks) in enumerate(metric_tasks(dataset).items()):
            values = zip(dataset.tasks, scores.metrics[s, :, m].tolist(), strict=True)
            record[metric] = {task: value for task, value in values if task in tasks}
            record[f"pooled_{metric}"] = float(scores.pooled[s, m])
        write(record)
