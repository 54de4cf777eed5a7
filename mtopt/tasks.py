"""A model as pure functions: tasks of equal structure, and groups of unequal ones.

A model is two functions, written for *one* task: ``encode`` turns inputs into a
representation with the shared parameters, ``head_loss`` turns it into a loss with
the task's own. :meth:`Tasks.problem` closes them over a batch.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mtopt.batch import Batch, as_mask, fill_padding, is_real, loss_mask, zero_masked
from mtopt.errors import UserError, expect_one_of
from mtopt.gradients.through_encoder import ROWS
from mtopt.grouped_problem import GroupedProblem
from mtopt.per_task import check_names, in_words
from mtopt.stacked_problem import StackedProblem


@dataclasses.dataclass(frozen=True)
class Tasks:
    """Tasks of equal structure: their names, and the model as two functions.

    Args:
      names: the K task names, sorted: the order of axis K everywhere.
      encode: ``(shared, x, key) -> representation``, the shared part of the model on
        the inputs of one batch. ``shared`` is ``params["shared"]``. What heads are to
        read beside the representation, such as the input, is :class:`mtopt.Beside`.
      head_loss: ``(head, representation, targets, mask, key) -> scalar``, the loss of
        one task on its labels ``[b, ...]``; see :func:`mtopt.masked_mean` for the
        reduction. ``head`` is one task's entry of ``params["tasks"]``.
      x_axis: None if all tasks share one input (then the forward pass runs once), 0
        if each task has inputs of its own, ``[K, b, ...]``.
      stateful: True if ``encode`` is ``(shared, x, key, model_state, labelled) ->
        (representation, model_state)``, as one needs that couples the samples of a
        batch by statistics, with running ones or without. These are to be over the
        ``labelled`` samples, bool ``[b]``: the others are padding. With inputs of their
        own, and with ``per_task``, every task has a state of its own: leaves
        ``[K, ...]``.
      has_aux: True if ``head_loss`` returns ``(loss, aux)``: the step's metrics have
        ``aux`` with a leading task axis.
      coupled: True if, with inputs of their own, ``encode`` is that of all tasks at
        once, with x and representation ``[K, b, ...]``, labelled ``[K, b]``, and one
        model state. The gradient of a task's loss is then a backward pass through the
        inputs of all.
      rows: which shared parameters get per-task gradients written out, one
        parameter's size for each task, where inner products and weighted sums are all
        that a method asks for. ``"auto"``: those where that takes fewer
        multiplications than the outer products of which a layer's gradients consist;
        ``"always"``: all; ``"never"``: those alone that have no other form. All three
        give the same numbers, to rounding.
      remat: True to compute what ``encode`` makes again in a backward pass instead of
        keeping it (``jax.checkpoint``): the same numbers, to rounding, for one more
        forward pass through the encoder. It is for deep encoders: compiled for a CPU, a
        step with ResNet-18 takes a quarter less temporary memory and 2.4 to 4.3 times
        the time, one with an MLP or LeNet no less memory, since their arrays are all
        needed at once in the backward pass. An ``encode`` may put ``jax.checkpoint``
        around its own layers instead.
      per_task: True if ``encode`` also gets the task that it works for, a
        :class:`mtopt.Task`, as its last argument: for what depends on the task below
        parameters that others share, such as field gates, prompts, or experts of
        several levels. The representation then has the task axis, ``[K, B, ...]``, on
        shared inputs, too; what does not depend on the task runs once. A parameter that
        two losses reach is a shared one: it goes into ``params["shared"]`` even if it
        is called task-specific, as the experts of a first level are whose outputs the
        next level mixes; ``task.index`` picks it.
      kind: of labels that ``head_loss`` is of, such as ``"binary"``, to be compared
        with that of a data set (:class:`mtopt.data.Dataset`); None for any.
      label_mask: ``(targets, mask) -> mask``, of the labels that ``head_loss`` is the
        mean over, ``[b, ...]``, where a sample has several, as one for each pixel;
        ``micro_batches`` go by their number. None: one label a sample.

    Raises:
      UserError: for names out of order, an ``encode`` of other arguments than its
        flags say, ``coupled`` without a state or inputs of the tasks' own or beside
        ``per_task``, or an unknown ``rows``.

    Example:
      Two regressions on one input:

      >>> import mtopt
      >>> from mtopt import PerTask
      >>> def encode(shared, x, key):
      ...     return jnp.tanh(x @ shared["w"])
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head["v"] - y) ** 2, mask)
      >>> tasks = Tasks(("left", "right"), encode, head_loss)
      >>> heads = {"left": {"v": jnp.ones(4)}, "right": {"v": jnp.zeros(4)}}
      >>> params = {"shared": {"w": jnp.ones((3, 4))}, "tasks": PerTask.stack(heads)}
      >>> batch = mtopt.Batch.shared(
      ...     jnp.ones((2, 3)), {"left": jnp.ones(2), "right": jnp.ones(2)})
      >>> problem = tasks.problem(batch, jax.random.key(0))
      >>> losses, grads = jax.jit(problem.losses_and_grads)(params)
      >>> [round(float(loss), 3) for loss in losses], grads["shared"]["w"].shape
      ([8.882, 1.0], (2, 3, 4))
    """

    names: tuple[str, ...]
    encode: Callable[..., Any]
    head_loss: Callable[..., Float[Array, ""]]
    x_axis: int | None = None
    stateful: bool = False
    has_aux: bool = False
    coupled: bool = False
    rows: str = "auto"
    remat: bool = False
    per_task: bool = False
    kind: str | None = None
    label_mask: Callable[[Any, Any], Any] | None = None

    def __post_init__(self) -> None:
        check_names(self.names)
        expect_one_of("rows", self.rows, ROWS)
        if self.x_axis not in (None, 0):
            raise UserError(
                f"x_axis is {self.x_axis!r}: expected None (all tasks share one "
                "input) or 0 (inputs with a leading task axis)"
            )
        if self.coupled and not (self.stateful and self.x_axis == 0):
            raise UserError(
                f"coupled=True with stateful={self.stateful} and x_axis={self.x_axis}: "
                "expected stateful=True and x_axis=0"
            )
        if self.coupled and self.per_task:
            raise UserError(
                "coupled=True with per_task=True: a coupled encode is that of all "
                "tasks at once, and has no task; expected one of the two"
            )
        told = ["shared", "x", "key"]
        told += ["model_state", "labelled"] * self.stateful + ["task"] * self.per_task
        over = ", with statistics over the labelled samples, bool [b]" * self.stateful
        if (self.stateful or self.per_task) and not _takes(self.encode, len(told)):
            raise UserError(
                f"the encode of tasks with stateful={self.stateful} and "
                f"per_task={self.per_task} does not take {len(told)} arguments: "
                f"expected encode({', '.join(told)}){over}"
            )

    @property
    def z_axis(self) -> int | None:
        """0 if every task has a representation of its own, None if all share one."""
        return 0 if self.per_task else self.x_axis

    @property
    def run_encoder(self) -> Callable[..., Any]:
        """``encode``, under ``jax.checkpoint`` with ``remat``."""
        return jax.checkpoint(self.encode) if self.remat else self.encode

    def problem(
        self,
        batch: Batch,
        key: PRNGKeyArray,
        model_state: Any = None,
        constants: Any = None,
    ) -> StackedProblem:
        """This model on one batch, with one key and the model state closed over.

        Args:
          batch: inputs, labels and mask, the task axis in the order of ``names``.
          key: the randomness of the step (dropout, sampling). Every pass of the step
            uses the same one. Task k's key is ``fold_in(key, hash(name_k))``: adding
            or removing another task does not change it.
          model_state: BatchNorm statistics and their like; with ``x_axis=0`` or
            ``per_task`` of every task, leaves ``[K, ...]``.
          constants: shared parameters that are not trained; see :func:`mtopt.freeze`.

        Raises:
          UserError: where a shape does not fit the K tasks, or the batch is of tasks
            of other names.
        """
        self._check(batch)
        mask = jnp.asarray(as_mask("batch.mask", batch.mask))
        x = batch.x
        if self.x_axis is not None:
            x = fill_padding(_arrays(batch.x), is_real(mask))
        y = zero_masked(_arrays(batch.y), mask)
        own = Batch(x, y, mask, self.names)
        return StackedProblem(
            own, loss_mask(mask), key, model_state, self, constants=constants
        )

    def _check(self, batch: Batch) -> None:
        if batch.names not in (None, self.names):
            raise UserError(
                f"the batch is of the tasks {in_words(batch.names)}: expected "
                f"{in_words(self.names)}, the names of these tasks"
            )
        if isinstance(batch.mask, tuple):
            raise UserError(
                f"batch.mask is a tuple of {len(batch.mask)} groups: expected one "
                "array, or mtopt.TaskGroups for tasks in groups"
            )
        mask_shape = jnp.shape(batch.mask)
        num_tasks = len(self.names)
        if len(mask_shape) != 2 or mask_shape[0] != num_tasks:
            raise UserError(
                f"mask has shape {mask_shape}: expected (K, b) with K={num_tasks} "
                f"tasks {in_words(self.names)}"
            )
        lead = {"y": mask_shape, "x": mask_shape[self.x_axis is None :]}
        for field, expected in lead.items():
            for path, leaf in jax.tree_util.tree_leaves_with_path(
                getattr(batch, field)
            ):
                shape = jnp.shape(leaf)
                if shape[: len(expected)] != expected:
                    raise UserError(
                        f"batch.{field}{jax.tree_util.keystr(path)} has shape {shape}: "
                        f"expected it to start with {expected}, as the mask does "
                        f"(K={num_tasks}, x_axis={self.x_axis})"
                    )


@dataclasses.dataclass(frozen=True)
class TaskGroups:
    """Tasks of unequal structure: groups of equal ones, trained together.

    Heads of other shapes, other losses, or inputs of another kind make a group of
    their own. The task axis K is the sorted names of all groups; only
    ``params["shared"]`` is common to them.

    Args:
      groups: the groups. ``params["tasks"]``, ``batch.y``, ``batch.mask`` and the
        model state are tuples with one entry per group.
      shared_inputs: True if every group reads the same ``batch.x`` (one ``encode`` of
        it serves all, if the groups have the same ``encode``), False if ``batch.x``
        is a tuple with one entry per group. Then a group without a label in the batch
        is not read: the floats of its inputs are zeros, its model state stays.

    Raises:
      UserError: where a task stands in two groups.

    Example:
      >>> import mtopt
      >>> def encode(shared, x, key):
      ...     return x @ shared
      >>> def squared(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head - y) ** 2, mask)
      >>> def absolute(head, z, y, mask, key):
      ...     return mtopt.masked_mean(jnp.abs(z @ head[0] + head[1] - y), mask)
      >>> groups = TaskGroups((Tasks(("depth",), encode, squared),
      ...                      Tasks(("age", "size"), encode, absolute)),
      ...                     shared_inputs=True)
      >>> groups.names
      ('age', 'depth', 'size')
    """

    groups: tuple[Tasks, ...]
    shared_inputs: bool

    def __post_init__(self) -> None:
        names = [name for group in self.groups for name in group.names]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"tasks {twice} stand in two groups: expected one each")

    @property
    def names(self) -> tuple[str, ...]:
        """All task names, sorted: the order of axis K."""
        return tuple(sorted(name for group in self.groups for name in group.names))

    def problem(
        self,
        batch: Batch,
        key: PRNGKeyArray,
        model_state: Any = None,
        constants: Any = None,
    ) -> GroupedProblem:
        """The groups on one batch; arguments as for :meth:`Tasks.problem`.

        Raises:
          UserError: where the batch has another number of groups, or tasks of other
            names.
        """
        count = len(self.groups)
        inputs = (batch.x,) * count if self.shared_inputs else batch.x
        states = (None,) * count if model_state is None else model_state
        for field, value in (("x", inputs), ("y", batch.y), ("mask", batch.mask)):
            if not isinstance(value, tuple) or len(value) != count:
                several = isinstance(value, tuple)
                found = f"{len(value)}" if several else type(value).__name__
                raise UserError(
                    f"batch.{field} of task groups must be a tuple of {count} entries, "
                    f"one per group: got {found}"
                )
        names = (None,) * count if batch.names is None else batch.names
        parts = tuple(
            dataclasses.replace(
                group.problem(Batch(x, y, mask, own), key, state, constants),
                apart=not self.shared_inputs,
            )
            for group, x, y, mask, own, state in zip(
                self.groups, inputs, batch.y, batch.mask, names, states, strict=True
            )
        )
        return GroupedProblem.of(parts, self.shared_inputs)


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def _arrays(tree: Any) -> Any:
    return jax.tree.map(jnp.asarray, tree)
