"""MTAN: an attention mask of each task on every stage of one network."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.models.functional import Model, functional
from mtopt.models.heads import linear_head
from mtopt.models.layers import BatchNorm
from mtopt.models.resnet import ResNet18, padded_conv, resnet18_encoder
from mtopt.task import Task

STAGES = 4
GROWTH = (1, 2, 4, 8)  # channels of the stages of a ResNet, by its width


class Normed(nnx.Module):
    """A convolution and batch normalisation behind it."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        size: int,
        stride: int = 1,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = padded_conv(channels, outputs, size, stride, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(outputs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ d"]:
        """The normalised feature maps."""
        return self.norm(self.conv(x))


class Attention(nnx.Module):
    """The masks of one task: g and h of every stage."""

    def __init__(self, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        options = {"size": 1, "dtype": dtype, "rngs": rngs}
        outputs = [width * growth for growth in GROWTH]
        inputs = [outputs[0], *(2 * channels for channels in outputs[1:])]
        self.g = nnx.List(
            Normed(a, b, **options) for a, b in zip(inputs, outputs, strict=True)
        )
        self.h = nnx.List(Normed(b, b, **options) for b in outputs)

    def mask(self, stage: int, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """What of a stage's features the task lets through, from 0 to 1."""
        return jax.nn.sigmoid(self.h[stage](jax.nn.relu(self.g[stage](x))))


class MTAN(nnx.Module):
    """The network, and the convolutions from stage to stage; see :func:`mtan`."""

    def __init__(
        self,
        network: ResNet18,
        width: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.network = network
        options = {"size": 3, "stride": 2, "dtype": dtype, "rngs": rngs}
        self.onwards = nnx.List(
            Normed(a * width, b * width, **options)
            for a, b in itertools.pairwise(GROWTH)
        )

    def __call__(
        self, x: Num[Array, "b h w c"], task: Task
    ) -> Float[Array, "b features"]:
        """What the task lets through of the last stage, averaged over all pixels."""
        x, own = self.network.stem(x), None
        for stage in range(STAGES):
            early, late = self.network.blocks[2 * stage : 2 * stage + 2]
            u = early(x)
            x = late(u)
            read = u if own is None else jnp.concatenate([u, own], axis=-1)
            kept = task.own.mask(stage, read) * x
            if stage + 1 < STAGES:
                own = jax.nn.relu(self.onwards[stage](kept))
        return self.network.top(kept)


def mtan(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    stem: str = "small",
    width: int = 64,
) -> Model:
    r"""ResNet-18 shared by all tasks, with soft attention of each task on its stages.

    With :math:`u^l, p^l` the features behind the first and the last block of stage l,

    .. math::
       a_k^l = \sigma\big(h_k^l(g_k^l([u^l; f^l(\hat a_k^{l-1})]))\big) \qquad
       \hat a_k^l = a_k^l \odot p^l

    and the head of task k reads the mean of :math:`\hat a_k^4` over all pixels. The
    masks, g and h, are the tasks' own; the network and f are shared.

    Args:
      input_shape: (height, width, channels), at least 8 x 8 pixels (32 x 32 with the
        ``imagenet`` stem), without the batch axis. uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the convolutions compute in; parameters, normalisation, losses and
        gradients are float32.
      stem: ``"small"`` or ``"imagenet"``; see :func:`mtopt.models.resnet.resnet18`.
      width: the channels of the first stage; the last has 8 times as many.

    Returns:
      The model. What a task lets through is normalised by running statistics of its
      own.

    Raises:
      UserError: for inputs that are not images or too small, or an option out of range.

    Example:
      >>> model = mtan((8, 8, 3), names=("a", "b"), kind="classification", outputs=3,
      ...              width=2)
      >>> params, model_state = jax.eval_shape(model.init, jax.random.key(0))
      >>> params["tasks"].values["own"]["h"][3]["conv"]["kernel"].shape
      (2, 1, 1, 16, 16)

    References:
      Liu, Johns and Davison, End-to-End Multi-Task Learning with Attention, CVPR 2019,
      arXiv 1803.10704.

    Differences from the paper:
      Its networks are SegNet and a wide ResNet; on a ResNet u and p are those of
      Vandenhende et al. (2020, arXiv 2004.13379). f halves the resolution by its
      stride, where the paper pools behind it, so that odd sizes fit.
    """
    make, features = resnet18_encoder(input_shape, dtype=dtype, stem=stem, width=width)
    return functional(
        lambda rngs: MTAN(make(rngs), width, dtype=dtype, rngs=rngs),
        linear_head(features, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
        per_task=True,
        own=lambda rngs: Attention(width, dtype=dtype, rngs=rngs),
    )
