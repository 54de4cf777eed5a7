"""How flat the losses are around a point: in a ball, and on a plane through it."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mtopt.errors import expect
from mtopt.linalg import divide_or_zero, row_norms, scale_rows, some_rows
from mtopt.per_task import scale_heads, task_names
from mtopt.problem import Params, Problem
from mtopt.transforms.perturbed import (
    DEFAULT_RHO,
    Ball,
    Radius,
    check_ball,
    make_ball,
    perturbations,
    task_norms,
)


def sharpness(
    problem: Problem,
    params: Params,
    *,
    rho: Radius = DEFAULT_RHO,
    adaptive: bool = False,
    steps: int = 1,
    passes: str = "vmap",
) -> Float[Array, " K"]:
    r"""How far the loss of every task rises within a ball around the parameters.

    .. math::
       S_k = \max_{\|\epsilon\| \le \rho} L_k(\theta + \epsilon) - L_k(\theta)

    over the shared and the task's own parameters together, a ball for each task. One
    step has the first-order maximum :math:`\epsilon = \rho\, g_k / \|g_k\|`: it is what
    SAM and F-MTL descend, a lower bound of S (below 0 only where the ball is too large
    for a gradient to say much). Further steps climb on by :math:`\rho / 2` along the
    gradient and back into the ball, and the highest point counts.

    Args:
      problem: the batch; of a model in evaluation form, unless its noise is meant.
      params: the centre.
      rho: the radius, at least 0; or one per task.
      adaptive: measure every parameter in units of its size, as ASAM does: then
        rescaling a layer and undoing it in the next changes nothing.
      steps: at least 1; each costs K forward and backward passes.
      passes: how these run, see :func:`mtopt.passes.over_tasks`.

    Returns:
      The rise of every task. It can be traced: ``jax.jit`` what calls it.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> import mtopt
      >>> def head_loss(head, z, y, mask, key):
      ...     return mtopt.masked_mean((z - y) ** 2, mask)
      >>> tasks = mtopt.Tasks(("a", "b"), lambda shared, x, key: x * shared, head_loss)
      >>> params = {"shared": jnp.ones(()), "tasks": mtopt.PerTask({}, tasks.names)}
      >>> batch = mtopt.Batch.shared(
      ...     jnp.ones(1), {"a": jnp.zeros(1), "b": -jnp.ones(1)})
      >>> problem = tasks.problem(batch, jax.random.key(0))
      >>> print(jax.jit(lambda params: sharpness(problem, params, rho=0.5))(params))
      [1.25 2.25]

    References:
      Foret et al., Sharpness-Aware Minimization for Efficiently Improving
      Generalization, 2020, arXiv 2010.01412.
      Kwon et al., ASAM: Adaptive Sharpness-Aware Minimization for Scale-Invariant
      Learning of Deep Neural Networks, 2021, arXiv 2102.11600.
    """
    expect(steps >= 1, "steps", steps, "at least 1")
    ball = make_ball(rho, None, None, adaptive, passes)
    check_ball(ball, len(problem.names))
    stride = dataclasses.replace(ball, rho_shared=np.asarray(ball.rho_shared / 2))
    losses, grads = problem.losses_and_grads(params, passes=passes)

    def climb(
        state: tuple[Params, Float[Array, " K"]], _: None
    ) -> tuple[tuple[Params, Float[Array, " K"]], None]:
        moved, highest = state
        here, grads = problem.losses_and_grads(
            _displaced(params, moved), shared_axis=0, passes=passes
        )
        further = jax.tree.map(jnp.add, moved, perturbations(params, grads, stride))
        return (_into_ball(params, further, ball), jnp.maximum(highest, here)), None

    first = perturbations(params, grads, ball), jnp.full_like(losses, -jnp.inf)
    (moved, highest), _ = jax.lax.scan(climb, first, length=steps - 1)
    last = problem.losses(_displaced(params, moved), shared_axis=0)
    return jnp.maximum(highest, last) - losses


def filter_normalized_direction(key: PRNGKeyArray, params: Params) -> Params:
    r"""A random direction in which every filter moves in units of its own length.

    .. math:: d_{f} \leftarrow \frac{d_{f}}{\|d_{f}\|} \|\theta_{f}\|

    for Gaussian d, so that landscapes of networks whose layers have different scales
    can be compared. A filter is what makes one output: the last axis of a kernel counts
    them, ``[..., inputs, outputs]``. Biases and scales, with one axis, do not move.

    Args:
      key: of the random numbers; the same for parameters of the same shapes.
      params: ``{"shared": tree, "tasks": PerTask or groups of them}``; every task's own
        filters are normalised apart.

    Returns:
      The direction, a tree like ``params``.

    Example:
      >>> import mtopt
      >>> params = {"shared": {"kernel": jnp.array([[3., 0.], [4., 0.]])},
      ...           "tasks": mtopt.PerTask({"bias": jnp.ones((2, 3))}, ("a", "b"))}
      >>> direction = filter_normalized_direction(jax.random.key(0), params)
      >>> print(jnp.linalg.norm(direction["shared"]["kernel"], axis=0).round(3))
      [5. 0.]

    References:
      Li et al., Visualizing the Loss Landscape of Neural Nets, 2017, arXiv 1712.09913.
    """

    def shared(key: PRNGKeyArray, leaf: Float[Array, "..."]) -> Float[Array, "..."]:
        return _filters(jax.random.normal(key, leaf.shape, leaf.dtype), leaf)

    def own(key: PRNGKeyArray, leaf: Float[Array, "K ..."]) -> Float[Array, "K ..."]:
        return jax.vmap(shared)(jax.random.split(key, len(leaf)), leaf)

    def over_leaves(
        function: Callable[[PRNGKeyArray, Array], Array], key: PRNGKeyArray, tree: Any
    ) -> Any:
        leaves, structure = jax.tree.flatten(tree)
        keys = jax.random.split(key, max(len(leaves), 1))
        moved = [function(k, leaf) for k, leaf in zip(keys, leaves, strict=False)]
        return jax.tree.unflatten(structure, moved)

    shared_key, own_key = jax.random.split(key)
    return {
        "shared": over_leaves(shared, shared_key, params["shared"]),
        "tasks": over_leaves(own, own_key, params["tasks"]),
    }


def plane(
    losses: Callable[[Params], Float[Array, " K"]],
    params: Params,
    directions: tuple[Params, Params],
    alphas: Float[Array, " A"],
    betas: Float[Array, " B"],
) -> Float[Array, "A B K"]:
    r"""The losses of all tasks on a plane through the parameters.

    .. math:: L_k(\theta + \alpha\, d_1 + \beta\, d_2)

    One point after another, so that the memory is that of one forward pass. A single
    beta of 0 makes it a line.

    Args:
      losses: of all tasks at a point, such as ``problem.losses``.
      params: where the plane is centred.
      directions: two trees like ``params``, see :func:`filter_normalized_direction`.
      alphas: how far along the first.
      betas: how far along the second.

    Returns:
      The losses. It can be traced: ``jax.jit`` what calls it.

    Example:
      >>> across, along = {"x": jnp.array([1., 0.])}, {"x": jnp.array([0., 1.])}
      >>> plane(lambda p: p["x"] ** 2, {"x": jnp.zeros(2)}, (across, along),
      ...       jnp.array([0., 2.]), jnp.array([3.])).tolist()
      [[[0.0, 9.0]], [[4.0, 9.0]]]
    """

    def at(point: tuple[Float[Array, ""], Float[Array, ""]]) -> Float[Array, " K"]:
        alpha, beta = point

        def move(p: Array, first: Array, second: Array) -> Array:
            return p + (alpha * first + beta * second).astype(p.dtype)

        return losses(jax.tree.map(move, params, *directions))

    grid = jnp.meshgrid(alphas, betas, indexing="ij")
    values = jax.lax.map(at, tuple(axis.ravel() for axis in grid))
    return values.reshape(len(alphas), len(betas), -1)


def _displaced(params: Params, moved: Params) -> Params:
    """A copy of the shared parameters for every task, each moved, and its own."""
    shared = jax.tree.map(lambda p, e: p[None] + e, params["shared"], moved["shared"])
    own = jax.tree.map(jnp.add, params["tasks"], moved["tasks"])
    return {"shared": shared, "tasks": own}


def _into_ball(params: Params, moved: Params, ball: Ball) -> Params:
    """The displacements, those that leave the ball shortened to its surface."""
    measured = moved
    if ball.adaptive:

        def over_size(p: Array, e: Array) -> Array:
            return divide_or_zero(e, jnp.abs(p))

        measured = {
            "shared": jax.tree.map(
                lambda p, e: over_size(p[None], e), params["shared"], moved["shared"]
            ),
            "tasks": jax.tree.map(over_size, params["tasks"], moved["tasks"]),
        }
    num_tasks = len(task_names(measured["tasks"]))
    shared = row_norms(some_rows(measured["shared"], num_tasks))
    length = jnp.hypot(shared, task_norms(measured["tasks"], len(shared)))
    radius = jnp.asarray(ball.rho_shared, length.dtype)
    scale = jnp.minimum(divide_or_zero(radius, length), 1)
    return {
        "shared": scale_rows(scale, moved["shared"]),
        "tasks": scale_heads(moved["tasks"], scale),
    }


def _filters(direction: Array, leaf: Array) -> Array:
    """The direction in units of the filters, along the last axis; 0 for a vector."""
    if leaf.ndim < 2:
        return jnp.zeros_like(leaf)
    sizes = [
        jnp.linalg.norm(array.reshape(-1, leaf.shape[-1]), axis=0)
        for array in (leaf, direction)
    ]
    return direction * divide_or_zero(*sizes)[(None,) * (leaf.ndim - 1)]
