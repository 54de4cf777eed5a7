"""Trains every method on few labels beside a reconstruction of all images."""

import functools
import pathlib
import time

import jax
import numpy as np

import mtopt
from mtopt.data import JointDataset, join, unlabelled
from mtopt.data.dataset import ArraySplit, Dataset
from mtopt.data.images.multi_digits import SHARES
from mtopt.data.images.pairs import Images, split_sources
from mtopt.errors import UserError
from mtopt.models import MODELS, JointModel
from mtopt.pretext import encoder_of, masked_reconstruction, with_pretexts
from mtopt.training.loop import read_per_task
from mtopt.training.program import Program, shared_program

from ..common.building import parse_methods
from ..common.data_record import record_datasets
from ..common.experiment import Job
from ..common.fitted import fitted
from ..common.progress import seeds_label
from ..common.report import write_report
from ..common.run_folder import run_folder
from . import report
from .config import Config

PIXELS = 64
LABEL, PRETEXT = TASKS = ("digit", "masked")


def prepare(config: Config, experiment: str, data_dir: pathlib.Path | None) -> Job:
    """Checks and builds all that the runs need, without touching a file.

    Args:
      config: what to run.
      experiment: its name, for the title.
      data_dir: not used: the digits come with scikit-learn.

    Returns:
      The job: called with a folder, it trains what is not finished there yet, and
      leaves metrics, checkpoints, results, the table and the picture in it.

    Raises:
      UserError: for anything in the configuration that can't be run.
    """
    del data_dir
    config.check()
    methods = parse_methods(config.methods)
    optimizer = config.optimizer.build(config.steps)
    model = _model(config)
    programs = {
        text: shared_program(
            model, mtopt.chain(method.build(len(TASKS)), optimizer), num_seeds=1
        )
        for text, method in methods.items()
    }
    sets = {
        count: [few_labels(count, seed) for seed in config.seeds]
        for count in config.labels
    }
    first = sets[config.labels[0]][0]
    for text, program in programs.items():
        _check_step(text, program, first, config)

    def job(folder: pathlib.Path) -> None:
        started = time.time()
        record_datasets(folder, [data for own in sets.values() for data in own])
        found = {}
        for count, own in sets.items():
            for text, program in programs.items():
                place = folder / f"{count}-labels"
                scores = _trained(text, program, own, place, config)
                found[count, text] = scores
                mean = scores.accuracy.mean()
                print(f"{count} labels, {text}: accuracy {mean:.3f}", flush=True)
        result = report.Result(experiment, found)
        write_report(
            folder,
            report.table(result),
            report.summary(result),
            {"auxiliary.png": functools.partial(report.picture, result)},
            started,
        )

    return job


def few_labels(count: int, seed: int) -> JointDataset:
    """Digits of which a few training images are labelled, beside all without labels.

    Args:
      count: of labelled training images; validation and test images all are.
      seed: of the division, 60 % training, 15 % validation and 25 % test images, and
        of which images are labelled: the first of a shuffle, so that fewer are part of
        more.

    Raises:
      UserError: for more than there are.
    """
    from sklearn.datasets import load_digits

    images, digits = map(np.asarray, load_digits(return_X_y=True))
    x = (images / 16).astype(np.float32)
    y = digits.astype(np.int32)
    rng = np.random.default_rng(seed)
    train, valid, test = split_sources(Images(x, y), SHARES, rng)
    if count > len(train):
        raise UserError(
            f"labels is {count}: expected {len(train)} training images or fewer"
        )
    train = rng.permutation(train)

    def of(index: np.ndarray) -> ArraySplit:
        return ArraySplit(mtopt.Batch.shared(x[index], {LABEL: y[index]}), None)

    held_out = of(valid), of(test)
    kind = (LABEL,), "classification", 10, None
    labelled = Dataset(f"{count} digits", *kind, of(train[:count]), *held_out)
    every = Dataset("digits", *kind, of(train), *held_out)
    return join(labelled, unlabelled(every, (PRETEXT,)))


def _model(config: Config) -> JointModel:
    """A classifier of digits whose encoder also reconstructs."""
    digits = MODELS["mlp"](
        (PIXELS,),
        names=(LABEL,),
        kind="classification",
        outputs=10,
        hidden=config.hidden,
    )
    pretext = masked_reconstruction(encoder_of(digits, (PIXELS,)), masked=config.masked)
    return with_pretexts(digits, {PRETEXT: pretext}, shared_inputs=False)


def _check_step(
    text: str, program: Program, data: JointDataset, config: Config
) -> None:
    """Raises where a method can't train a pretext on inputs of its own."""
    try:
        state = jax.eval_shape(
            program.init, jax.vmap(jax.random.key)(np.zeros(1, "u4"))
        )
        batch = next(data.train.batches(config.batch_size, seeds=(0,)))
        jax.eval_shape(program.step, state, batch)
    except UserError as error:
        raise UserError(f"{text} cannot train a pretext task: {error}") from error


def _trained(
    text: str,
    program: Program,
    sets: list[JointDataset],
    folder: pathlib.Path,
    config: Config,
) -> report.Scores:
    """One method on every seed's data: what is finished is read."""
    accuracy, reconstruction = [], []
    for seed, data in zip(config.seeds, sets, strict=True):
        place = run_folder(folder, text, (seed,))
        result = fitted(
            lambda: program,
            data,
            config.fit_options,
            place,
            seeds=(seed,),
            label=seeds_label(text, (seed,)),
            belongs_to={"the method": text, "the data": data.name},
        )
        # Of the one seed: the digit's only metric, and the pretext's last loss.
        accuracy.append(result["test"][0, 0, 0])
        reconstruction.append(read_per_task(place, "loss")["values"][0, -1, 1])
    return report.Scores(np.array(accuracy), np.array(reconstruction))
