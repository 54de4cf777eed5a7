"""F-MTL: what lowers the losses and what flattens them, aggregated apart."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from mtopt.aggregation import check_rows, own_key, present_tasks, split, weights_of
from mtopt.errors import UserError, expect_one_of
from mtopt.linalg import row_norms
from mtopt.sharpness import Radius, check_ball, make_ball, sam_gradients
from mtopt.wrappers.wrapped import init_wrapped

VARIANTS = ("split", "direct", "second_aggregate", "each_aggregate")

# A flat part below this many roundings of its gradient is their difference alone.
ROUNDINGS = 100


class FlatState(NamedTuple):
    """State of :func:`flat_regions`.

    Attributes:
      aggregator: the state of the aggregator on the loss part (of the only solve over
        all tasks, in the variants that have one).
      others: the leaves of its states in the other solves, so that the weights of the
        first are the only ones that are found by name.
      flat_weights: the weights of the flat part, ``[K]``.
    """

    aggregator: Any
    others: tuple[Any, ...]
    flat_weights: Float[Array, " K"]


def flat_regions(
    aggregator: optax.GradientTransformationExtraArgs,
    *,
    rho: Radius | None = None,
    rho_shared: Radius | None = None,
    rho_task: Radius | None = None,
    adaptive: bool = False,
    variant: str = "split",
    heads: str = "plain",
    passes: str = "vmap",
) -> optax.GradientTransformationExtraArgs:
    r"""Leads every task to a flat region of its loss, through any aggregator (F-MTL).

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
      An aggregator; it needs ``problem`` and the parameters. A step costs 1 + K forward
      passes, 2K backward passes and two solves. Under ``log_losses`` the sharpness is
      that of the log-losses.

    Raises:
      UserError: for an option out of range, where a chain is wrapped (on init), or
        inside of a wrapper that holds or smooths weights (on update).

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
      >>> _, grads = problem.losses_and_grads(params)
      >>> tx = flat_regions(mtopt.mgda(2), rho=0.5)
      >>> direction, _ = tx.update(grads, tx.init(params), params, problem=problem)
      >>> print(direction["shared"].round(4))
      [-0.4191  4.026 ]

    References:
      Phan et al., Beyond Losses Reweighting: Empowering Multi-Task Learning via the
      Generalization Perspective, 2022, arXiv 2211.13723.

    Differences from released code:
      Its Multi-MNIST has one ball, its CelebA, NYUv2 and Cityscapes two; all have one
      radius for both. The code of the last two variants was not released; here A of
      two vectors is A with the other tasks absent. A flat part within 100 roundings of
      its gradient counts as absent, where a scale-free A would magnify it.
    """
    ball = make_ball(rho, rho_shared, rho_task, adaptive, passes)
    expect_one_of("variant", variant, VARIANTS)
    expect_one_of("heads", heads, ("plain", "aggregator"))
    head_rule = {"head_rule": "plain"} if heads == "plain" else {}

    def init(params):
        state, weights = init_wrapped(aggregator, params)
        num_tasks = len(weights)
        check_ball(ball, num_tasks)
        pairs = variant in ("second_aggregate", "each_aggregate")
        if pairs and num_tasks < 2:
            raise UserError(f"{variant} of a single task: expected two tasks at least")
        leaves = jax.tree.leaves(state)
        others = {
            "split": (leaves,),
            "direct": (),
            "second_aggregate": (leaves, leaves),
            "each_aggregate": (
                [jnp.broadcast_to(leaf, (num_tasks, *leaf.shape)) for leaf in leaves],
            ),
        }[variant]
        return FlatState(state, jax.tree.map(jnp.copy, others), weights)

    def update(
        updates,
        state,
        params=None,
        *,
        problem=None,
        rows=None,
        pullback=None,
        present=None,
        after=None,
        **extra,
    ):
        del rows, pullback  # the clean rows exist: summing them costs no pass
        if problem is None or params is None:
            raise TypeError("flat_regions.update() missing 'params' or 'problem'")
        if {"weights", "reweigh"} & extra.keys():
            raise UserError(
                "flat_regions has weights for two parts, and the wrapper around it for "
                "one: write flat_regions(weights_every(...)), not the other way round"
            )
        clean, _ = split(updates)
        num_tasks = len(state.flat_weights)
        check_rows(clean, split(params)[0], num_tasks)
        present = present_tasks(num_tasks, present, problem)

        def solve(gradients, inner, after=after, **own) -> tuple[Any, Any]:
            known = {**extra, "problem": problem, "present": present, "rows": clean}
            if after is not None:
                known["after"] = after
            return aggregator.update(gradients, inner, params, **{**known, **own})

        def solve_flat(gradients, inner, after=after):
            own = {"present": present & flat_seen, "penalties": None}
            if "key" in extra:
                own["key"] = jax.random.fold_in(extra["key"], 1)
            return solve(gradients, inner, after, **own)

        if ball.is_point:
            direction, inner = solve(updates, state.aggregator, **head_rule)
            return direction, state._replace(aggregator=inner)

        _, sam = sam_gradients(problem, params, updates, ball)
        if variant == "direct":
            direction, inner = solve(sam, state.aggregator, **head_rule)
            return direction, FlatState(inner, (), weights_of(inner))

        flat = jax.tree.map(jnp.subtract, sam["shared"], clean)
        rounding = ROUNDINGS * jnp.finfo(state.flat_weights.dtype).eps
        flat_seen = row_norms(flat) > rounding * row_norms(clean)
        structure = jax.tree.structure(state.aggregator)
        others = [structure.unflatten(leaves) for leaves in state.others]

        if variant == "each_aggregate":
            keys = jax.random.split(own_key(extra.get("key"), 0), num_tasks)
            here = jnp.stack([present, present & flat_seen], axis=1)
            each, pairs = jax.lax.map(
                lambda task: _aggregate_pair(aggregator, num_tasks, *task),
                ((clean, flat), here, others[0], keys),
            )
            gradients = {"shared": each, "tasks": sam["tasks"]}
            direction, inner = solve(gradients, state.aggregator, **head_rule)
            flat_weights = jax.vmap(weights_of)(pairs)[:, 1]
            return direction, FlatState(inner, (jax.tree.leaves(pairs),), flat_weights)

        loss_gradients = {"shared": clean, "tasks": sam["tasks"]}

        def solve_loss(after=after):
            return solve(loss_gradients, state.aggregator, after, **head_rule)

        if after is None:
            flat_direction, flat_state = solve_flat(flat, others[0])
            direction, inner = solve_loss()
        else:
            # Both parts are told of the step that they make together.
            def after_flat(flat_direction):
                return after(_add_shared(solve_loss(_no_step)[0], flat_direction))

            flat_direction, flat_state = solve_flat(flat, others[0], after_flat)
            direction, inner = solve_loss(
                lambda direction: after(_add_shared(direction, flat_direction))
            )
        flat_weights, solved = weights_of(flat_state), [flat_state]
        if variant == "second_aggregate":
            pair = (direction["shared"], flat_direction)
            here = jnp.stack([present.any(), (present & flat_seen).any()])
            key = own_key(extra.get("key"), 0)
            shared, pair_state = _aggregate_pair(
                aggregator, num_tasks, pair, here, others[1], key
            )
            direction = {**direction, "shared": shared}
            solved.append(pair_state)
        else:
            direction = _add_shared(direction, flat_direction)
        leaves = tuple(jax.tree.leaves(solution) for solution in solved)
        return direction, FlatState(inner, leaves, flat_weights)

    return optax.GradientTransformationExtraArgs(
        init,
        update,  # pyright: ignore[reportArgumentType]
    )


def _aggregate_pair(aggregator, num_tasks, pair, here, state, key):
    """The aggregator on two vectors: the gradients of two tasks, the others absent."""

    def among_tasks(first, second):
        rest = jnp.zeros((num_tasks - 2, *first.shape), first.dtype)
        return jnp.concatenate([first[None], second[None], rest])

    rows = jax.tree.map(among_tasks, *pair)
    present = jnp.concatenate([here, jnp.zeros(num_tasks - 2, bool)])
    return aggregator.update(rows, state, present=present, key=key)


def _add_shared(direction: Any, shared: Any) -> Any:
    total = jax.tree.map(jnp.add, direction["shared"], shared)
    return {**direction, "shared": total}


def _no_step(updates: Any) -> Any:
    """What a member is told of the rest of the chain where its answer is not used."""
    return jax.tree.map(jnp.zeros_like, updates)
