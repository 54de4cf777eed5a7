"""Takes the models of a finished run, and measures them."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from mtopt.data import fingerprint
from mtopt.errors import UserError
from mtopt.models import Model
from mtopt.training.checkpoint import Checkpoints
from mtopt.training.fit import read_result, restore
from mtopt.training.program import shared_program

from ..common.building import (
    load_dataset,
    make_aggregators,
    make_model,
    of_one_kind,
    parse_compared_methods,
    seed_stacks,
)
from ..common.config import Config
from ..common.data_record import check_data
from ..common.run_folder import run_folder
from ..common.stored_run import StoredRun, read_run
from .config import AnalysisConfig
from .measure import make_measure
from .report import Analysis


def analyze(
    folder: pathlib.Path,
    config: AnalysisConfig,
    data_dir: pathlib.Path | None = None,
) -> Analysis:
    """Measures every method and seed of a finished run; writes nothing.

    Args:
      folder: the run.
      config: how.
      data_dir: the folder of data sets, where it is no longer the run's own.

    Raises:
      UserError: where the folder holds no such run, one that is not finished, or one on
        other data.
    """
    config.check()
    stored = read_comparison(folder)
    trained = stored.config
    places = {text: checkpoints_of(folder, text, trained) for text in trained.methods}
    dataset = of_one_kind(
        load_dataset(trained.data, data_dir or stored.data_dir), "the analysis"
    )
    check_data(folder, fingerprint(dataset))
    model = make_model(trained.model, dataset, dtype=trained.dtype)
    drawn = dataset.test.batches(config.samples, seeds=(config.seed,))
    sample = jax.tree.map(lambda leaf: leaf[0], next(drawn))
    offsets = jnp.linspace(-1, 1, config.points + 1 - config.points % 2)
    measure = make_measure(config, trained.batch_size, dataset, model, sample, offsets)
    optimizer = trained.optimizer.build(trained.steps)
    aggregators = make_aggregators(
        parse_compared_methods(trained), dataset, trained.batch_size
    )
    restored = {
        text: restore_models(model, mtopt.chain(aggregator, optimizer), places[text])
        for text, aggregator in aggregators.items()
    }
    methods = []
    for text, pairs in restored.items():
        print(f"analyzing {text}", flush=True)
        methods.append(measure(text, pairs))
    return Analysis(
        experiment=stored.experiment,
        task_names=dataset.tasks,
        steps=trained.steps,
        rho=config.rho,
        adaptive=config.adaptive,
        samples=sample.mask.shape[1],
        offsets=np.asarray(offsets),
        methods=methods,
    )


def read_comparison(folder: pathlib.Path) -> StoredRun:
    """What the folder is a run of.

    Raises:
      UserError: for a folder that is no run, or none of a comparison.
    """
    stored = read_run(folder)
    if not isinstance(stored.config, Config):
        raise UserError(
            f"{folder} is a run of {stored.experiment}: expected one that compares "
            "methods on a data set"
        )
    return stored


def checkpoints_of(
    folder: pathlib.Path, text: str, config: Config
) -> list[tuple[pathlib.Path, tuple[int, ...]]]:
    """The checkpoint folders of a method, each with the seeds in it.

    Raises:
      UserError: where one has not finished.
    """
    places = []
    for seeds in seed_stacks(config.seeds, config.stack_seeds):
        place = run_folder(folder, text, seeds)
        if read_result(place) is None or not (place / "checkpoints").is_dir():
            raise UserError(
                f"{place} has no finished checkpoint: continue the run with "
                f"mtopt run --resume={folder}"
            )
        places.append((place / "checkpoints", seeds))
    return places


def restore_models(
    model: Model,
    tx: optax.GradientTransformationExtraArgs,
    places: list[tuple[pathlib.Path, tuple[int, ...]]],
) -> list[tuple[Any, Any]]:
    """Parameters and model state after the last step, one pair a seed."""
    pairs = []
    for place, seeds in places:
        program = shared_program(model, tx, len(seeds))
        with Checkpoints(place) as checkpoints:
            if checkpoints.latest is None:
                raise UserError(f"no checkpoint in {place}: run the method again")
            state, _ = restore(program, seeds, checkpoints)
        for s in range(len(seeds)):
            pairs.append(
                jax.tree.map(
                    lambda leaf, s=s: leaf[s],
                    (state.evaluated_params, state.model_state),
                )
            )
    return pairs
