"""F-MTL: what lowers the losses and what flattens them, aggregated apart."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

from mtopt.aggregation import (
    check_rows,
    own_key,
    present_tasks,
    split,
    weights_of,
    where_present,
)
from mtopt.errors import UserError, expect_one_of
from mtopt.linalg import row_norms
from mtopt.transforms.perturbed import Radius, check_ball, make_ball, sam_gradients
from mtopt.wrappers.wrapped import init_wrapped

# A flat part below so many roundings of its gradient is nothing but their noise.
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
      its gradient counts as 0, where a scale-free A would magnify it. The perturbed
      point has the precision of the parameters: keep them in float32, whatever the
      model computes in.
    """
    ball = make_ball(rho, rho_shared, rho_task, adaptive, passes)
    expect_one_of("variant", variant, tuple(VARIANTS))
    expect_one_of("heads", heads, ("plain", "aggregator"))
    others, combine_parts = VARIANTS[variant]
    head_rule = {"head_rule": "plain"} if heads == "plain" else {}

    def init(params):
        state, weights = init_wrapped(aggregator, params)
        num_tasks = len(weights)
        check_ball(ball, num_tasks)
        if variant.endswith("_aggregate") and num_tasks < 2:
            raise UserError(f"{variant} of a single task: expected two tasks at least")
        leaves = tuple(map(jnp.copy, jax.tree.leaves(others(state, num_tasks))))
        return FlatState(state, leaves, weights)

    def update(
        updates,
        state,
        params=None,
        *,
        problem=None,
        rows=None,
        pullback=None,
        present=None,
        **extra,
    ):
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
        known = {
            **extra,
            **head_rule,
            "problem": problem,
            "present": present_tasks(num_tasks, present, problem),
            "rows": clean if rows is None else rows,
        }
        solves = _Solves(aggregator, params, num_tasks, known)
        if ball.is_point:
            alone = {} if pullback is None else {"pullback": pullback}
            direction, inner = solves.all(updates, state.aggregator, **alone)
            return direction, state._replace(aggregator=inner)
        _, sam = sam_gradients(problem, params, updates, ball)
        flat = jax.tree.map(jnp.subtract, sam["shared"], clean)
        rounding = ROUNDINGS * jnp.finfo(state.flat_weights.dtype).eps
        seen = row_norms(flat) > rounding * row_norms(clean)
        parts = _Parts(
            loss={"shared": clean, "tasks": sam["tasks"]},
            flat=where_present(seen, flat, 0),
            sam=sam,
        )
        shape = jax.eval_shape(lambda: others(state.aggregator, num_tasks))
        held = jax.tree.structure(shape).unflatten(state.others)
        direction, inner, held, flat_weights = combine_parts(
            solves, parts, state.aggregator, held
        )
        return direction, FlatState(inner, tuple(jax.tree.leaves(held)), flat_weights)

    return optax.GradientTransformationExtraArgs(
        init,
        update,  # pyright: ignore[reportArgumentType]
    )


class _Parts(NamedTuple):
    """What a step knows of the gradients: their two parts, and their sum."""

    loss: Any
    flat: Any
    sam: Any


class _Solves(NamedTuple):
    """The aggregator, with what a step hands it."""

    aggregator: optax.GradientTransformationExtraArgs
    params: Any
    num_tasks: int
    known: dict[str, Any]

    def all(self, gradients: Any, state: Any, **own: Any) -> tuple[Any, Any]:
        """The direction of the gradients of all tasks, and the new state."""
        known = {**self.known, **own}
        return self.aggregator.update(gradients, state, self.params, **known)

    def flat(self, parts: _Parts, state: Any, **own: Any) -> tuple[Any, Any]:
        """The direction of the flat parts: rows alone, and no penalty again."""
        if self.known.get("key") is not None:
            own["key"] = jax.random.fold_in(self.known["key"], 1)
        return self.all(parts.flat, state, **own, penalties=None)

    def pair(
        self, first: Any, second: Any, here: Bool[Array, " 2"], state: Any, key: Any
    ) -> tuple[Any, Any]:
        """The direction of two vectors: gradients of two tasks, the others absent."""
        absent = self.num_tasks - 2

        def among_tasks(one, other):
            rest = jnp.zeros((absent, *one.shape), one.dtype)
            return jnp.concatenate([one[None], other[None], rest])

        rows = jax.tree.map(among_tasks, first, second)
        present = jnp.concatenate([here, jnp.zeros(absent, bool)])
        return self.aggregator.update(
            rows, state, present=present, key=key, penalties=None
        )


def _split(solves, parts, inner, held):
    """The sum of two solves; both are told of the step that they make together."""
    after = solves.known.get("after")
    if after is None:
        flat, held = solves.flat(parts, held)
        direction, inner = solves.all(parts.loss, inner)
    else:

        def after_flat(flat):
            unused = solves.all(parts.loss, inner, after=_no_step)
            return after(_add_shared(unused[0], flat))

        flat, held = solves.flat(parts, held, after=after_flat)
        direction, inner = solves.all(
            parts.loss,
            inner,
            after=lambda direction: after(_add_shared(direction, flat)),
        )
    return _add_shared(direction, flat), inner, held, weights_of(held)


def _direct(solves, parts, inner, held):
    """One solve of the gradients at the perturbed points."""
    direction, inner = solves.all(parts.sam, inner)
    return direction, inner, held, weights_of(inner)


def _second_aggregate(solves, parts, inner, held):
    """The aggregator of the two directions of ``split``."""
    key = own_key(solves.known.get("key"), 0)
    unpenalized, _ = solves.all(parts.loss, inner, penalties=None)
    loss, inner = solves.all(parts.loss, inner)
    flat, flat_state = solves.flat(parts, held[0])
    present = solves.known["present"]
    here = jnp.stack([present.any(), present.any()])
    bare = unpenalized["shared"]
    both, pair_state = solves.pair(bare, flat, here, held[1], key)
    # It takes the place of the loss part, beside the penalties that are there.
    direction = _add_shared(loss, jax.tree.map(jnp.subtract, both, bare))
    return direction, inner, (flat_state, pair_state), weights_of(flat_state)


def _each_aggregate(solves, parts, inner, held):
    """The aggregator of what it makes of the two parts of each task."""
    present = solves.known["present"]
    keys = jax.random.split(own_key(solves.known.get("key"), 0), solves.num_tasks)
    here = jnp.stack([present, present], axis=1)
    each, held = jax.lax.map(
        lambda task: solves.pair(*task),
        (parts.loss["shared"], parts.flat, here, held, keys),
    )
    gradients = {**parts.loss, "shared": each}
    direction, inner = solves.all(gradients, inner)
    return direction, inner, held, jax.vmap(weights_of)(held)[:, 1]


def _per_task(state, num_tasks):
    """A state for each of the K solves of two vectors."""
    return jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf, (num_tasks, *leaf.shape)), state
    )


# The states of the solves beside the first, and what puts the parts together.
VARIANTS = {
    "split": (lambda state, num_tasks: state, _split),
    "direct": (lambda state, num_tasks: (), _direct),
    "second_aggregate": (lambda state, num_tasks: (state, state), _second_aggregate),
    "each_aggregate": (_per_task, _each_aggregate),
}


def _add_shared(direction: Any, shared: Any) -> Any:
    total = jax.tree.map(jnp.add, direction["shared"], shared)
    return {**direction, "shared": total}


def _no_step(updates: Any) -> Any:
    """What a member is told of the rest of the chain where its answer is not used."""
    return jax.tree.map(jnp.zeros_like, updates)
