"""F-MTL: the loss and the sharpness part of SAM gradients, aggregated apart."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import Aggregator, rule_of
from mtopt.errors import UserError, expect, expect_one_of
from mtopt.evaluation import Evaluation
from mtopt.gradients.task_gradients import TaskGradients
from mtopt.linalg import row_norms, some_rows, task_numbers, where_present
from mtopt.per_task import zero_absent_heads
from mtopt.points import Nowhere, one_point
from mtopt.rule import Rule, Solution
from mtopt.transforms.perturbed import (
    Ball,
    Radius,
    check_ball,
    check_resolution,
    gradients_at,
    make_ball,
    perturbed_point,
    scaled_gradients,
)

# Of the vectors of two of the variants.
_NOWHERE = Nowhere("an aggregate in flat_regions")
# A flat part below so many roundings of its gradient is nothing but their noise.
ROUNDINGS = 100


class Flat(NamedTuple):
    """The memory of :func:`flat_regions`.

    Attributes:
      inner: the memory of the rule in the solve of the loss part (the only solve over
        all tasks, in the variants that have one).
      others: the leaves of its memories in the other solves, so that what the first
        remembers is the only one that is found by name.
      flat_weights: the weights of the flat part, ``[K]``.
    """

    inner: Any
    others: tuple[Any, ...]
    flat_weights: Float[Array, " K"]


def flat_regions(
    aggregator: optax.GradientTransformation,
    *,
    rho: Radius | None = None,
    rho_shared: Radius | None = None,
    rho_task: Radius | None = None,
    adaptive: bool = False,
    variant: str = "split",
    heads: str = "plain",
    passes: str = "vmap",
) -> Aggregator:
    r"""Sharpness-aware minimisation per task around any aggregator (F-MTL).

    .. math::
       g_k = \nabla L_k(\theta, \theta_k), \qquad
       f_k = \nabla L_k(\theta + \epsilon_k^{sh}, \theta_k + \epsilon_k^{ns}) - g_k,
       \qquad \epsilon_k = \rho\, g_k / \|g_k\|

    .. math:: d = A(g_1, \dots, g_K) + A(f_1, \dots, f_K)

    A task's gradient at the worst point nearby is the one here plus a part that makes
    the loss flat. Loss parts of several tasks tend to agree among themselves, and so do
    flat parts: each kind is aggregated on its own, by weights of its own.

    Args:
      aggregator: A, any aggregator, alone or in wrappers.
      rho: the radius of one ball around the shared and the task's own parameters, at
        least 0; or one per task. None: 0.05, that of the SAM paper and of F-MTL's NYUv2
        runs. The authors have 2 with ``adaptive`` on Multi-MNIST, and 0.0025 without on
        Cityscapes: always sweep it. 0 is the aggregator.
      rho_shared: in place of ``rho``, together with ``rho_task``: the radius of a ball
        around the shared parameters, as in the paper.
      rho_task: the radius of a ball around the task's own parameters.
      adaptive: measure every parameter in units of its size (ASAM).
      variant: ``"split"``: the equation above. ``"direct"``: :math:`A(g_1 + f_1, \dots,
        g_K + f_K)`. ``"second_aggregate"``: A of the two sums in place of their sum.
        ``"each_aggregate"``: A of the K vectors :math:`A(g_k, f_k)`. The last two are
        for aggregators of gradients alone, and two tasks at least.
      heads: ``"plain"``: a task's own parameters take its gradient at the perturbed
        point, unweighted, as in the paper; ``"aggregator"``: they take it by the
        aggregator's rule, with the weights of the loss part.
      passes: ``"vmap"``, ``"unroll"`` or ``"map"``: the K perturbed passes at once, or
        one after another; see :func:`mtopt.passes.over_tasks`.

    Returns:
      An aggregator; it needs a problem. A step costs 1 + K forward
      passes, 2K backward passes and two solves. Under ``log_losses`` the sharpness is
      that of the log-losses.

    Raises:
      UserError: for an option out of range, or around a chain or another
        flat_regions. A wrapper that holds or smooths weights belongs inside. On update,
        where parameters or model are in half precision, for a radius that it does not
        resolve, with the least that it does.

    Example:
      Both parts of the paper's two quadratics, at theta = (1, 4):

      >>> import mtopt
      >>> curves = jnp.array([[3., 1.], [1., 2.]])
      >>> lines = jnp.array([[0., 0.], [-5., -5.]])
      >>> def head_loss(head, z, y, mask, key):
      ...     return 0.5 * y["curve"][0] @ z**2 + y["line"][0] @ z
      >>> tasks = mtopt.Tasks(("a", "b"), lambda shared, x, key: shared, head_loss)
      >>> batch = mtopt.Batch(jnp.zeros(1), {"curve": curves[:, None],
      ...     "line": lines[:, None]}, jnp.ones((2, 1), bool))
      >>> problem = tasks.problem(batch, jax.random.key(0))
      >>> params = {"shared": jnp.array([1., 4.]),
      ...           "tasks": mtopt.PerTask(jnp.zeros((2, 1)), tasks.names)}
      >>> seen = problem.evaluate(params)
      >>> tx = flat_regions(mtopt.mgda(2), rho=0.5)
      >>> direction, _ = jax.jit(tx.update)(
      ...     seen.gradients, tx.init(params), params, evaluation=seen)
      >>> print(direction["shared"].round(4))
      [-0.4191  4.026 ]

    References:
      Phan et al., Beyond Losses Reweighting: Empowering Multi-Task Learning via the
      Generalization Perspective, 2022, arXiv 2211.13723.

    Differences from released code:
      Its Multi-MNIST has one ball, its CelebA, NYUv2 and Cityscapes two; all have one
      radius for both. The code of the last two variants was not released; here A of
      two vectors is A with the other tasks absent. A flat part within 100 roundings of
      its gradient counts as 0, where a scale-free A would magnify it.
    """
    ball = make_ball(rho, rho_shared, rho_task, adaptive, passes)
    expect_one_of("variant", variant, tuple(VARIANTS))
    expect_one_of("heads", heads, ("plain", "aggregator"))
    rule = rule_of(aggregator, "flat_regions")
    num_tasks = rule.num_tasks
    check_ball(ball, num_tasks)
    if not rule.any_rows:
        raise UserError(
            "flat_regions got an aggregator that is in flat_regions already, and "
            "perturbs along the gradients themselves: expected one of them"
        )
    two = not variant.endswith("_aggregate") or num_tasks >= 2
    expect(two, "num_tasks", num_tasks, f"two tasks at least, for {variant}")
    others, combine_parts = VARIANTS[variant]

    def init(inner: Any, shared: Any) -> Flat:
        leaves = tuple(map(jnp.copy, jax.tree.leaves(others(inner, num_tasks))))
        return Flat(inner, leaves, task_numbers(shared, num_tasks, 1 / num_tasks))

    def structure(inner: Any) -> Any:
        shapes = jax.eval_shape(lambda: others(inner, num_tasks))
        return jax.tree.structure(shapes)

    def solve(memory: Flat, evaluation: Evaluation) -> Solution:
        if ball.is_point:
            weights, inner, gradients = rule.solve(memory.inner, evaluation)
            return Solution(weights, memory._replace(inner=inner), gradients)
        check_resolution(evaluation, ball)
        parts = _parts(evaluation, ball, memory.flat_weights.dtype)
        held = structure(memory.inner).unflatten(memory.others)
        solution, held, flat_weights = combine_parts(rule, parts, memory.inner, held)
        flat_weights = flat_weights.astype(memory.flat_weights.dtype)
        own = Flat(solution.memory, tuple(jax.tree.leaves(held)), flat_weights)
        return solution._replace(memory=own)

    after_step = rule.after_step

    def follow(memory: Flat, evaluation: Evaluation, step: Any) -> Flat:
        """Every solve of all tasks learns from the step that they make together."""
        assert after_step is not None
        held = memory.others
        if variant == "split" and not ball.is_point:
            flat = structure(memory.inner).unflatten(held)
            held = tuple(jax.tree.leaves(after_step(flat, evaluation, step)))
        inner = after_step(memory.inner, evaluation, step)
        return memory._replace(inner=inner, others=held)

    return Aggregator(
        rule.remembering(
            init,
            solve,
            heads="plain" if heads == "plain" else rule.heads,
            gradients=None,
            one_sum=variant in ("direct", "each_aggregate"),
            any_rows=False,
            after_step=follow if after_step is not None else None,
        )
    )


class _Parts(NamedTuple):
    """The gradients of a step in two parts, and their sum, as evaluations."""

    loss: Evaluation
    flat: Evaluation
    sam: Evaluation


def _parts(evaluation: Evaluation, ball: Ball, dtype: Any) -> _Parts:
    problem = evaluation.problem
    here = one_point(evaluation.points, "flat_regions")
    there = perturbed_point(here, scaled_gradients(evaluation), ball)
    sam = gradients_at(problem, there, evaluation, ball.passes)
    clean, present = evaluation.rows, evaluation.present
    flat = jax.tree.map(jnp.subtract, sam.rows, clean)
    lengths, clean_lengths = (
        row_norms(some_rows(rows, len(present))) for rows in (flat, clean)
    )
    rounding = ROUNDINGS * jnp.finfo(dtype).eps * clean_lengths
    seen = present & ~(lengths <= rounding)  # NaN is no rounding
    flat = where_present(seen, flat, 0)
    kept = seen.astype(dtype)
    key = jax.random.fold_in(evaluation.key, 1) if evaluation.knows("key") else None
    heads = zero_absent_heads(present, sam.heads)
    rows = where_present(present, sam.rows, 0)
    return _Parts(
        loss=evaluation.replace(heads=heads).summing(
            TaskGradients(len(present), clean)
        ),
        flat=evaluation.replace(
            rows=flat,
            points=(there.times(kept), here.times(-kept)),
            heads=None,
            key=key,
        ),
        sam=sam.replace(rows=rows, points=sam.points, heads=heads),
    )


def _split(rule: Rule, parts: _Parts, inner: Any, held: Any) -> tuple[Any, Any, Any]:
    """The sum of two solves."""
    loss = rule.solve(inner, parts.loss)
    flat = rule.solve(held, parts.flat)

    def both(applied: Float[Array, " K"], also: Any) -> Any:
        flat_direction = flat.gradients.weighted_gradient(flat.weights)
        direction = _of_applied(loss.gradients, applied, also)
        return jax.tree.map(jnp.add, direction, flat_direction)

    gradients = loss.gradients.replace(pullback=both)
    return loss._replace(gradients=gradients), flat.memory, flat.weights


def _direct(rule: Rule, parts: _Parts, inner: Any, held: Any) -> tuple[Any, Any, Any]:
    """One solve of the gradients at the perturbed points."""
    solution = rule.solve(inner, parts.sam)
    return solution, held, solution.weights


def _second_aggregate(
    rule: Rule, parts: _Parts, inner: Any, held: Any
) -> tuple[Any, Any, Any]:
    """The aggregator of the two directions of ``split``."""
    loss = rule.solve(inner, parts.loss)
    flat = rule.solve(held[0], parts.flat)
    some = parts.loss.present.any()
    direction, pair = _pair(
        rule,
        loss.gradients.weighted_gradient(loss.weights),
        flat.gradients.weighted_gradient(flat.weights),
        jnp.stack([some, some]),
        held[1],
        parts.loss.random_key(0),
    )

    def of_both(applied: Float[Array, " K"], also: Any) -> Any:
        del applied
        if also is None:
            return direction
        return loss.gradients.plus_representation(direction, also)

    gradients = loss.gradients.replace(pullback=of_both)
    return (
        loss._replace(gradients=gradients),
        (flat.memory, pair.memory),
        flat.weights,
    )


def _each_aggregate(
    rule: Rule, parts: _Parts, inner: Any, held: Any
) -> tuple[Any, Any, Any]:
    """The aggregator of what it makes of the two parts of each task."""
    present = parts.loss.present
    keys = jax.random.split(parts.loss.random_key(0), rule.num_tasks)
    here = jnp.stack([present, present], axis=1)

    def of_task(task: tuple[Any, ...]) -> tuple[Any, Any, Any]:
        direction, pair = _pair(rule, *task)
        return direction, pair.memory, pair.weights[1]

    rows, held, flat_weights = jax.lax.map(
        of_task, (parts.loss.rows, parts.flat.rows, here, held, keys)
    )
    gradients = parts.loss.replace(rows=rows, points=_NOWHERE)
    return rule.solve(inner, gradients), held, flat_weights


def _pair(
    rule: Rule,
    first: Any,
    second: Any,
    here: Bool[Array, " 2"],
    memory: Any,
    key: Any,
) -> tuple[Any, Solution]:
    """The direction of two vectors: gradients of two tasks, the others absent."""
    absent = rule.num_tasks - 2

    def among_tasks(one: Array, other: Array) -> Array:
        rest = jnp.zeros((absent, *one.shape), one.dtype)
        return jnp.concatenate([one[None], other[None], rest])

    rows = jax.tree.map(among_tasks, first, second)
    present = jnp.concatenate([here, jnp.zeros(absent, bool)])
    two = Evaluation(rows=rows, present=present, key=key, points=_NOWHERE)
    solution = rule.solve(memory, two)
    return solution.gradients.weighted_gradient(solution.weights), solution


def _of_applied(gradients: Evaluation, applied: Float[Array, " K"], also: Any) -> Any:
    """The weighted gradient by weights that hold the task weights already."""
    return gradients.replace(task_weights=None).weighted_gradient(applied, also)


def _per_task(memory: Any, num_tasks: int) -> Any:
    """A memory for each of the K solves of two vectors."""
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (num_tasks, *leaf.shape)), memory
    )


# The memories of the solves beside the first, and what puts the parts together.
VARIANTS: dict[str, tuple[Callable[[Any, int], Any], Callable[..., Any]]] = {
    "split": (lambda memory, num_tasks: memory, _split),
    "direct": (lambda memory, num_tasks: (), _direct),
    "second_aggregate": (lambda memory, num_tasks: (memory, memory), _second_aggregate),
    "each_aggregate": (_per_task, _each_aggregate),
}
