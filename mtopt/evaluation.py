"""The evaluation: losses, per-task gradients, and all else a method reads in a step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mtopt.errors import UserError
from mtopt.gradients.task_gradients import TaskGradients
from mtopt.linalg import scale_rows, where_present
from mtopt.per_task import scale_heads
from mtopt.points import Nowhere, known_points, only_point, times

# What may be missing where no problem was evaluated, and where it would come from.
_ASKED = ("losses", "params", "problem", "rows")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    r"""The losses and per-task gradients at one point, and what else a method reads.

    :meth:`mtopt.Problem.evaluate` makes it, and an update gets it by the one keyword
    that every method, wrapper and transformation of rows reads:

    .. code-block:: python

       evaluation = tasks.problem(batch, key).evaluate(params)
       updates, state = tx.update(
           evaluation.gradients, state, params, evaluation=evaluation)

    On plain arrays, where there is no problem, name what the method reads:
    ``evaluation=mtopt.Evaluation(losses=losses)``.

    Attributes:
      losses: of the K tasks, ``[K]``. Inside of a method, that of an absent task is 1,
        so that its logarithm and inverse are finite.
      rows: the gradient of every task with respect to the shared parameters, leaves
        ``[K, ...]``. Inside of a method they are what the transformations before it
        made of them; those of absent tasks are 0.
      heads: the gradient of every task with respect to its own parameters, or None.
      present: which tasks take part, ``[K]``; None: those with a label in the batch.
      task_weights: what multiplies the weights that the method finds, ``[K]``; None:
        ones. They scale no row, since that would turn their meaning around in a solve.
      key: the randomness of the method in this step; None: see :meth:`random_key`.
      params: where the tasks were evaluated, ``{"shared": ..., "tasks": ...}``.
      problem: the tasks on this batch, for losses and gradients at other points, parts
        of the batch, and the representation; see :class:`mtopt.Problem`.
      points: where, and times what, the problem's gradients in ``rows`` were taken: a
        tuple of :class:`mtopt.points.Point`, or :class:`mtopt.points.Nowhere`. It is
        what tells the gradients of the representation, which a transformation of rows
        changes too.
      unchanged: True where ``rows`` are the gradients of ``problem`` at ``params``, so
        that a weighted sum of them is one backward pass.
      summed: the gradients of all tasks as a solve asked for them, where summing these
        costs less than a pass; else None.
      pullback: ``(weights, also) -> gradient``, in place of that pass, for a method
        that sums other gradients than the rows.
      after: from the update that a member of a :func:`mtopt.chain` makes to the one
        that leaves the chain; None outside of one.
      rebuilt: True where it came through ``jit`` or the like, so that its arrays are no
        longer the very same as those of the updates beside it: whether these are its
        rows is then compared by numbers, by what asks for ``points``.

    Raises:
      UserError: on reading losses, rows, params or problem where they are not known.

    Example:
      >>> import mtopt
      >>> tx = mtopt.scale_invariant(2)
      >>> jacobian = jnp.array([[-4., 1., 1.], [6., 1., 1.]])
      >>> direction, _ = tx.update(
      ...     jacobian, tx.init(jnp.zeros(3)),
      ...     evaluation=Evaluation(losses=jnp.array([2., 4.])))
      >>> print(direction)
      [-0.5   0.75  0.75]
    """

    losses: Any = None
    rows: Any = None
    heads: Any = None
    present: Any = None
    task_weights: Any = None
    key: Any = None
    params: Any = None
    problem: Any = None
    points: Any = None
    unchanged: bool = False
    summed: TaskGradients | None = None
    pullback: Callable[..., Any] | None = None
    after: Callable[[Any], Any] | None = None
    rebuilt: bool = False

    def __getattribute__(self, name: str) -> Any:
        """A field; one that a method asks for and nobody gave is an error by name."""
        value = object.__getattribute__(self, name)
        if value is None and name == "present":
            problem = vars(self)["problem"]
            return None if problem is None else problem.present
        if value is None and name in _ASKED:
            given = "losses=..." if name == "losses" else f"{name}=..."
            raise UserError(
                f"this method reads {name}, and the update was given none: hand it "
                "evaluation=problem.evaluate(params), or, on plain arrays, "
                f"evaluation=mtopt.Evaluation({given})"
            )
        return value

    def __repr__(self) -> str:
        known = (f"{name}={value!r}" for name, value in vars(self).items())
        return f"Evaluation({', '.join(known)})"

    def replace(self, **changes: Any) -> "Evaluation":
        """This evaluation with other values in some fields.

        Other rows are summed as they are, unless ``unchanged`` is given beside them,
        and are taken at no known point, unless ``points`` are.
        """
        if "rows" in changes:
            told = {"unchanged": False, "pullback": None, "summed": None}
            if not changes.get("unchanged"):
                told["points"] = Nowhere("what makes rows of its own")
            changes = {**told, **changes}
        return Evaluation(**{**vars(self), **changes})

    def knows(self, name: str) -> bool:
        """Whether a field has a value."""
        return vars(self)[name] is not None

    @property
    def gradients(self) -> Any:
        """Updates for a chain: ``{"shared": rows, "tasks": heads}``, or rows alone."""
        if not self.knows("heads"):
            return self.rows
        return {"shared": self.rows, "tasks": self.heads}

    def scaled(self, factor: Float[Array, " K"]) -> "Evaluation":
        """This evaluation with every row times a number, in every space.

        The tasks' own parameters keep their gradients.

        Args:
          factor: one number per task, ``[K]``.
        """
        points = times(factor, self.points)
        return self.replace(rows=scale_rows(factor, self.rows), points=points)

    def task_gradients(self) -> TaskGradients:
        """The gradients in the rows, to be asked for inner products, norms and sums.

        Where the rows are known to be those of the problem at one point, times a number
        each, what is asked for is computed without them wherever that is cheaper.
        """
        if self.summed is not None:
            return self.summed
        point = only_point(self.points)
        if point is not None and self.knows("problem"):
            found = self.problem.task_gradients(point.params)
            if not found.are_rows:
                leaves = _leaves_like(self.rows, found.leaves)
                found = TaskGradients(found.num_tasks, leaves).where(self.present)
                return found if point.factor is None else found.scaled(point.factor)
        return TaskGradients(len(self.present), self.rows)

    def gramian(self) -> Float[Array, "K K"]:
        """The inner products of all rows; see :func:`mtopt.gramian`."""
        return self.task_gradients().gramian()

    def norms(self) -> Float[Array, " K"]:
        """The lengths of all rows; see :func:`mtopt.linalg.row_norms`."""
        return self.task_gradients().norms()

    def representation_gramian(self) -> Float[Array, "K K"]:
        """The inner products of the representation's rows, as they were changed.

        They are the gradients of all losses with respect to the representation: where
        and times what the rows of the shared parameters are.

        Raises:
          UserError: where no problem is known, or a transformation changed the rows
            into something that has no counterpart in the representation.
        """
        points = self.points
        if self.knows("problem") or points is not None:
            points = known_points(points, "a method in the space of the representation")
        return self.problem.representation_gramian(points)

    def weighted_gradient(self, weights: Float[Array, " K"], also: Any = None) -> Any:
        r"""The gradient of the weighted loss with respect to the shared parameters.

        .. math:: \sum_k w_k t_k g_k

        with t the ``task_weights``. It is one backward pass where the rows are
        unchanged, whatever K; else the rows are summed.

        Args:
          weights: w, ``[K]``.
          also: a gradient with respect to the representation that goes back too, in the
            same pass where there is one.

        Returns:
          A tree like the shared parameters.
        """
        applied = self._applied(weights)
        if self.pullback is not None:
            return self.pullback(applied, also)
        if self.unchanged and self.summed is None:
            pulled = self.problem.pullback(self.params, applied, also)
            return _leaves_like(self.rows, pulled)
        direction = self.task_gradients().combine(applied)
        return direction if also is None else self.plus_representation(direction, also)

    def weighted_heads(self, weights: Float[Array, " K"]) -> Any:
        """The gradient of the weighted loss with respect to the tasks' own parameters.

        Args:
          weights: as for :meth:`weighted_gradient`.
        """
        applied = self._applied(weights)
        if self.unchanged and self.pullback is None and self.summed is None:
            found = self.problem.weighted_heads(self.params, applied)
            if found is not None:
                return found
        return scale_heads(self.heads, applied)

    def plus_representation(self, direction: Any, also: Any) -> Any:
        """A direction plus a gradient of the representation, through the encoder.

        Args:
          direction: a tree like the shared parameters.
          also: a gradient with respect to the representation.
        """
        pulled = self.problem.pull_representation(self.params, also)
        return jax.tree.map(jnp.add, direction, _leaves_like(direction, pulled))

    def summing(self, gradients: TaskGradients) -> "Evaluation":
        """This evaluation with weighted gradients summed from these, without a pass.

        Args:
          gradients: as a solve has asked for them, which then exist anyway.
        """
        return self.replace(summed=gradients)

    def recomputed(self) -> "Evaluation":
        """This evaluation with rows computed anew, for a branch of ``lax.cond``.

        Rows from outside of a branch are computed in every step, also in those that do
        not take it. Changed rows stay as they are.
        """
        if not self.unchanged:
            return self
        rows = self.problem.losses_and_grads(self.params)[1]["shared"]
        rows = where_present(self.present, rows, 0)
        rows = _leaves_like(self.rows, rows)
        return self.replace(rows=rows, unchanged=True)

    def restricted_to(self, present: Any) -> "Evaluation":
        """This evaluation for fewer tasks: rows of the others are 0, their losses 1.

        Their own parameters keep their gradients.

        Args:
          present: which tasks take part, ``[K]``.
        """
        losses = vars(self)["losses"]
        return self.replace(
            present=present,
            rows=where_present(present, self.rows, 0),
            losses=None if losses is None else jnp.where(present, losses, 1),
            summed=None if self.summed is None else self.summed.where(present),
            unchanged=self.unchanged,
            pullback=self.pullback,
            points=self.points,
        )

    def random_key(self, count: Any) -> Any:
        """A PRNG key for the method in this step: ``key``, or one made of a count.

        Args:
          count: the number of updates so far, which the method remembers; on plain
            arrays, where nobody hands out a key, it makes one.
        """
        if self.knows("key"):
            return self.key
        return jax.random.fold_in(jax.random.key(0), count)

    def _applied(self, weights: Float[Array, " K"]) -> Float[Array, " K"]:
        return weights if self.task_weights is None else weights * self.task_weights


FIELDS = tuple(field.name for field in dataclasses.fields(Evaluation))
_STATIC = ("unchanged", "pullback", "after")
_DROPPED = ("summed", "rebuilt")  # of one trace
_DATA = tuple(name for name in FIELDS if name not in (*_STATIC, *_DROPPED))


def _flatten(evaluation: Evaluation) -> tuple[list[Any], tuple[Any, ...]]:
    values = vars(evaluation)
    children = [(jax.tree_util.GetAttrKey(name), values[name]) for name in _DATA]
    return children, tuple(values[name] for name in _STATIC)


def _unflatten(static: tuple[Any, ...], data: Any) -> Evaluation:
    named = zip((*_DATA, *_STATIC), (*data, *static), strict=True)
    return Evaluation(**dict(named), rebuilt=True)


jax.tree_util.register_pytree_with_keys(Evaluation, _flatten, _unflatten)


def split(tree: Any) -> tuple[Any, Any]:
    """The shared part and the tasks' part of ``{"shared": ..., "tasks": ...}``.

    Any other tree is shared as a whole, and its tasks' part is None.
    """
    if isinstance(tree, dict) and tree.keys() == {"shared", "tasks"}:
        return tree["shared"], tree["tasks"]
    return tree, None


def _leaves_like(part: Any, tree: Any) -> Any:
    """The leaves of ``tree`` that ``part`` has, in the structure of ``part``."""
    if jax.tree.structure(part) == jax.tree.structure(tree):
        return tree
    leaves = dict(jax.tree_util.tree_leaves_with_path(tree))
    return jax.tree_util.tree_map_with_path(lambda path, _: leaves[path], part)
