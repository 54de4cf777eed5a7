"""Trains every form on every number of digits, seed after seed."""

import functools
import pathlib
import time

import jax.numpy as jnp
import numpy as np
from flax import nnx

import mtopt
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.errors import UserError
from mtopt.models import Model, functional
from mtopt.models.heads import linear_head
from mtopt.models.mlp import MLP
from mtopt.pretext import joint_labels, rotations
from mtopt.training.program import Program, shared_program

from ..common.data_record import record_datasets
from ..common.experiment import Job
from ..common.fitted import fitted
from ..common.report import write_report
from ..common.run_folder import run_folder
from . import report
from .config import PLAIN, Config

TASK = ("digit",)
CLASSES = 10


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and builds all that the training needs, without writing a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: not read: the digits come with scikit-learn.

    Returns:
      The job: called with a folder, it trains what is not finished there yet, and
      leaves every run, results, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration that can't be run.
    """
    del data_dir
    config.check()
    sets = {
        size: [digits(size, seed, config) for seed in config.seeds]
        for size in config.sizes
    }
    programs = {arm: _program(arm, config) for arm in config.methods}

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        record_datasets(folder, [data for one in sets.values() for data in one])
        scores = {}
        for size, data in sets.items():
            for arm, program in programs.items():
                place = folder / f"{size}-images"
                found = [
                    _accuracy(arm, program, config, one, place, seed)
                    for one, seed in zip(data, config.seeds, strict=True)
                ]
                scores[size, arm] = np.array(found)
                mean = scores[size, arm].mean()
                print(f"{size} images, {arm}: accuracy {mean:.3f}", flush=True)
        result = report.Result(experiment, config.sizes, config.methods, scores)
        write_report(
            folder,
            report.table(result),
            report.summary(result),
            {"joint_labels.png": functools.partial(report.picture, result)},
            started,
        )

    return job


def digits(size: int, seed: int, config: Config) -> Dataset:
    """So many digits to learn from, in an order of the seed.

    Validation and test digits are the last ones of that order, the same for all sizes.

    Raises:
      UserError: where there are not enough digits.
    """
    from sklearn.datasets import load_digits

    x, y = map(np.asarray, load_digits(return_X_y=True))
    held_out = config.num_valid + config.num_test
    if size + held_out > len(y):
        raise UserError(
            f"sizes, num_valid and num_test ask for {size} + {config.num_valid} + "
            f"{config.num_test} digits: expected {len(y)} at most"
        )
    images = (x.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(y))
    last = order[len(y) - held_out :]
    parts = order[:size], last[: config.num_valid], last[config.num_valid :]

    def split(part: np.ndarray) -> ArraySplit:
        labels = {TASK[0]: y[part].astype(np.int32)}
        return ArraySplit(mtopt.Batch.shared(images[part], labels), None)

    train, valid, test = map(split, parts)
    return Dataset("digits", TASK, "classification", CLASSES, None, train, valid, test)


def _program(arm: str, config: Config) -> Program:
    optimizer = config.optimizer.build(config.steps)
    tx = mtopt.chain(mtopt.equal_weighting(1), optimizer)
    return shared_program(make_model(arm, config), tx, 1)


def make_model(arm: str, config: Config) -> Model:
    """The model of an entry of :data:`experiments.joint_labels.config.ARMS`."""
    hidden = (config.width, config.width)

    def encoder(rngs: nnx.Rngs) -> nnx.Module:
        return MLP(64, hidden, 0.0, dtype=jnp.float32, rngs=rngs)

    head = functools.partial(linear_head, config.width, kind="classification")
    if arm == PLAIN:
        return functional(encoder, head(CLASSES), TASK, kind="classification")
    return joint_labels(
        encoder,
        head,
        TASK,
        outputs=CLASSES,
        transformations=rotations(4),
        form=arm,
    )


def _accuracy(
    arm: str,
    program: Program,
    config: Config,
    data: Dataset,
    place: pathlib.Path,
    seed: int,
) -> float:
    """That of the model of one seed on its test digits."""
    result = fitted(
        lambda: program,
        data,
        config.fit_options,
        run_folder(place, arm, (seed,)),
        seeds=(seed,),
        label=arm,
        belongs_to={"the form": arm},
    )
    return float(result["test"][0, 0, 0])
