"""Runs methods on the toy problem, from all starting points at once."""

import functools
import itertools
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from mtopt.data import toy
from mtopt.data.batches import Batches
from mtopt.errors import UserError
from mtopt.training.loop import Callback, train
from mtopt.training.program import Program, StepLosses

from ..common.building import parse_methods
from ..common.experiment import Job
from ..common.progress import ProgressBar
from ..common.report import write_report
from ..common.run_folder import folder_name, read_arrays, write_arrays
from . import report
from .config import Config
from .report import Trajectories


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and builds all that the runs need, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: not used; the problem is a formula.

    Returns:
      The job: called with a folder, it runs the methods that are not finished there
      yet, and leaves trajectories, results, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration that can't be run.
    """
    del data_dir
    config.check()
    optimizer = config.optimizer.build(config.steps)
    chains = {
        text: mtopt.chain(method.build(len(toy.NAMES)), optimizer)
        for text, method in parse_methods(config.methods).items()
    }

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        path = folder / "trajectories.npz"
        points = read_arrays(path)
        for text, tx in chains.items():
            if text not in points:
                points[text] = trajectories(text, tx, config, folder)
                write_arrays(path, points)
            end = points[text][:, -1]
            count = int(report.on_front(end).sum())
            print(f"{text}: {count} of {len(end)} starts end on the front", flush=True)
        ordered = {text: points[text] for text in chains}
        result = Trajectories(experiment, config.scale, config.steps, ordered)
        write_report(
            folder,
            report.table(result),
            report.summary(result),
            {"toy.png": functools.partial(report.picture, result)},
            started,
        )

    return job


def trajectories(
    text: str,
    tx: optax.GradientTransformationExtraArgs,
    config: Config,
    folder: pathlib.Path,
) -> np.ndarray:
    """The points ``[N, T, 2]`` of one method, from all N starts at once.

    In float64, since the walls of the valley magnify rounding. What a run that was
    stopped left in the folder is taken up.
    """
    starts = toy.STARTS[config.starts]
    names = [f"{text} from {start}" for start in starts]
    count = 1 + -(-config.steps // config.log_every)

    def first(state: mtopt.TrainState) -> jax.Array:
        return jnp.zeros((len(starts), count, 2)).at[:, 0].set(state.params["shared"])

    def follow(
        step: int, state: mtopt.TrainState, points: jax.Array, _: object
    ) -> jax.Array:
        found = state.evaluated_params["shared"]
        _check_finite(np.asarray(found), names, step)
        return points.at[:, -(-step // config.log_every)].set(found)

    bar = ProgressBar(text, config.steps, toy.NAMES)
    with jax.enable_x64(True), bar:
        batch = toy.toy_batch()
        _, points = train(
            _program(tx, config),
            lambda start: Batches(_same, batch, itertools.repeat(())),
            config.loop_options,
            folder / folder_name(text),
            tasks=toy.NAMES,
            seeds=range(len(starts)),
            names=names,
            init_carry=first,
            callback=Callback(config.log_every, follow),
            progress=bar.update,
        )
        return np.asarray(points)


def _program(tx: optax.GradientTransformationExtraArgs, config: Config) -> Program:
    """A model a start: the point is all that tells one from another."""
    train_step = mtopt.make_train_step(toy.toy_tasks(config.scale), tx)

    def init(keys: jax.Array) -> mtopt.TrainState:
        del keys

        def start(point: jax.Array) -> mtopt.TrainState:
            params = toy.toy_params(point)
            return mtopt.TrainState.create(params, tx, jax.random.key(0))

        return jax.vmap(start)(jnp.array(toy.STARTS[config.starts]))

    def step(
        state: mtopt.TrainState, batch: mtopt.Batch
    ) -> tuple[mtopt.TrainState, StepLosses]:
        state, metrics = train_step(state, batch)
        return state, StepLosses.of(metrics)

    def predict(params: Any, model_state: object, x: object) -> jax.Array:
        del model_state, x
        return params["shared"]

    step = jax.jit(jax.vmap(step, in_axes=(0, None)), donate_argnums=0)
    return Program(init, step, predict, (len(toy.STARTS[config.starts]),))


def _same(batch: mtopt.Batch, part: tuple[()]) -> mtopt.Batch:
    """What every batch is made of is the batch."""
    del part
    return batch


def _check_finite(points: np.ndarray, names: list[str], step: int) -> None:
    for name, point in zip(names, points, strict=True):
        if not np.isfinite(point).all():
            raise UserError(
                f"{name} is at {tuple(point.tolist())} at step {step}: lower the "
                "learning rate, or clip the gradient"
            )
