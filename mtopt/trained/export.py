"""A trained model as a program of its own, which needs jax alone."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from mtopt.errors import UserError
from mtopt.models.links import probabilities_of
from mtopt.trained.part import Part


def write_program(
    path: pathlib.Path,
    parts: Sequence[Part],
    *,
    shared: bool,
    platforms: Sequence[str] | None,
) -> None:
    """Writes what :meth:`mtopt.trained.model.TrainedModel.export` says.

    Args:
      path: the file.
      parts: of the model.
      shared: True where ``x`` is one array ``[B, ...]`` for all tasks; otherwise it is
        a dict of them by task, of one B.
      platforms: what it is compiled for.

    Raises:
      UserError: where inputs are no arrays.
    """
    (size,) = export.symbolic_shape("b")
    like: dict[str, Any] = {}
    for group in (part.group for part in parts):
        if not group.x_dtype:
            raise UserError("the inputs are several arrays: expected one, to export")
        x = jax.ShapeDtypeStruct((size, *group.shape), group.x_dtype)
        like |= dict.fromkeys(group.tasks, x)
    arguments = next(iter(like.values())) if shared else like
    program = jax.jit(_of(parts, shared))
    found = export.export(program, platforms=platforms)(arguments)
    try:
        written = found.serialize()
    except ImportError as error:
        raise UserError(
            'flatbuffers is not installed: expected it for exports; pip install "mtopt'
            '[export]" brings it'
        ) from error
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(written)
    os.replace(partial, path)


def _of(parts: Sequence[Part], shared: bool) -> Callable[[Any], dict[str, Any]]:
    """Encoded inputs to what is predicted, by task."""

    def outputs(part: Part, x: Any) -> Any:
        tasks = part.group.tasks
        if part.group.x_axis is not None:
            return part(jnp.stack([x[task] for task in tasks]))
        return part(x) if shared else [part(x[t])[k] for k, t in enumerate(tasks)]

    def predict(x: Any) -> dict[str, Any]:
        return {
            task: _read(part, k, own)
            for part in parts
            for k, (task, own) in enumerate(
                zip(part.group.tasks, outputs(part, x), strict=True)
            )
        }

    return predict


def _read(part: Part, k: int, outputs: Any) -> Any:
    """Probabilities, or numbers in the units of the data."""
    group = part.group
    probabilities = probabilities_of(group.kind)
    if probabilities is not None:
        return probabilities(group.of_task(k, outputs))
    if not group.target_std:
        return outputs
    return outputs * group.target_std[k] + group.target_mean[k]
