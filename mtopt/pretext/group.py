"""A pretext task as a group of one task, which the step trains beside any others."""

from typing import Any

from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.per_task import PerTask, task_keys
from mtopt.pretext.pretext import Pretext
from mtopt.tasks import Tasks


def pretext_group(name: str, pretext: Pretext) -> Tasks:
    """The group: its views come from the step's key and its own name.

    Args:
      name: of the task.
      pretext: what it is. Labels are not read; the mask of the batch says which samples
        there are.
    """

    def encode(shared: Any, x: Any, key: PRNGKeyArray) -> Any:
        # Groups on shared inputs have the step's key in common.
        (own,) = task_keys(key, (name,))
        return pretext.encode(shared, x, own)

    def head_loss(
        head: Any,
        representation: Any,
        targets: Any,
        mask: Bool[Array, " b"],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        del targets
        return pretext.loss(head, representation, mask, key)

    return Tasks((name,), encode, head_loss)


def pretext_head(key: PRNGKeyArray, name: str, pretext: Pretext) -> PerTask:
    """The task's own parameters at the start, from a key and its name alone."""
    (own,) = task_keys(key, (name,))
    return PerTask.stack({name: pretext.init(own)})
