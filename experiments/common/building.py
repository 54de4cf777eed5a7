"""What a comparison is made of: its data, its model, its methods and their places."""

import inspect
import pathlib
import re
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
import optax

from experiments import calls
from experiments.config import Config
from mtopt.data import DATASETS
from mtopt.data.dataset import Dataset
from mtopt.errors import UserError
from mtopt.models import MODELS, Model

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def load(
    text: str, data_dir: pathlib.Path | None, known: calls.Registry = DATASETS
) -> Any:
    """The data set that ``text`` names, with files looked up in ``data_dir``.

    Args:
      text: as ``name(option=value)``.
      data_dir: the user's folder of data sets.
      known: name to loader.

    Raises:
      UserError: for an unknown data set, or one that can't be read.
    """
    name, options = calls.check("data set", text, known)
    places = {}
    if "folder" in inspect.signature(known[name]).parameters and data_dir:
        places["folder"] = data_dir / options.get("folder", "")
    if "path" in options:
        places["path"] = (data_dir or pathlib.Path()) / options["path"]
        if not places["path"].exists():
            raise UserError(
                f"no file {places['path']}: expected it in --data_dir (or the variable "
                f"MTOPT_DATA_DIR), which is {data_dir or 'not set'}"
            )
    return calls.build("data set", text, known, **places)


def make_model(config: Config, dataset: Dataset, names: tuple[str, ...]) -> Model:
    """The model that the configuration names, for some tasks of the data set.

    Raises:
      UserError: for an unknown model, or one that does not fit the data.
    """
    first = next(dataset.train.in_order(1))
    shape = np.shape(first.x)[1 if dataset.x_axis is None else 2 :]
    return calls.build(
        "model",
        config.model,
        MODELS,
        shape,
        names=names,
        kind=dataset.kind,
        outputs=dataset.outputs,
        x_axis=dataset.x_axis,
        dtype=DTYPES[config.dtype],
    )


def make_aggregators(
    config: Config, dataset: Dataset
) -> dict[str, optax.GradientTransformationExtraArgs]:
    """Every method of the configuration, told how many steps make an epoch.

    Raises:
      UserError: for a method that can't be built.
    """
    num_tasks = len(dataset.tasks)
    samples = config.batch_size * (1 if dataset.x_axis is None else num_tasks)
    epoch = max(1, round(dataset.train.size / samples))
    return {
        text: calls.build_method(text, num_tasks, steps_per_epoch=epoch)
        for text in config.methods
    }


@runtime_checkable
class Seeded(Protocol):
    """The part of a configuration that says which seeds run, and how."""

    seeds: tuple[int, ...]
    stack_seeds: bool


def stacks(config: Seeded) -> list[tuple[int, ...]]:
    """The seeds that run as one program, stack by stack."""
    return [config.seeds] if config.stack_seeds else [(s,) for s in config.seeds]


def place_of(folder: pathlib.Path, text: str, seeds: tuple[int, ...]) -> pathlib.Path:
    """The folder of a method and a stack of seeds inside that of the run."""
    return folder / slug(text) / ("seed-" + "-".join(map(str, seeds)))


def slug(text: str) -> str:
    """A folder name: ``mgda(normalize='l2')`` becomes ``mgda-normalize-l2``."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-")
