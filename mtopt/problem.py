"""A multi-task problem: the losses and gradients of all tasks on one batch.

Everything here (losses, per-task gradients, the gradient of a weighted loss,
gradients of the representation) is a ``vmap`` of one task's loss over the task axis.
Because all of it comes from one function, XLA merges what the pieces have in common
and drops what the method does not read.
"""

import abc
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.evaluation import Evaluation
from mtopt.gradients.task_gradients import TaskGradients
from mtopt.linalg import scale_rows, steepest
from mtopt.options import Number
from mtopt.points import Point

Params = dict[str, Any]


class Problem(abc.ABC):
    """The losses of all tasks on one batch, as functions of the parameters.

    :meth:`mtopt.Tasks.problem` makes it; a method reads it from its evaluation.

    All functions are pure in ``params = {"shared": ..., "tasks": ...}``.

    Attributes:
      names: of the tasks, sorted.
      present: True for tasks with at least one label in this batch, ``[K]``.
      labels: how many labels each task has in the batch, or the sum of their weights,
        ``[K]``.
      key: the randomness of the step.
    """

    names: tuple[str, ...]
    present: Bool[Array, " K"]
    labels: Array
    key: Any

    def evaluate(self, params: Params) -> Evaluation:
        """The losses, per-task gradients and all else that a method reads, at a point.

        Args:
          params: where to evaluate, ``{"shared": ..., "tasks": ...}``.

        Returns:
          The evaluation: hand its ``gradients`` to an optimizer as updates, and itself
          as the keyword ``evaluation``. What the optimizer does not read, ``jit``
          drops.
        """
        losses, gradients = self.losses_and_grads(params)
        return Evaluation(
            losses=losses,
            rows=gradients["shared"],
            heads=gradients["tasks"],
            key=jax.random.fold_in(self.key, 2),
            params=params,
            problem=self,
            points=(Point(params),),
            unchanged=True,
        )

    @abc.abstractmethod
    def losses(
        self, params: Params, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        """The loss of every task; 0, with a gradient of 0, where a task is absent.

        Args:
          params: where to evaluate.
          shared_axis: None if the tasks share ``params["shared"]``; 0 if each has a
            copy of its own, ``[K, ...]``, as per-task perturbations make.
        """

    @abc.abstractmethod
    def losses_and_grads(
        self, params: Params, *, shared_axis: int | None = None, passes: str = "vmap"
    ) -> tuple[Float[Array, " K"], Params]:
        """Losses, and the gradient of every task's own loss.

        Args:
          params: where to evaluate.
          shared_axis: as for :meth:`losses`.
          passes: all tasks at once or one after another; see
            :func:`mtopt.passes.over_tasks`.

        Returns:
          The losses, and ``{"shared": rows, "tasks": head gradients}``: rows have the
          leading task axis K, a head's gradient is that of its own loss.
        """

    @abc.abstractmethod
    def representation(self, params: Params, *, shared_axis: int | None = None) -> Any:
        """The representation Z: leaves ``[B, ...]``, or ``[K, b, ...]`` if disjoint.

        Arrays of integers or booleans in it, such as which tokens are real, are left
        out (None); the heads get them all the same.

        Args:
          params: where to evaluate.
          shared_axis: as for :meth:`losses`; with 0 every task has a representation of
            its own, ``[K, B, ...]``.

        Raises:
          UserError: for groups of tasks that do not act on one representation.
        """

    @abc.abstractmethod
    def head_losses(
        self, params: Params, representation: Any, *, shared_axis: int | None = None
    ) -> Float[Array, " K"]:
        """The loss of every task on a given representation; it reads the heads alone.

        Args:
          params: whose heads act on the representation.
          representation: Z, as :meth:`representation` returns it.
          shared_axis: that of the call which returned it.

        Raises:
          UserError: as :meth:`representation`.
        """

    @abc.abstractmethod
    def losses_at_mean(self, params: Params) -> Float[Array, " K"]:
        """The loss of every task if its labelled samples had their mean representation.

        A head can answer them all alike then: it is what a task costs of which nothing
        is explained. It takes a pass through the heads beside that of the losses.

        Args:
          params: where to evaluate.
        """

    @abc.abstractmethod
    def representation_gradients(
        self, params: Params, representation: Any, *, shared_axis: int | None = None
    ) -> Any:
        """``dL_k/dZ`` of every task: leaves ``[K, B, ...]`` (or ``[K, b, ...]``).

        It reads the heads alone, so that its derivatives cost passes through the heads.

        Args and errors are those of :meth:`head_losses`.
        """

    @abc.abstractmethod
    def pull_representation(self, params: Params, gradient: Any) -> Any:
        """The vector-Jacobian product of the encoder with a representation gradient.

        Args:
          params: where to evaluate.
          gradient: of some scalar, a tree like :meth:`representation`.

        Returns:
          A tree like the shared parameters; one backward pass through the encoder.

        Raises:
          UserError: as :meth:`representation`.
        """

    def pull_to_tasks(self, params: Params, gradient: Any) -> Any:
        """What :meth:`pull_representation` is for the tasks' own parameters.

        Args:
          params: where to evaluate.
          gradient: of some scalar, a tree like :meth:`representation`.

        Returns:
          A tree like ``params["tasks"]``; None where all of these are above the
          representation, as they are but for tasks that the encoder depends on
          (:class:`mtopt.Task`).
        """
        return None

    def weighted_heads(self, params: Params, weights: Float[Array, " K"]) -> Any:
        """The gradient of the weighted loss with respect to the tasks' own parameters.

        Where some of these are below the representation it goes down to them in the
        pass of :meth:`mtopt.Problem.pullback`, which a gradient of each task's own loss
        would not.

        Args:
          params: where to evaluate.
          weights: of the losses, ``[K]``.

        Returns:
          A tree like ``params["tasks"]``; None where all of these are above the
          representation, so that scaling the gradients of the heads is as cheap.
        """
        return None

    def telling_gradients(self, params: Params, heads: Any) -> Any:
        """What tells, task by task, whether a gradient is zero or not finite.

        Args:
          params: where to evaluate.
          heads: the gradients of the tasks' own parameters there.

        Returns:
          These; those of the representation where they would take a pass of their own.
        """
        return heads

    @abc.abstractmethod
    def sum_over_tasks(self, gradients: Any) -> Any:
        """The representation gradient of the summed loss, from those of each task.

        Args:
          gradients: leaves as :meth:`representation_gradients` returns them.

        Returns:
          A tree like :meth:`representation`: summed over K where the tasks share it.
        """

    def representation_rows(self, points: Sequence[Point]) -> Any:
        """The gradients of all losses with respect to Z, summed over some points.

        Args:
          points: where, and times what; see :class:`mtopt.points.Point`.

        Returns:
          Leaves as :meth:`representation_gradients` returns them.

        Raises:
          UserError: as :meth:`representation`.
        """

        def at(point: Point) -> Any:
            axis = {"shared_axis": point.shared_axis}
            z = self.representation(point.params, **axis)
            rows = self.representation_gradients(point.params, z, **axis)
            return rows if point.factor is None else scale_rows(point.factor, rows)

        first, *others = map(at, points)
        for rows in others:
            first = jax.tree.map(jnp.add, first, rows)
        return first

    @abc.abstractmethod
    def representation_gramian(self, points: Sequence[Point]) -> Float[Array, "K K"]:
        """Inner products of the gradients of the losses w.r.t. the representation.

        With shared inputs all tasks act on one representation Z, and ``G[i, j] =
        <dL_i/dZ, dL_j/dZ>`` over all samples. Disjoint inputs have disjoint
        representations, so that different tasks are orthogonal; so are groups of tasks
        with inputs or encoders of their own.

        Args:
          points: as for :meth:`representation_rows`.
        """

    def task_gradients(self, params: Params) -> TaskGradients:
        """The gradients of all losses, to be asked for inner products, norms and sums.

        Args:
          params: where to evaluate.

        Returns:
          The rows, or what answers more cheaply.
        """
        rows = self.losses_and_grads(params)[1]["shared"]
        return TaskGradients(len(self.names), rows)

    @abc.abstractmethod
    def next_model_state(self, params: Params) -> Any:
        """The model state after one clean forward pass, whatever a method evaluates."""

    @abc.abstractmethod
    def split(self, parts: int) -> tuple["Problem", ...]:
        """Independent problems on equal parts of the batch, each with its own key.

        Samples are dealt at random, so that every task has its share of labels in each
        part; one with fewer labels than parts has some of them in several. It is how a
        method gets a validation half, or three independent batches, out of one step.
        See :func:`mtopt.deal.deal`.

        Args:
          parts: their number, at most the samples of the batch.

        Raises:
          UserError: where the batch has fewer samples.
        """

    def auxiliary(self, params: Params) -> Any:
        """What the head losses return beside the loss, leaves ``[K, ...]``, or None.

        Args:
          params: where to evaluate.
        """
        return None

    @abc.abstractmethod
    def tasks_not_finite(self, params: Params) -> Bool[Array, " K"]:
        """Which tasks have a loss or gradient that is not finite.

        On shared inputs gradients are taken with respect to heads and representation,
        which costs passes through the heads alone.

        Args:
          params: where to evaluate.
        """

    def pullback(
        self, params: Params, weights: Float[Array, " K"], also: Any = None
    ) -> Any:
        """The shared gradient of the weighted loss, ``sum_k w_k dL_k/dshared``.

        The heads' gradients with respect to the representation are weighted and summed
        first; one backward pass through the encoder follows, where summing the rows
        takes K.

        Args:
          params: where to evaluate.
          weights: of the losses, ``[K]``.
          also: the gradient of something else with respect to the representation, which
            goes back in the same pass.

        Raises:
          UserError: as :meth:`representation`, for ``also``.
        """
        z = self.representation(params)
        gradient = self.weighted_representation_gradient(params, z, weights)
        if also is not None:
            gradient = jax.tree.map(jnp.add, gradient, also)
        return self.pull_representation(params, gradient)

    def weighted_representation_gradient(
        self, params: Params, representation: Any, weights: Float[Array, " K"]
    ) -> Any:
        """``d(sum_k w_k L_k)/dZ``, a tree like :meth:`representation`.

        Args:
          params: whose heads act on the representation.
          representation: Z, as :meth:`representation` returns it.
          weights: of the losses, ``[K]``.
        """

        def weighted_loss(z: Any) -> Float[Array, ""]:
            return weights @ self.head_losses(params, z).astype(weights.dtype)

        return steepest(jax.grad(weighted_loss)(representation))

    def look_ahead(
        self, params: Params, weights: Float[Array, " K"], length: Number
    ) -> Params:
        """The parameters after one gradient step on the weighted loss.

        Args:
          params: where to start.
          weights: of the tasks, ``[K]``.
          length: of the step, the learning rate.
        """

        def weighted_loss(params: Params) -> Float[Array, ""]:
            return weights @ self.losses(params).astype(weights.dtype)

        step = steepest(jax.grad(weighted_loss)(params))
        return jax.tree.map(
            lambda p, g: p - jnp.asarray(length, p.dtype) * g, params, step
        )


class BatchProblem(Problem):
    """A problem that knows its batch, and can be made of less of it.

    Attributes:
      counted: how many labels each loss is the mean over, or the sum of their weights,
        ``[K]``: of pixels each, where ``labels`` counts samples.
      model_state: BatchNorm statistics and their like, or None.
    """

    counted: Array
    model_state: Any

    @abc.abstractmethod
    def losses_and_head_grads(
        self, params: Params, representation: Any
    ) -> tuple[Float[Array, " K"], Any, Any]:
        """What :meth:`Problem.losses_and_grads` reads of the heads, of shared inputs.

        Args:
          params: whose heads act on the representation.
          representation: Z, as :meth:`Problem.representation` returns it.

        Returns:
          The losses, the gradients of the heads, and those of the representation.
        """

    @abc.abstractmethod
    def without(self, hidden: Bool[Array, " K"]) -> "BatchProblem":
        """The problem in which some tasks are absent from the batch.

        Nothing of them, NaN and inf included, reaches the others: neither labels, nor
        inputs and parameters of their own.

        Args:
          hidden: the tasks.
        """

    @abc.abstractmethod
    def in_parts(self, count: int) -> Any:
        """The problems on equal parts of the batch, stacked: leaves ``[M, ...]``.

        For :class:`mtopt.micro_batches.MicroBatches`.

        Args:
          count: M.

        Raises:
          UserError: unless it divides the number of samples, or where the model couples
            the samples of a batch.
        """

    @abc.abstractmethod
    def with_constants_of(self, whole: "BatchProblem") -> Any:
        """The problem with the constants of another, which :meth:`in_parts` leaves out.

        Args:
          whole: the problem that this one is a part of.
        """

    @abc.abstractmethod
    def cut_parts(
        self, representation: Any, count: int, *, task_axis: bool = False
    ) -> Any:
        """A tree like the representation in parts, leaves ``[M, ...]``.

        Args:
          representation: leaves as :meth:`Problem.representation` returns them.
          count: M.
          task_axis: whether all leaves have an axis K, also on shared inputs.
        """

    @abc.abstractmethod
    def join_parts(self, stacked: Any, *, task_axis: bool = False) -> Any:
        """What :meth:`cut_parts` took apart; of gradients, with a leading task axis.

        Args:
          stacked: leaves ``[M, ...]``.
          task_axis: as for :meth:`cut_parts`.
        """
