"""An encoder that is told its task, and what each task has to itself below it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.models.pure import Pure, observed, statistics_of
from mtopt.per_task import task_keys
from mtopt.task import Task

ENCODER, OWN, HEAD = "encoder", "own", "head"
_OWN_STREAM = 1 << 20
"""Of what own modules draw, apart from the streams of the encoder."""


@dataclasses.dataclass(frozen=True)
class Told:
    """A module ``(x, task) -> representation``, with or without modules of the tasks.

    Attributes:
      encoder: the module.
      own: what each task has to itself; the encoder gets it as ``task.own``.
      names: of the tasks.
    """

    encoder: Pure
    own: Pure | None
    names: tuple[str, ...]

    @property
    def stateful(self) -> bool:
        """Whether any layer keeps statistics."""
        return self.encoder.stateful or (self.own is not None and self.own.stateful)

    @property
    def gated(self) -> bool:
        """Whether any module is a gate."""
        return self.encoder.gated or (self.own is not None and self.own.gated)

    def init(self, key: PRNGKeyArray, own_key: PRNGKeyArray) -> tuple[Any, Any, Any]:
        """New parameters of the encoder, of the tasks, and statistics ``[K, ...]``."""
        count = len(self.names)
        shared, ours = self.encoder.init(key)
        if self.own is None:
            own, theirs = {}, {}
        else:
            own, theirs = jax.vmap(self.own.init)(task_keys(own_key, self.names))
        of_each = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), ours
        )
        return shared, own, {ENCODER: of_each, OWN: theirs} if self.stateful else {}

    def train(
        self,
        shared: Any,
        statistics: Any,
        x: Any,
        key: PRNGKeyArray,
        labelled: Bool[Array, " b"] | None,
        task: Task,
    ) -> tuple[Any, dict[str, Any]]:
        """Outputs in training mode, and the new statistics of this task."""
        encoder = self.encoder.in_training(
            shared, statistics.get(ENCODER, {}), key, labelled
        )
        own = None
        if self.own is not None:
            keys = task_keys(jax.random.fold_in(key, _OWN_STREAM), self.names)
            own = self.own.in_training(
                task.own[OWN], statistics.get(OWN, {}), keys[task.index], labelled
            )
        outputs = encoder(x, Task(task.index, own))
        moved = {} if own is None else statistics_of(own)
        return outputs, {ENCODER: statistics_of(encoder), OWN: moved}

    def evaluate(self, shared: Any, statistics: Any, x: Any, task: Task) -> Any:
        """Outputs in evaluation mode."""
        return self._in_evaluation(shared, statistics, task)(x, task.index)

    def observe(
        self, shared: Any, statistics: Any, x: Any, task: Task
    ) -> tuple[Any, dict[str, Float[Array, "b E"]]]:
        """What :meth:`mtopt.models.pure.Pure.observe` does, of one task."""
        return observed(self._in_evaluation(shared, statistics, task), x, task.index)

    def _in_evaluation(self, shared: Any, statistics: Any, task: Task) -> "_OfTask":
        encoder = self.encoder.in_evaluation(shared, statistics.get(ENCODER, {}))
        own = None
        if self.own is not None:
            theirs = statistics.get(OWN, {})
            own = self.own.in_evaluation(task.own[OWN], theirs)
        return _OfTask(encoder, own)


class _OfTask(nnx.Module):
    """An encoder with the modules of one task, as a module of one tree."""

    def __init__(self, encoder: Any, own: Any) -> None:
        self.encoder = encoder
        self.own = own

    def __call__(self, x: Any, index: Any) -> Any:
        return self.encoder(x, Task(index, self.own))
