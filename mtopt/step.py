"""The one training step, and the state it carries."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.batch import Batch
from mtopt.chain import refuse_untold
from mtopt.constants import check_constants, thaw
from mtopt.errors import UserError, expect, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.made_of import least_losses, modules, parts
from mtopt.micro_batches import MicroBatches
from mtopt.nonfinite import (
    ON_NONFINITE,
    NonFinite,
    heads_not_finite,
    lost_finiteness,
    tasks_below,
    tasks_not_finite,
)
from mtopt.per_head import refuse_unmapped
from mtopt.per_task import task_names
from mtopt.problem import BatchProblem, Params, Problem
from mtopt.stationary import Stationary
from mtopt.tasks import TaskGroups, Tasks

Value = Callable[[Float[Array, " K"], Bool[Array, " K"]], Float[Array, ""]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """All that a run carries from step to step, and a checkpoint stores.

    Fields are untyped because trees of shapes and stacks of seeds take this form too.

    Args:
      step: the number of steps done, int32.
      params: ``{"shared": tree, "tasks": PerTask}``.
      opt_state: the state of the optax chain: method, clipping, optimizer.
      model_state: BatchNorm statistics and their like; None or empty without any.
      key: the run's randomness, a typed key; step t uses ``fold_in(key, t)``.
      nonfinite: what a guarded step has noticed, a :class:`mtopt.NonFinite`.
      stationary: in which steps a task without a gradient decided for all, a
        :class:`mtopt.Stationary`.
      constants: shared parameters that no step changes, as :func:`mtopt.freeze` takes
        them out; None without any. Several seeds may have them in common: their axis
        under ``jax.vmap`` is None then.
    """

    step: Any
    params: Any
    opt_state: Any
    model_state: Any
    key: Any
    nonfinite: Any
    stationary: Any
    constants: Any = None

    @classmethod
    def create(
        cls,
        params: Params,
        tx: optax.GradientTransformation,
        key: PRNGKeyArray,
        model_state: Any = None,
        constants: Any = None,
    ) -> "TrainState":
        """The state before the first step.

        It is a copy: the step donates its state, and the caller's parameters and key
        must outlive that.

        Raises:
          UserError: for parameters without a place for those of the tasks, or constants
            that are not what these lack.
        """
        names = _names(params)
        if constants is not None:
            check_constants(params["shared"], constants)
        step = jnp.zeros((), jnp.int32)
        seen = NonFinite.nothing(len(names))
        rest = Stationary.nothing(len(names))
        start = tx.init(params)
        state = cls(step, params, start, model_state, key, seen, rest, constants)
        return jax.tree.map(jnp.copy, state)

    @property
    def evaluated_params(self) -> Any:
        """What is to be evaluated: the average that the chain keeps, else ``params``.

        A chain keeps one where :func:`mtopt.average_parameters` stands in it. Constants
        are in their places.
        """
        found = optax.tree.get(self.opt_state, "averaged_params")
        if found is None:
            return thaw(self.params, self.constants)
        return thaw(optax.tree.cast_like(found, self.params), self.constants)


def mean_of_present(
    losses: Float[Array, " K"], present: Bool[Array, " K"]
) -> Float[Array, ""]:
    """The mean loss of the present tasks; 0 where there are none.

    Args:
      losses: ``[K]``, 0 for absent tasks.
      present: which tasks take part, ``[K]``.
    """
    return losses.sum() / jnp.maximum(present.sum(), 1).astype(losses.dtype)


def make_train_step(
    tasks: Tasks | TaskGroups,
    tx: optax.GradientTransformation,
    *,
    on_nonfinite: str | None = None,
    micro_batches: int = 1,
    value: Value = mean_of_present,
    donate: bool = True,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Any]]]:
    """The jitted step ``(state, batch) -> (state, metrics)`` of a whole method.

    The step never learns which method runs. It always writes down the per-task
    gradients; where the chain does not read them, the compiled program has no trace
    of them, and costs what ``jax.grad`` of the weighted loss costs.

    Args:
      tasks: the model, as :class:`mtopt.Tasks` or :class:`mtopt.TaskGroups`.
      tx: the chain: transformations of per-task gradients, one aggregator, then
        ordinary optax, e.g. ``mtopt.chain(mtopt.mgda(3), optax.adamw(1e-3))``.
      on_nonfinite: what happens on a batch where a loss, a gradient or the update is
        NaN or infinite, or a loss is below the lowest that the method's formulas take
        (``least_losses`` of its :class:`mtopt.Rule`). None: nothing, and no cost.
        ``"skip_step"``: no step is taken; parameters, memories, model state, the number
        of the step and its key stay as they were, bit for bit. ``"skip_task"``: the
        tasks concerned are absent from the batch, and no step is taken where that does
        not help; on shared inputs it costs a second pass through the heads, on disjoint
        ones a second pass. ``"raise"``: as ``"skip_step"``, and whoever looks at
        ``state.nonfinite`` raises, as :func:`mtopt.check_finite` and the training loop
        do. ``"stop"``: as ``"skip_step"``, and no step is taken on any later batch
        either, so that of a stack of models the others can go on.
      micro_batches: M, which divides the number of samples. The batch is evaluated part
        after part, in the memory of one, and the step is that of the whole batch: each
        task's gradients are averaged by its labels before the one aggregation. Losses
        are means over labels, as of :func:`mtopt.masked_mean`.
      value: ``(losses, present) -> scalar``, the keyword ``value`` of the chain, which
        ``optax.contrib.reduce_on_plateau`` and its like read.
      donate: True to reuse the memory of the state that the step is given; False to
        keep that state.

    Raises:
      UserError: for an optax wrapper that cannot stand around a chain, or an optimizer
        of layers behind an aggregator, or a method that learns from the step, in no
        :func:`mtopt.chain`; on the first step, for a chain without an aggregator.

    Returns:
      The step. It donates its state: keep using the one it returns. Metrics are
      ``losses [K]``, ``present [K]`` and ``stationary_decides [K]`` in task order, the
      last where a task without a gradient had nearly all the weight, and others one
      (:class:`mtopt.Stationary`); with a guard also ``nonfinite [K]`` and ``skipped``,
      and ``aux`` where the head losses return more than a loss. For several seeds at
      once, ``jax.jit(jax.vmap(step))``.

    Example:
      >>> import mtopt
      >>> def encode(shared, x, key):
      ...     return x @ shared
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z @ head - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b"), encode, head_loss)
      >>> params = {"shared": 0.1 * jnp.ones((3, 4)),
      ...           "tasks": mtopt.PerTask(jnp.ones((2, 4)), tasks.names)}
      >>> tx = mtopt.chain(mtopt.mgda(2), optax.sgd(0.05))
      >>> state = mtopt.TrainState.create(params, tx, jax.random.key(0))
      >>> step = make_train_step(tasks, tx)
      >>> batch = mtopt.Batch.shared(
      ...     jnp.eye(3), {"a": jnp.ones(3), "b": jnp.array([1., 2., 3.])})
      >>> for _ in range(3):
      ...     state, metrics = step(state, batch)
      >>> [round(float(loss), 3) for loss in metrics["losses"]]
      [0.197, 2.771]
    """
    if on_nonfinite is not None:
        expect_one_of("on_nonfinite", on_nonfinite, ON_NONFINITE)
    expect(micro_batches >= 1, "micro_batches", micro_batches, "at least 1")
    _refuse_around(tx)
    refuse_unmapped(tx)
    refuse_untold(tx)
    update = optax.with_extra_args_support(tx).update
    least = None if on_nonfinite is None else least_losses(tx)

    def in_micro_batches(problem: BatchProblem) -> Problem:
        if micro_batches == 1:
            return problem
        return MicroBatches.of(problem, micro_batches)

    def advance(
        state: TrainState, problem: Problem
    ) -> tuple[TrainState, Evaluation, Any, Bool[Array, " K"]]:
        """One step, whatever its numbers are.

        Beside the state the evaluation, what tells whether a task moves, and which
        tasks decided at rest.
        """
        evaluation = problem.evaluate(state.params)
        told = problem.telling_gradients(state.params, evaluation.heads)
        try:
            updates, opt_state = update(
                evaluation.gradients,
                state.opt_state,
                state.params,
                evaluation=evaluation,
                value=value(evaluation.losses, evaluation.present),
            )
        except TypeError as error:
            _explain_search(error)
            raise
        _check_updates(updates, state.params, tx)
        _check_state(opt_state, state.opt_state)
        rest, decides = state.stationary.after(
            state.step, told, evaluation.present, opt_state
        )
        new = dataclasses.replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
            model_state=problem.next_model_state(state.params),
            stationary=rest,
        )
        return new, evaluation, told, decides

    @functools.partial(jax.jit, donate_argnums=(0,) if donate else ())
    def train_step(
        state: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, Any]]:
        key = jax.random.fold_in(state.key, state.step)
        of_batch = tasks.problem(batch, key, state.model_state, state.constants)
        problem = in_micro_batches(of_batch)
        if on_nonfinite is None:
            new, evaluation, _, decides = advance(state, problem)
            return new, _metrics(problem, state.params, evaluation, decides)
        bad = jnp.zeros(len(problem.names), bool)
        nobody = jnp.zeros((), bool)
        of_bad = jnp.zeros(())
        if on_nonfinite == "skip_task":
            of_bad = problem.losses(state.params)
            bad = problem.tasks_not_finite(state.params) | tasks_below(of_bad, least)
            bad &= problem.present
            problem = in_micro_batches(of_batch.without(bad))
            nobody = bad.any() & ~problem.present.any()
        new, evaluation, told, decides = advance(state, problem)
        losses = evaluation.losses
        still_bad = tasks_not_finite(losses, ()) | heads_not_finite(told)
        still_bad = (still_bad | tasks_below(losses, least)) & problem.present
        old, new = (dataclasses.replace(each, constants=None) for each in (state, new))
        skipped = nobody | still_bad.any() | lost_finiteness(old, new)
        if on_nonfinite == "stop":
            skipped |= state.nonfinite.first >= 0
        position = state.step + state.nonfinite.skipped
        losses = jnp.where(bad, of_bad, losses)
        found = state.nonfinite.noticed(
            position, bad | still_bad, skipped, losses, least
        )
        metrics = _metrics(problem, state.params, evaluation, decides) | {
            "nonfinite": bad | still_bad,
            "skipped": skipped,
        }
        kept = jax.tree.map(lambda a, b: jnp.where(skipped, a, b), old, new)
        held = state.constants
        return dataclasses.replace(kept, nonfinite=found, constants=held), metrics

    return train_step


def _names(params: Params) -> tuple[str, ...]:
    """The task names that the parameters are of."""
    names = task_names(params)
    if not names:
        found = sorted(params) if isinstance(params, dict) else type(params).__name__
        raise UserError(
            f"params are {found}, without a mtopt.PerTask: expected "
            '{"shared": ..., "tasks": mtopt.PerTask(...)}; for tasks without '
            "parameters of their own, mtopt.PerTask({}, names)"
        )
    return names


def _metrics(
    problem: Problem,
    params: Params,
    evaluation: Evaluation,
    decides: Bool[Array, " K"],
) -> dict[str, Any]:
    metrics = {
        "losses": evaluation.losses,
        "present": evaluation.present,
        "stationary_decides": decides,
    }
    aux = problem.auxiliary(params)
    return metrics if aux is None else metrics | {"aux": aux}


# optax's wrappers of whole optimizers that take gradients of the parameters' shapes.
_AROUND = {
    "MultiSteps": "accumulate inside of the step: mtopt.make_train_step(tasks, "
    "mtopt.chain(...), micro_batches=4)",
    "apply_if_finite": 'write mtopt.make_train_step(..., on_nonfinite="skip_step"), or '
    "let it stand behind the aggregator, around the rest",
    "lookahead": "let it stand behind the aggregator, or average the parameters",
    "sam": "take mtopt.sam or mtopt.per_task_sam, before the aggregator",
}


def _refuse_around(tx: Any) -> None:
    """Raises for a wrapper that cannot take per-task gradients, with what can."""
    function = getattr(tx, "update", None)
    name = getattr(function, "__qualname__", "").split(".")[0]
    if "optax.contrib._sam" in modules(tx):  # it takes no keywords, wherever it stands
        name = "sam"
    elif not getattr(function, "__module__", "").startswith("optax"):
        return
    if name in _AROUND:
        raise UserError(
            f"optax's {name} cannot stand around a chain, where gradients have an axis "
            f"of tasks: {_AROUND[name]}"
        )


def _explain_search(error: TypeError) -> None:
    """Raises where a member asks for what only a line search needs."""
    for name in ("value_fn", "grad"):
        if "missing" in str(error) and f"'{name}'" in str(error):
            raise UserError(
                f"a member of the chain searches along the update and asks for {name}: "
                "write the loop and hand it value, grad and value_fn of the mean loss, "
                'as the page "With optax" shows under "Line search"'
            ) from error


def _check_updates(updates: Any, params: Params, tx: Any) -> None:
    """Raises unless the optimizer made one update for each parameter.

    Without an aggregator the gradients keep their task axis, and adding them to the
    parameters would broadcast.
    """
    found = jax.tree_util.tree_leaves_with_path(updates)
    for (path, update), parameter in zip(found, jax.tree.leaves(params), strict=True):
        if jnp.shape(update) != jnp.shape(parameter):
            made_of = ", ".join(sorted(parts(tx) - {"chain"}))
            raise UserError(
                f"the optimizer made an update of shape {jnp.shape(update)} for "
                f"params{jax.tree_util.keystr(path)} of shape {jnp.shape(parameter)}: "
                f"no aggregator among its members ({made_of}): expected a chain with "
                "one, such as mtopt.chain(mtopt.mgda(3), optax.adam(1e-3))"
            )


def _check_state(new: Any, old: Any) -> None:
    """Raises where a member's state takes the shape of rows in its first step."""
    before = jax.tree_util.tree_leaves_with_path(old)
    for (path, leaf), after in zip(before, jax.tree.leaves(new), strict=False):
        if jnp.shape(leaf) != jnp.shape(after):
            raise UserError(
                f"the optimizer's state{jax.tree_util.keystr(path)} changes from shape "
                f"{jnp.shape(leaf)} to {jnp.shape(after)}: a member that keeps moments "
                "stands before the aggregator, where gradients have a task axis; "
                "expected it behind, or mtopt.task_momentum in its place"
            )
