"""Stacked parameters in flax's own files, under their tasks' names."""

from typing import Any

from flax import serialization

from mtopt.errors import UserError
from mtopt.per_task import PerTask, in_words


def register_stacks() -> None:
    """Has ``flax.serialization`` write a PerTask, and compare names on reading it."""
    serialization.register_serialization_state(
        PerTask, _to_state_dict, _from_state_dict, override=True
    )


def _to_state_dict(stack: PerTask) -> dict[str, Any]:
    values = serialization.to_state_dict(stack.values)
    return {
        "names": {str(k): name for k, name in enumerate(stack.names)},
        "values": values,
    }


def _from_state_dict(stack: PerTask, state: dict[str, Any]) -> PerTask:
    names = tuple(state["names"][str(k)] for k in range(len(state["names"])))
    if names != stack.names:
        raise UserError(
            f"the stored parameters are of the tasks {in_words(names)}: expected "
            f"{in_words(stack.names)}"
        )
    values = serialization.from_state_dict(stack.values, state["values"])
    return PerTask(values, names)
