"""What a configuration names, built: its data set, its model, its methods."""

import inspect
import pathlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import optax

from mtopt.data import DATASETS, augmented, join
from mtopt.data.dataset import Dataset
from mtopt.data.sources import JointDataset
from mtopt.errors import UserError
from mtopt.grammar import (
    CallText,
    MethodText,
    Registry,
    joined_texts,
)
from mtopt.trained.description import ModelDescription

from .config import Config

AROUND: Mapping[str, Any] = {"join": join, "augmented": augmented}
"""What stands around the texts of data sets: of several, and of one."""


def load_dataset(
    text: str,
    data_dir: pathlib.Path | None,
    registry: Registry = DATASETS,
    **given: Any,
) -> Any:
    """The data set that ``text`` names, with files looked up in ``data_dir``.

    Args:
      text: as ``name(option=value)``; several sources as
        ``join(one, two(option=value), pool=True)``, with the options of
        :func:`mtopt.data.join`; with random changes of training images as
        ``augmented(one, by='scale_crop + flip')``, see :func:`mtopt.data.augmented`.
      data_dir: the user's folder of data sets.
      registry: name to loader.
      **given: options that the data set has, and the text leaves out.

    Raises:
      UserError: for an unknown data set, one that can't be read, or one that has not
        the options that are given, or has them in its text.
    """
    for name, function in AROUND.items():
        inside = joined_texts("data set", text, name, function)
        if inside is not None:
            texts, options = inside
            sets = [load_dataset(t, data_dir, registry, **given) for t in texts]
            if function is augmented and len(sets) != 1:
                raise UserError(
                    f"{name} stands around {len(sets)} data sets: expected one, which "
                    "may be join(...) of several"
                )
            return function(*sets, **options)
    call = CallText.parse("data set", text, registry, given=(*given,))
    for option in given:
        if option in call.options:
            raise UserError(f"{text!r} has {option}: expected it without, it is given")
        if option not in inspect.signature(call.function).parameters:
            raise UserError(
                f"data set {call.name!r} has no option {option!r}, which is given: "
                "expected one that has it"
            )
    places = {}
    if "folder" in inspect.signature(call.function).parameters and data_dir:
        places["folder"] = data_dir / call.options.get("folder", "")
    if "path" in call.options:
        places["path"] = (data_dir or pathlib.Path()) / call.options["path"]
        if not places["path"].exists():
            where = (
                "a file that is there"  # --data, which is of the current folder
                if pathlib.Path(call.options["path"]).is_absolute()
                else "it in --data_dir (or the variable MTOPT_DATA_DIR), which is "
                f"{data_dir or 'not set'}"
            )
            raise UserError(f"no file {places['path']}: expected {where}")
    data = call.build(**places, **given)
    if registry is DATASETS and not isinstance(data, Dataset | JointDataset):
        raise UserError(
            f"data set {call.name!r} made a {type(data).__name__}: expected a "
            "mtopt.data.Dataset, or what mtopt.data.join makes"
        )
    return data


def batch_sizes(dataset: Dataset | JointDataset, batch_size: int) -> list[int]:
    """The samples of each group in a step, alone as among the others.

    Args:
      dataset: of one group or several.
      batch_size: of groups that have no number of their own.
    """
    if isinstance(dataset, JointDataset):
        return [own or batch_size for own in dataset.batch_sizes]
    return [batch_size]


def of_one_kind(dataset: Dataset | JointDataset, what: str) -> Dataset:
    """The data set, for what has no use for several groups of tasks.

    Args:
      dataset: of one group.
      what: has no use for more, for the error.

    Raises:
      UserError: where it has more.
    """
    if isinstance(dataset, JointDataset):
        raise UserError(
            f"{dataset.name} has {len(dataset.groups)} groups of tasks, of other kinds "
            f"or from other sources: {what} takes a data set of one"
        )
    return dataset


def make_model(
    text: str,
    dataset: Dataset | JointDataset,
    *,
    names: tuple[str, ...] | None = None,
    dtype: str = "float32",
    remat: bool = False,
) -> Any:
    """The model that ``text`` names, for the tasks of the data set.

    Args:
      text: as ``name(option=value)``.
      dataset: whose inputs and labels it is for; of one with several groups of tasks
        it has heads for each, :func:`mtopt.models.join`.
      names: of the tasks, in place of those of a data set of one group.
      dtype: of its arithmetic, ``float32`` or ``bfloat16``.
      remat: as of :class:`mtopt.Tasks`.

    Raises:
      UserError: for an unknown model, or one that does not fit the data.
    """
    described = ModelDescription.of(text, dataset, dtype)
    if names is None:
        return described.model(remat=remat)
    (group,) = described.groups
    return group.model(text, dtype, names=names, remat=remat)


def parse_methods(texts: tuple[str, ...]) -> dict[str, MethodText]:
    """Text to method, all read and checked; see :meth:`mtopt.grammar.MethodText.parse`.

    Raises:
      UserError: for the first text that can't be a method.
    """
    return {text: MethodText.parse(text) for text in texts}


def parse_compared_methods(config: Config) -> dict[str, MethodText]:
    """The methods of a comparison, whose runs know how many steps make an epoch.

    Raises:
      UserError: for the first text that can't be a method.
    """
    known = ("steps_per_epoch",)
    return {
        text: MethodText.parse(with_steps(text, config.steps)[0], known)
        for text in config.methods
    }


def with_steps(text: str, steps: int) -> tuple[str, int]:
    """The method that an entry of a comparison names, and the steps that it trains.

    Args:
      text: a method, or ``METHOD @ STEPS`` for one with steps of its own.
      steps: of those without.

    Raises:
      UserError: for something else than a number of at least 1 behind the last ``@``.

    Example:
      >>> with_steps("mgda", 500), with_steps("sam + mgda @ 1000", 500)
      (('mgda', 500), ('sam + mgda', 1000))
    """
    method, found, own = text.rpartition("@")
    if not found:
        return text, steps
    count = own.strip()
    if not (count.isdecimal() and int(count)):
        raise UserError(
            f"method {text!r} trains {count!r} steps: expected METHOD @ STEPS, with a "
            "whole number of at least 1"
        )
    return method.strip(), int(count)


def make_aggregator(
    method: MethodText,
    dataset: Dataset | JointDataset,
    batch_size: int,
    options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> optax.GradientTransformationExtraArgs:
    """One method of :func:`parse_compared_methods` for the tasks of a data set.

    Args:
      method: the text that was read.
      dataset: with its tasks, and as many steps an epoch as it has.
      batch_size: samples per step.
      options: more of them, as of :meth:`mtopt.grammar.MethodText.with_options`.

    Raises:
      UserError: for a value that an option can't have.
    """
    epoch = dataset.train.steps_per_epoch(batch_size)
    count = len(dataset.tasks)
    return method.with_options(options).build(count, steps_per_epoch=epoch)


def make_aggregators(
    methods: dict[str, MethodText], dataset: Dataset | JointDataset, batch_size: int
) -> dict[str, optax.GradientTransformationExtraArgs]:
    """All of them, by their texts; arguments and errors as :func:`make_aggregator`."""
    return {
        text: make_aggregator(method, dataset, batch_size)
        for text, method in methods.items()
    }


def seed_stacks(seeds: tuple[int, ...], stack_seeds: bool) -> list[tuple[int, ...]]:
    """The seeds that run as one program, stack by stack."""
    return [seeds] if stack_seeds else [(seed,) for seed in seeds]
