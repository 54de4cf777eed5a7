"""Virtual adversarial training: predictions that small changes do not turn."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from mtopt.batch import masked_mean
from mtopt.errors import expect
from mtopt.pretext.pretext import unit_rows

HeadLoss = Callable[..., Float[Array, ""]]
Predict = Callable[[Any, Float[Array, "b ..."]], Float[Array, "b C"]]


def virtual_adversarial(
    head_loss: HeadLoss,
    predict: Predict,
    *,
    radius: float | int = 1.0,
    weight: float | int = 1.0,
    iterations: int = 1,
    symmetric: bool = False,
) -> HeadLoss:
    r"""A head's loss, and how far the worst small change of its input turns it.

    With p(e) the softmax of the logits at the representation e of a sample, and sg
    what no gradient passes,

    .. math::
       d \leftarrow \frac{H d}{\|H d\|}, \quad
       H = \nabla_r^2 \, \mathrm{KL}\big(p(e) \,\|\, p(e + r)\big) \Big|_{r = 0},
       \qquad
       L = L_{head} + \lambda \operatorname{mean}_b \mathrm{KL}\big(
           \mathrm{sg}\, p(e) \,\|\, p(e + \epsilon \, \mathrm{sg}\, d)\big)

    from a random direction d of each sample. Of few labels a head can be sure in many
    ways; this prefers those that are not about to change. It needs no pass through the
    encoder, and goes wherever a head's loss does, as
    ``dataclasses.replace(tasks, head_loss=virtual_adversarial(...))``.

    Args:
      head_loss: of one task, ``(head, representation, targets, mask, key) -> scalar``.
      predict: ``(head, representation) -> logits [b, C]`` of that task, such as
        ``z @ head["kernel"] + head["bias"]`` of a linear head of a model in
        :data:`mtopt.models.MODELS`; of one logit s for yes or no, ``[0, s]``.
      radius: epsilon, the length of a change, above 0; it may be traced.
      weight: lambda, at least 0; likewise.
      iterations: how often H is applied, 1 or more: more come closer to its largest
        eigenvector.
      symmetric: True also for the other direction, as fine-tuned language models have
        it: :math:`\mathrm{KL}(p(\mathrm{sg}\, e) \| p(\mathrm{sg}\, e + r)) +
        \mathrm{KL}(\mathrm{sg}\, p(\mathrm{sg}\, e + r) \| p(e))`, with sg on the first
        p, too. The encoder then learns from the second part alone.

    Returns:
      A head's loss. Only labelled samples are changed: the others may be padding.

    Raises:
      UserError: for an option out of range.

    Example:
      >>> from mtopt.models.heads import cross_entropy
      >>> def predict(head, z):
      ...     return z @ head
      >>> def head_loss(head, z, y, mask, key):
      ...     return masked_mean(cross_entropy(predict(head, z), y), mask)
      >>> smooth = virtual_adversarial(head_loss, predict, radius=0.5)
      >>> z, y = jnp.eye(3), jnp.array([0, 1, 1])
      >>> of = z, y, jnp.ones(3, bool), jax.random.key(0)
      >>> loss = smooth(jnp.zeros((3, 2)), *of)  # flat: nothing turns it
      >>> round(float(loss), 4)
      0.6931
      >>> head = jnp.array([[1., 0.], [0., 1.], [0., 1.]])
      >>> bool(smooth(head, *of) > head_loss(head, *of))
      True

    References:
      Miyato et al., Virtual Adversarial Training: A Regularization Method for
      Supervised and Semi-Supervised Learning, 2017, arXiv 1704.03976; at an embedding
      and in both directions, Jiang et al., SMART: Robust and Efficient Fine-Tuning for
      Pre-trained Natural Language Models, 2019, arXiv 1911.03437.

    Differences from the paper:
      Changes are of the representation, not of the input, and of labelled samples
      alone. H d is exact, a forward derivative of a gradient; the paper takes a finite
      difference, which in float32 is mostly rounding at its step of 1e-6.
    """
    expect(radius > 0, "radius", radius, "a number above 0")
    expect(weight >= 0, "weight", weight, "a number of at least 0")
    expect(iterations >= 1, "iterations", iterations, "1 or more")

    def smooth(
        head: Any,
        representation: Float[Array, "b ..."],
        targets: Any,
        mask: Bool[Array, " b"],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        own = head_loss(head, representation, targets, mask, key)
        # Another key than the head's own noise has.
        turn = worst_change(
            lambda e: predict(head, e),
            representation,
            jax.random.fold_in(key, 1),
            iterations=iterations,
        )
        base = representation
        if symmetric:
            base = jax.lax.stop_gradient(representation)
        clean = predict(head, representation)
        changed = predict(head, base + radius * turn)
        divergence = kl(jax.lax.stop_gradient(clean), changed)
        if symmetric:
            divergence += kl(jax.lax.stop_gradient(changed), clean)
        return own + weight * masked_mean(divergence, mask)

    return smooth


def worst_change(
    logits: Callable[[Float[Array, "b ..."]], Float[Array, "b C"]],
    representation: Float[Array, "b ..."],
    key: PRNGKeyArray,
    *,
    iterations: int,
) -> Float[Array, "b ..."]:
    """The direction of each sample in which its prediction turns most.

    Args:
      logits: of a representation, each sample's from its own.
      representation: where.
      key: of the directions that it starts from.
      iterations: how often the curvature is applied.

    Returns:
      Of length 1, or zeros where no direction turns the prediction; no gradient passes.

    Example:
      >>> found = worst_change(lambda e: e * jnp.array([[3., 0.]]), jnp.ones((1, 2)),
      ...                      jax.random.key(0), iterations=1)
      >>> abs(found).round(4).tolist()
      [[1.0, 0.0]]
    """
    at = jax.lax.stop_gradient(representation)
    clean = jax.lax.stop_gradient(logits(at))

    def slope(change: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        return jax.grad(lambda r: kl(clean, logits(at + r)).sum())(change)

    direction = _unit(jax.random.normal(key, at.shape, at.dtype))
    for _ in range(iterations):
        _, curved = jax.jvp(slope, (jnp.zeros_like(at),), (direction,))
        direction = _unit(curved)
    return jax.lax.stop_gradient(direction)


def kl(p: Float[Array, "b C"], q: Float[Array, "b C"]) -> Float[Array, " b"]:
    """The divergence of the softmax of q from that of p, in nats.

    Example:
      >>> float(kl(jnp.zeros((1, 2)), jnp.zeros((1, 2)))[0])
      0.0
    """
    log_p, log_q = jax.nn.log_softmax(p), jax.nn.log_softmax(q)
    return (jnp.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def _unit(changes: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    return unit_rows(changes.reshape(len(changes), -1)).reshape(changes.shape)
