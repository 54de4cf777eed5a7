"""Reading trained models from the folder of a run."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from absl import logging

from mtopt.errors import UserError, nearest
from mtopt.trained.description import ModelDescription
from mtopt.trained.model import TrainedModel
from mtopt.trained.part import Part
from mtopt.training.fit import finished_steps, read_diverged
from mtopt.training.parameters import CHOSEN_MODELS, MODELS, read_parameters
from mtopt.training.program import predict_one_by_one
from mtopt.training.writer import write_json


class StoredModels(NamedTuple):
    """The models of one method and a stack of seeds.

    Attributes:
      method: its text, or the name of the single-task models.
      folder: inside that of the run.
      seeds: one a model.
      group: of whose tasks they are, by number, where each task has its own model;
        None where all tasks share one.
    """

    method: str
    folder: str
    seeds: tuple[int, ...]
    group: int | None = None


def write_models(
    folder: pathlib.Path, description: ModelDescription, stored: Sequence[StoredModels]
) -> None:
    """Writes what :func:`load_model` reads, beside the parameters that training leaves.

    Args:
      folder: of the run.
      description: of the model that all methods train.
      stored: where the models of each are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    models = [each._asdict() for each in stored]
    write_json(
        folder / MODELS, {"description": description.to_json(), "models": models}
    )


def load_model(
    folder: pathlib.Path, method: str | None, seed: int | None
) -> TrainedModel:
    """As :func:`mtopt.load`."""
    description, stored = read_models(folder)
    methods = list(dict.fromkeys(each.method for each in stored))
    if method is None and len(methods) > 1:
        raise UserError(
            f"{folder} has models of several methods: expected one of "
            f"{', '.join(methods)}"
        )
    method = methods[0] if method is None else method
    if method not in methods:
        raise UserError(f"{folder}: no method {method!r}: {nearest(method, methods)}")
    own = [each for each in stored if each.method == method]
    seeds = list(dict.fromkeys(seed for each in own for seed in each.seeds))
    seed = seeds[0] if seed is None else seed
    if seed not in seeds:
        raise UserError(
            f"{folder}: no seed {seed} of {method}: expected one of "
            f"{', '.join(map(str, seeds))}"
        )
    own = [each for each in own if seed in each.seeds]
    if own[0].group is None:
        return _shared(folder, description, own[0], seed)
    return _separate(folder, description, own, seed)


def read_models(
    folder: pathlib.Path,
) -> tuple[ModelDescription, list[StoredModels]]:
    """What :func:`write_models` wrote.

    Args:
      folder: of the run.

    Raises:
      UserError: where it holds none.
    """
    try:
        found = json.loads((folder / MODELS).read_text(encoding="utf-8"))
        described = ModelDescription.from_json(found["description"])
        stored = [
            StoredModels(**{**each, "seeds": tuple(each["seeds"])})
            for each in found["models"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"no trained models in {folder}: {type(error).__name__} on {MODELS}; "
            "expected the folder of a run that compares methods on a data set"
        ) from error
    return described, stored


def _shared(
    folder: pathlib.Path, description: ModelDescription, stored: StoredModels, seed: int
) -> TrainedModel:
    """The model of all tasks."""
    model = description.model()
    params, state = _parameters(folder, model, stored, seed)
    several = len(description.groups) > 1
    parts = [
        Part(
            group,
            jax.jit(group.model(description.text, description.dtype).predict),
            {"shared": params["shared"], "tasks": params["tasks"][i]}
            if several
            else params,
            state[i] if several else state,
        )
        for i, group in enumerate(description.groups)
    ]
    return TrainedModel(description, params, state, jax.jit(model.predict), parts)


def _separate(
    folder: pathlib.Path,
    description: ModelDescription,
    stored: Sequence[StoredModels],
    seed: int,
) -> TrainedModel:
    """The models of all tasks, one each."""
    parts = []
    for each in sorted(stored, key=lambda each: each.group or 0):
        group = description.groups[each.group or 0]
        model = group.model(description.text, description.dtype, names=("task",))
        params, state = _parameters(folder, model, each, seed, len(group.tasks))
        predict = predict_one_by_one(model.predict, group.x_axis)
        parts.append(Part(group, jax.jit(predict), params, state))
    params, state = (
        tuple(getattr(part, name) for part in parts)
        for name in ("params", "model_state")
    )
    apart = len(parts) > 1 and not description.shared_inputs

    def together(params: Any, state: Any, x: Any) -> Any:
        inputs = x if apart else (x,) * len(parts)
        own = zip(parts, params, state, inputs, strict=True)
        first, *others = [part.predict(p, s, seen) for part, p, s, seen in own]
        return (first, *others) if others else first

    return TrainedModel(description, params, state, jax.jit(together), parts)


def _warn_of_diverged(place: pathlib.Path, method: str, seed: int) -> None:
    """Warns where training did not come to a good end."""
    if not finished_steps(place):
        return
    for each in read_diverged(place):
        if each.seed == seed:
            logging.warning(
                "%s: seed %d diverged in step %d (%s): the model is that of the best "
                "look before, or an untrained one",
                method,
                seed,
                each.step,
                each.what,
            )


def _parameters(
    folder: pathlib.Path, model: Any, stored: StoredModels, seed: int, tasks: int = 0
) -> tuple[Any, Any]:
    """Parameters and state of one seed, of so many models of one task if any."""
    params, state = jax.eval_shape(model.init, jax.eval_shape(jax.random.key, 0))
    like = {"params": params, "model_state": state}
    if tasks:
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct((tasks, *leaf.shape), leaf.dtype), like
        )
    place = folder / stored.folder / CHOSEN_MODELS
    _warn_of_diverged(place.parent, stored.method, seed)
    if not place.is_file():
        raise UserError(
            f"no file {place}: {stored.method} has not been trained to the end; "
            f"continue with mtopt run --resume={folder}"
        )
    found = read_parameters(place, like, stored.seeds.index(seed))
    return found["params"], found["model_state"]
