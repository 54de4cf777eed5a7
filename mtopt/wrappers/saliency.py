"""Task saliency in the shared representation, and Rep-MTL's two penalties on it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from mtopt.errors import UserError, expect_number, expect_one_of
from mtopt.linalg import divide_or_zero
from mtopt.options import Number
from mtopt.problem import Params, Problem
from mtopt.simplex import mean_over

ANCHORS = ("tasks", "mean")
SMOOTHING = 0.03


def task_saliency(
    problem: Problem, params: Params, representation: Any = None
) -> Float[Array, "K B ..."]:
    r"""The gradient of every task's loss with respect to the shared representation.

    .. math:: S_k = \partial L_k / \partial Z

    It reads the heads alone: its derivatives cost passes through the heads, none
    through the encoder.

    Args:
      problem: the batch.
      params: where to evaluate.
      representation: Z, if it is known; None runs the encoder.

    Returns:
      ``[K, B, ..., C]``, channels last as in Z; zero for a sample without a label. With
      disjoint inputs ``S[k, b]`` belongs to sample b of task k.

    Raises:
      UserError: for groups of tasks without a common representation, or one that is not
        a single array.

    Example:
      >>> import mtopt
      >>> jacobian = jnp.array([[2., 0.], [1., 1.]])
      >>> problem, params = mtopt.linear_problem(jacobian, jnp.ones(2))
      >>> jax.jit(task_saliency)(problem, params).shape
      (2, 6, 2)

    References:
      Wang et al., Rep-MTL: Unleashing the Power of Representation-level Task Saliency
      for Multi-Task Learning, 2025, arXiv 2507.21049.
    """
    if representation is None:
        representation = problem.representation(params)
    leaves = jax.tree.leaves(problem.representation_gradients(params, representation))
    if len(leaves) != 1 or leaves[0].ndim < 3 or jnp.iscomplexobj(leaves[0]):
        raise UserError(
            f"the representation has leaves {[leaf.shape[1:] for leaf in leaves]}: "
            "expected a single array [B, ..., C] of real numbers"
        )
    return leaves[0]


def task_saliency_regulation(
    saliency: Float[Array, "K B ..."],
    *,
    smoothing: Number = SMOOTHING,
    balanced: bool = False,
) -> Float[Array, ""]:
    r"""TSR, task-specific saliency regulation: how evenly tasks share the places.

    .. math::
       \hat S_{k,i} = \frac1C \sum_c S_{k,i,c}, \qquad
       a_{k,i} = \sqrt{\hat S_{k,i}^2 + (s r)^2}, \qquad
       P_{k,i} = \frac{a_{k,i}}{\sum_j a_{j,i}}, \qquad
       L_{tsr} = \frac1N \sum_i H(P_{\cdot,i})

    with :math:`H(P) = -\sum_k P_k \log P_k`, an entropy at each of the N places i of
    the representation: every spatial position of every sample that some task depends
    on; padding of either is left out. r is the root mean square of
    :math:`\hat S` over the batch, a constant to derivatives. It is low where one task
    alone depends on a place, and log K where all do alike. It does not change when all
    saliencies are scaled together, and changes when one task's are.

    At s = 0, the paper's, the derivative in a size is
    :math:`-(\log P_k + H) / \sum_j a_j`, which has no bound: one place where every
    task's channels nearly cancel can outweigh the rest of the batch, hundreds of times
    over, and tears down late in training what was learned. With s > 0 no place is
    smaller than s r.

    TSR can starve a task. At its minimum, 0, one task may own every place, and nothing
    then tells the shared parameters of the others. The balanced form

    .. math:: L = \frac1N \sum_i H(P_{\cdot,i}) - H(\bar P), \qquad
              \bar P_k = \frac1N \sum_i P_{k,i}

    is 0 there, as where all share all places, and least, -log K, where each task owns
    as many places as every other.

    Args:
      saliency: ``[K, B, ..., C]``, channels last, with any number of spatial axes.
      smoothing: s, at least 0, in units of the batch's typical size; 0 is the paper's.
      balanced: subtract the entropy of the mean shares.

    Returns:
      The entropy in nats, in [0, log K]; balanced, in [-log K, 0]. It is 0 where no
      task has a saliency. Where a task's saliency is exactly 0 in all channels of a
      place it takes no part there: its size is 0, and so is its derivative.

    Raises:
      UserError: for a negative smoothing.

    Example:
      >>> saliency = jnp.array([[[3.]], [[1.]]])
      >>> print(f"{jax.jit(task_saliency_regulation)(saliency, smoothing=0):.4f}")
      0.5623

      Places that one task has to itself, and places that each has its own of:

      >>> starved = jnp.array([[[1.], [1.]], [[0.], [0.]]])
      >>> shared_out = jnp.array([[[1.], [0.]], [[0.], [1.]]])
      >>> for places in (starved, shared_out):
      ...     one, two = (
      ...         task_saliency_regulation(places, balanced=b) for b in (False, True)
      ...     )
      ...     print(f"{one + 0:.2f} {two + 0:.2f}")
      0.00 0.00
      0.00 -0.69

    References:
      Wang et al., Rep-MTL: Unleashing the Power of Representation-level Task Saliency
      for Multi-Task Learning, 2025, arXiv 2507.21049.

    Differences from the paper:
      The smoothed size and the balanced form are ours.
    """
    expect_number("smoothing", smoothing, at_least=0)
    num_tasks, channels = saliency.shape[0], saliency.shape[-1]
    places = _in_float32(saliency).reshape(num_tasks, -1, channels)
    seen = (places != 0).any(axis=-1)
    mean = jnp.mean(_over_largest(places, axis=None), axis=-1)
    typical = jnp.sqrt(mean_over(seen.reshape(-1), (mean * mean).reshape(-1)))
    floor = smoothing * jax.lax.stop_gradient(typical)
    size = jnp.where(seen, jnp.hypot(mean, floor), 0)
    share = divide_or_zero(size, size.sum(axis=0)[None])
    anywhere = seen.any(axis=0)
    value = mean_over(anywhere, _entropy(share))
    if balanced:
        value = value - _entropy(jax.vmap(mean_over, (None, 0))(anywhere, share))
    return value


def cross_task_saliency_alignment(
    saliency: Float[Array, "K B ..."],
    *,
    temperature: Number = 0.5,
    anchor: str = "tasks",
) -> Float[Array, ""]:
    r"""CSA: saliencies of one sample are pulled together, those of two apart.

    .. math::
       M_{k,b} = S_{k,b} S_{k,b}^\top, \qquad \hat A_b = A_b A_b^\top, \qquad
       A_b = \big[ \bar s_{1,b} \cdots \bar s_{K,b} \big]

    .. math::
       L_{csa} = \frac1{KB} \sum_{k,b} \Big( -\frac{\cos(\hat A_b, M_{k,b})}{\tau}
           + \log \sum_{j \ne b} \exp \frac{\cos(\hat A_b, \hat A_j)}{\tau} \Big)

    with S a C x P matrix of channels and places, and :math:`\bar s` its mean over the
    places. Neither M nor :math:`\hat A` is built: :math:`\langle S S^\top, A A^\top
    \rangle = \| S^\top A \|_F^2`, and :math:`\| S S^\top \|_F` is that of the smaller
    of the two products.

    Args:
      saliency: ``[K, B, ..., C]``, channels last, with any number of spatial axes or
        none. With disjoint inputs, row b of every task counts as one sample, as the
        equations would have it: pairs are formed by their place in the batch.
      temperature: tau, above 0; the paper does not say which, 0.5 is ours.
      anchor: ``"tasks"``: the columns of A are the tasks, as in the paper's figure;
        ``"mean"``: one column, their mean, as another reading of its Equation 8.

    Returns:
      The mean over the pairs of a task and a sample that have a saliency, at least
      :math:`-1/\tau`. 0 where fewer than two samples have one.

    Raises:
      UserError: for an option out of range, or a batch of one sample.

    Example:
      Two samples, one task, orthogonal saliencies: all that can be reached.

      >>> saliency = jnp.eye(2)[None]
      >>> print(jax.jit(cross_task_saliency_alignment)(saliency, temperature=0.5))
      -2.0

    References:
      Wang et al., Rep-MTL: Unleashing the Power of Representation-level Task Saliency
      for Multi-Task Learning, 2025, arXiv 2507.21049.
    """
    expect_number("temperature", temperature, above=0)
    expect_one_of("anchor", anchor, ANCHORS)
    num_tasks, batch, *_, channels = saliency.shape
    if batch < 2:
        raise UserError(
            "cross-task saliency alignment compares samples: expected a batch of two "
            "at least"
        )
    seen = _seen(saliency)
    whole = _in_float32(saliency).reshape(num_tasks, batch, -1, channels)
    own = _over_largest(whole, axis=(2, 3))
    columns = jnp.moveaxis(_over_largest(whole, axis=(0, 2, 3)).mean(axis=2), 0, 1)
    if anchor == "mean":
        columns = columns.mean(axis=1, keepdims=True)
    own_size = _product_norm(own)
    anchor_size = _product_norm(columns)

    def cosine(squares: Array, left: Array, right: Array) -> Array:
        return divide_or_zero(squares, left * right)

    aligned, crossed = _products(own, columns)
    positive = cosine(aligned, own_size, anchor_size[None])
    negative = cosine(crossed, anchor_size[:, None], anchor_size[None])
    known = anchor_size > 0
    others = known[None] & ~jnp.eye(batch, dtype=bool)
    spread = jax.nn.logsumexp(negative / temperature, axis=1, where=others)
    spread = jnp.where(others.any(axis=1), spread, 0)
    pairs = seen & (known & others.any(axis=1))[None]
    value = spread[None] - positive / temperature
    return mean_over(pairs.reshape(-1), value.reshape(-1))


def _entropy(share: Float[Array, "K ..."]) -> Float[Array, "..."]:
    """The entropy over the tasks; a share of 0 adds nothing to it."""
    logs = jnp.log(jnp.where(share > 0, share, 1))
    return -(share * logs).sum(axis=0)


def _products(
    own: Float[Array, "K B P C"], columns: Float[Array, "B A C"]
) -> tuple[Float[Array, "K B"], Float[Array, "B B"]]:
    """The inner products of ``S S^T`` with ``A A^T``, and of the latter in pairs.

    From the smaller of ``A A^T``, of channels, and what is of columns: of many tasks on
    few channels, those of all pairs of columns would be gigabytes.
    """
    product = functools.partial(jnp.einsum, precision="highest")
    if columns.shape[2] < columns.shape[1]:
        gram = product("bac,bad->bcd", columns, columns)
        aligned = product("kbpc,bcd,kbpd->kb", own, gram, own)
        return aligned, product("bcd,jcd->bj", gram, gram)
    aligned = _squares(product("kbpc,bac->kbpa", own, columns))
    return aligned, _squares(product("bac,jdc->bjad", columns, columns))


def _product_norm(matrices: Float[Array, "... p c"]) -> Float[Array, " ..."]:
    """The Frobenius norm of ``S^T S``, from the smaller of the two products."""
    rows, columns = matrices.shape[-2:]
    contract = "...pc,...qc->...pq" if rows <= columns else "...pc,...pd->...cd"
    product = jnp.einsum(contract, matrices, matrices, precision="highest")
    squares = _squares(product)
    # The square root has no derivative at 0, which is that of an absent task.
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def _squares(matrices: Float[Array, "... p q"]) -> Float[Array, " ..."]:
    return jnp.sum(matrices * matrices, axis=(-2, -1))


def _seen(saliency: Float[Array, "K B ..."]) -> Bool[Array, "K B"]:
    """Which task has a saliency in which sample."""
    return (saliency != 0).any(axis=tuple(range(2, saliency.ndim)))


def _in_float32(saliency: Float[Array, " ..."]) -> Float[Array, " ..."]:
    return saliency.astype(jnp.promote_types(saliency.dtype, jnp.float32))


def _over_largest(values: Float[Array, " ..."], axis: Any) -> Float[Array, " ..."]:
    """Values over their largest entry, a constant: saliencies of 1e-9 have squares."""
    largest = jnp.max(jnp.abs(values), axis=axis, keepdims=True)
    largest = jax.lax.stop_gradient(jnp.where(largest > 0, largest, 1))
    return values / largest
