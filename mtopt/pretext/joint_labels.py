r"""A class learned together with how its input was transformed.

A classification model sees M transformed copies :math:`x_j = t_j(x)` of each input.
:func:`joint_labels` makes it learn one task of N M classes, (class, transformation);
beside it stand the controls that tell what this is worth: a class and a transformation
as two tasks, and the class alone. Which copy is which is a label that costs nothing;
the data set is an ordinary one.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from mtopt.batch import masked_mean
from mtopt.errors import UserError, expect, expect_number, expect_one_of
from mtopt.models.functional import Model, functional
from mtopt.models.heads import label_losses
from mtopt.models.pure import Factory, Pure
from mtopt.models.several_inputs import on_each

KIND = "classification"
Transformation = Callable[[Any], Any]
Outputs = dict[str, Float[Array, "b M C"]]


def rotations(count: int = 4) -> tuple[Transformation, ...]:
    """Turns of images ``[b, H, W, ...]`` by equal angles; the first is none.

    Args:
      count: 4, quarter turns of square images, or 2, half turns of any.

    Raises:
      UserError: for another number.

    Example:
      >>> image = jnp.array([[[1, 2], [3, 4]]])
      >>> [turn(image).ravel().tolist() for turn in rotations(4)]
      [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]
    """
    expect(count in (2, 4), "count", count, "2 or 4 turns")
    quarters = range(0, 4, 4 // count)
    return tuple(functools.partial(jnp.rot90, k=k, axes=(1, 2)) for k in quarters)


class Copies(nnx.Module):
    """An encoder on the transformed copies of every input, ``[b, M, ...]``."""

    def __init__(
        self,
        make: Factory,
        transformations: tuple[Transformation, ...],
        rngs: nnx.Rngs,
    ) -> None:
        self.encoder = make(rngs)
        self.transformations = transformations

    def __call__(self, x: Any) -> Any:
        """The representations of all copies."""
        copies = [transform(x) for transform in self.transformations]
        for j, copy in enumerate(copies):
            found, expected = jax.tree.map(jnp.shape, (copy, x))
            if found != expected:
                raise UserError(
                    f"transformation {j} makes {found} of inputs {expected}: expected "
                    "their shape; quarter turns are of square images"
                )
        return on_each(
            self.encoder, jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *copies)
        )


class Heads(nnx.Module):
    """The heads of a task by name, and what is made of their outputs on all copies."""

    def __init__(
        self,
        make: Callable[[int], Factory],
        sizes: dict[str, int],
        read: Callable[[Outputs], Any],
        rngs: nnx.Rngs,
    ) -> None:
        self.heads = nnx.Dict({name: make(size)(rngs) for name, size in sizes.items()})
        self.sizes = tuple(sizes.values())
        self.read = read

    def __call__(self, representation: Any) -> Any:
        """What ``read`` makes of the logits, in float32."""
        outputs = {
            name: on_each(head, representation).astype(jnp.float32)
            for name, head in self.heads.items()
        }
        for (name, logits), size in zip(outputs.items(), self.sizes, strict=True):
            if logits.shape[-1] != size:
                raise UserError(
                    f"head({size}) has {logits.shape[-1]} outputs, as the head "
                    f"{name!r}: expected as many as it is asked for"
                )
        return self.read(outputs)


def aggregate(
    joint: Float[Array, "b m NM"], outputs: int
) -> Float[Array, "b {outputs}"]:
    r"""The logits of the classes from joint ones, each copy with its transformation.

    .. math:: a_c = \frac{1}{m} \sum_{j=0}^{m-1} z_j[c M + j]

    Args:
      joint: logits of the first m of the M copies. With one, that of the input as it
        is, they are those of single inference.
      outputs: N.

    Example:
      Two classes, two transformations:

      >>> z = jnp.array([[[1., 0., 5., 0.], [0., 3., 0., 7.]]])
      >>> aggregate(z, 2).tolist(), aggregate(z[:, :1], 2).tolist()
      ([[2.0, 6.0]], [[1.0, 5.0]])
    """
    by_class = joint.reshape(*joint.shape[:2], outputs, -1)
    return jnp.diagonal(by_class, axis1=1, axis2=3).mean(axis=-1)


def _cross_entropy(
    logits: Float[Array, "b M C"], labels: Num[Array, "b M"]
) -> Float[Array, " b"]:
    """The mean over the copies."""
    each = label_losses(logits.reshape(labels.size, -1), labels.ravel(), KIND)
    return each.reshape(labels.shape).mean(axis=1)


def _augmented(
    outputs: Outputs, y: Num[Array, " b"], temperature: float
) -> Float[Array, " b"]:
    del temperature
    logits = outputs["class"]
    return _cross_entropy(logits, jnp.repeat(y[:, None], logits.shape[1], axis=1))


def _two_tasks(
    outputs: Outputs, y: Num[Array, " b"], temperature: float
) -> Float[Array, " b"]:
    logits = outputs["transformation"]
    which = jnp.broadcast_to(jnp.arange(logits.shape[1])[None], logits.shape[:2])
    return _augmented(outputs, y, temperature) + _cross_entropy(logits, which)


def _joint(
    outputs: Outputs, y: Num[Array, " b"], temperature: float
) -> Float[Array, " b"]:
    del temperature
    logits = outputs["joint"]
    which = jnp.arange(logits.shape[1], dtype=jnp.int32)
    # Labels may be bytes, which joint ones do not fit in.
    return _cross_entropy(logits, y[:, None] * jnp.int32(len(which)) + which[None])


def _distilled(
    outputs: Outputs, y: Num[Array, " b"], temperature: float
) -> Float[Array, " b"]:
    student = outputs["single"][:, 0]
    teacher = jax.lax.stop_gradient(aggregate(outputs["joint"], student.shape[1]))
    divergence = optax.losses.kl_divergence_with_log_targets(
        jax.nn.log_softmax(student / temperature),
        jax.nn.log_softmax(teacher / temperature),
    )
    own = label_losses(student, y, KIND)
    return _joint(outputs, y, temperature) + own + temperature**2 * divergence


class Form(NamedTuple):
    """What is learned of the copies, and how a class is predicted.

    Attributes:
      heads: ``(N, M) -> {name: number of outputs}``.
      losses: ``(outputs, y, T) -> [b]``.
      logits: ``(outputs, N) -> [b, N]``.
      copies: True if a prediction reads all copies, False if the input as it is.
    """

    heads: Callable[[int, int], dict[str, int]]
    losses: Callable[..., Float[Array, " b"]]
    logits: Callable[[Outputs, int], Float[Array, "b N"]]
    copies: bool = False


_SINGLE = Form(
    lambda n, m: {"joint": n * m}, _joint, lambda z, n: aggregate(z["joint"], n)
)
FORMS = {
    "aggregated": _SINGLE._replace(copies=True),
    "single": _SINGLE,
    "distilled": Form(
        lambda n, m: {"joint": n * m, "single": n},
        _distilled,
        lambda z, n: z["single"][:, 0],
    ),
    "two_tasks": Form(
        lambda n, m: {"class": n, "transformation": m},
        _two_tasks,
        lambda z, n: z["class"][:, 0],
    ),
    "augmentation": Form(
        lambda n, m: {"class": n}, _augmented, lambda z, n: z["class"][:, 0]
    ),
}
"""What :func:`joint_labels` can learn, by name."""


def joint_labels(
    encoder: Factory,
    head: Callable[[int], Factory],
    names: tuple[str, ...],
    *,
    outputs: int,
    transformations: Sequence[Transformation],
    form: str = "aggregated",
    temperature: float | int = 1.0,
    x_axis: int | None = None,
    statistics: str = "own",
) -> Model:
    r"""A classification model that learns (class, transformation) as one label.

    With z the logits of a copy j of M, y a class of N, and CE the softmax
    cross-entropy:

    ================ =============================== =================================
    form             loss of a sample                logits of its classes
    ================ =============================== =================================
    ``aggregated``   mean of CE(z_j, y M + j)        a: z_j[c M + j], mean over copies
    ``single``       the same                        z_0[c M], of x as it is
    ``distilled``    the same + CE(s, y) + T^2 KL    s, of another head on x as it is
    ``two_tasks``    mean of CE(u_j, y) + CE(v_j, j) u_0, of x as it is
    ``augmentation`` mean of CE(u_j, y)              u_0, of x as it is
    ================ =============================== =================================

    .. math:: \mathrm{KL} = \sum_c p_c \log \frac{p_c}{q_c}, \qquad
       p = \mathrm{softmax}(a / T), \quad q = \mathrm{softmax}(s / T)

    and nothing of the KL reaches a: the joint head is its teacher. Two tasks take
    class and transformation to be independent given the input, and ask the class to be
    the same for all copies, as augmentation does. A joint label asks neither: where
    turning an input changes its class, the first two cannot learn it.

    Args:
      encoder: makes the shared part, ``x -> representation``.
      head: ``number of outputs -> what makes a head``, the part of one task,
        ``representation -> logits [b, outputs]``.
      names: the K task names, sorted.
      outputs: N classes of every task, 2 or more.
      transformations: M functions of a batch of inputs ``[b, ...]`` that keep its
        shape, of which the first leaves it as it is, such as :func:`rotations`.
      form: an entry of :data:`FORMS`.
      temperature: T of ``distilled``, above 0.
      x_axis: None for shared inputs, 0 for disjoint ones; see :class:`mtopt.Tasks`.
      statistics: as of :func:`mtopt.models.functional`. Every copy counts for
        BatchNorm.

    Returns:
      The model, of ordinary labels and metrics: it predicts logits of the N classes. A
      step encodes M copies, a prediction one, of ``aggregated`` M.

    Raises:
      UserError: for another form, a number out of range, no transformation, one that
        changes the shape of its input, or a head that has not the outputs asked for.

    Example:
      >>> from mtopt.models.heads import linear_head
      >>> from mtopt.models.mlp import MLP
      >>> model = joint_labels(
      ...     lambda rngs: MLP(64, (32,), 0.0, dtype=jnp.float32, rngs=rngs),
      ...     functools.partial(linear_head, 32, kind="classification"),
      ...     ("digit",), outputs=10, transformations=rotations(4))
      >>> params, state = model.init(jax.random.key(0))
      >>> params["tasks"]["digit"]["heads"]["joint"]["kernel"].shape
      (32, 40)
      >>> model.predict(params, state, jnp.zeros((5, 8, 8, 1))).shape
      (1, 5, 10)

    References:
      Lee, Hwang and Shin, Self-supervised Label Augmentation via Input
      Transformations, 2020, arXiv 1910.05872. Distillation: Hinton, Vinyals and Dean,
      Distilling the Knowledge in a Neural Network, 2015, arXiv 1503.02531.

    Differences from the released code:
      Its controls of two tasks and augmentation are named, and raise. Its loss for
      large data sets is M times the one here.
    """
    expect_one_of("form", form, tuple(FORMS))
    expect(outputs >= 2, "outputs", outputs, "2 classes or more")
    expect_number("temperature", temperature, above=0)
    transformations = tuple(transformations)
    expect(len(transformations) > 0, "transformations", transformations, "1 or more")
    found = FORMS[form]
    sizes = found.heads(outputs, len(transformations))

    def made(seen: tuple[Transformation, ...], heads: Factory) -> Model:
        return functional(
            lambda rngs: Copies(encoder, seen, rngs),
            heads,
            names,
            kind=KIND,
            x_axis=x_axis,
            statistics=statistics,
        )

    def heads(rngs: nnx.Rngs) -> nnx.Module:
        return Heads(head, sizes, lambda logits: logits, rngs)

    def classes(rngs: nnx.Rngs) -> nnx.Module:
        return Heads(head, sizes, lambda logits: found.logits(logits, outputs), rngs)

    branch = Pure.of(heads)

    def head_loss(
        parameters: Any,
        representation: Any,
        targets: Num[Array, " b"],
        mask: Bool[Array, " b"],
        key: PRNGKeyArray,
    ) -> Float[Array, ""]:
        logits, _ = branch.train(parameters, {}, representation, key)
        return masked_mean(found.losses(logits, targets, temperature), mask)

    trained = made(transformations, heads)
    seen = transformations if found.copies else transformations[:1]
    tasks = dataclasses.replace(trained.tasks, head_loss=head_loss)
    return Model(tasks, trained.init, made(seen, classes).predict)
