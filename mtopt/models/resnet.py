"""ResNet-18 with BatchNorm, for small images or with torchvision's stem."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import expect, expect_one_of
from mtopt.models.functional import Model, functional
from mtopt.models.layers import BatchNorm, as_floats, check_image, dense, padded_conv
from mtopt.models.residual import Block
from mtopt.models.staged import Encoder, through

SMALLEST = {"small": 8, "imagenet": 32}
GROWTH = (1, 2, 4, 8)
"""The channels of the four stages over those of the first."""


class ResNet(nnx.Module):
    """Blocks in four stages, averaged over all pixels; see :func:`resnet18`.

    Args:
      channels: of the images.
      stem: ``"small"`` or ``"imagenet"``; see :func:`resnet18`.
      width: channels of the stem, and of the 3x3 convolutions of the first stage.
      representation: None, or the size of a fully connected layer behind the mean.
      block: what the stages are made of.
      counts: the blocks of each stage, one or more.
      dilated: True for stages that keep the resolution of the second, their kernels
        dilated by 2 and 4: outputs are those of the network with strides, at every
        pixel in place of every second or fourth.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters.
    """

    def __init__(
        self,
        channels: int,
        stem: str,
        width: int,
        representation: int | None,
        *,
        block: Callable[..., Any] = Block,
        counts: tuple[int, ...] = (2, 2, 2, 2),
        dilated: bool = False,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.imagenet = stem == "imagenet"
        size, stride = (7, 2) if self.imagenet else (3, 1)
        self.conv = padded_conv(channels, width, size, stride, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(width)
        self.block = block
        self.outputs = tuple(width * growth * block.expansion for growth in GROWTH)
        self.strides = (1, 2, 1, 1) if dilated else (1, 2, 2, 2)
        dilations = (1, 1, 2, 4) if dilated else (1, 1, 1, 1)
        blocks, before = [], (width, 1)
        for after, stride, dilation, count in zip(
            self.outputs, self.strides, dilations, counts, strict=True
        ):
            entry = {"stride": stride, "dilations": (before[1], dilation)}
            others = {"stride": 1, "dilations": (dilation, dilation)}
            for place, options in enumerate([entry] + [others] * (count - 1)):
                inputs = after if place else before[0]
                blocks.append(block(inputs, after, **options, dtype=dtype, rngs=rngs))
            before = after, dilation
        self.blocks = nnx.List(blocks)
        self.ends = tuple(itertools.accumulate(counts))
        self.projects = representation is not None
        if representation is not None:
            features = self.outputs[-1]
            self.dense = dense(features, representation, dtype=dtype, rngs=rngs)
        self.dtype = dtype

    @property
    def stages(self) -> list[Callable[[Array], Array]]:
        """The stem, four of blocks, and what makes features of pixels."""
        return [self.stem, *self.residual_stages, self.top]

    @property
    def residual_stages(self) -> list[Callable[[Array], Array]]:
        """The four of blocks alone."""

        def stage(i: int, x: Array) -> Array:
            return self.late(i, self.early(i, x))

        return [functools.partial(stage, i) for i in range(len(self.ends))]

    def __call__(self, x: Num[Array, "b h w c"]) -> Float[Array, "b ..."]:
        """The representation of every image."""
        return through(self, x)

    def stem(self, x: Num[Array, "b h w c"]) -> Float[Array, "b _ _ width"]:
        """What the first convolution makes of images."""
        x = jax.nn.relu(self.norm(self.conv(as_floats(x, self.dtype))))
        return overlapping_max_pool(x) if self.imagenet else x

    def early(self, i: int, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ d"]:
        """The blocks of stage i without the last."""
        first = self.ends[i - 1] if i > 0 else 0
        for block in self.blocks[first : self.ends[i] - 1]:
            x = block(x)
        return x

    def late(self, i: int, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ d"]:
        """The last block of stage i."""
        return self.blocks[self.ends[i] - 1](x)

    def top(self, x: Float[Array, "b h w c"]) -> Float[Array, "b features"]:
        """The features of the last stage."""
        x = x.mean(axis=(1, 2))
        return jax.nn.relu(self.dense(x)) if self.projects else x


def resnet18_encoder(
    input_shape: tuple[int, ...],
    *,
    dtype: DTypeLike,
    stem: str = "small",
    width: int = 64,
    representation: int | None = None,
) -> Encoder:
    """What :func:`resnet18` shares."""
    expect_one_of("stem", stem, tuple(SMALLEST))
    for option, value in (("width", width), ("representation", representation)):
        if value is not None:
            expect(value >= 1, option, value, "1 or more")
    check_image(input_shape, smallest=SMALLEST[stem], model=f"resnet18 ({stem} stem)")
    return Encoder(
        lambda rngs: ResNet(
            input_shape[2], stem, width, representation, dtype=dtype, rngs=rngs
        ),
        representation or 8 * width,
    )


def resnet18(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    stem: str = "small",
    width: int = 64,
    representation: int | None = None,
    statistics: str = "own",
) -> Model:
    """ResNet-18 shared by all tasks, global average pooling, and K linear heads.

    Args:
      input_shape: (height, width, channels), at least 8 x 8 pixels (32 x 32 with the
        ``imagenet`` stem), without the batch axis. uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the convolutions compute in, e.g. ``jnp.bfloat16``. Parameters,
        normalisation and its statistics, losses and gradients are float32 in any case.
      stem: ``"small"``: a 3x3 convolution without pooling, as is usual for images of
        32 pixels; ``"imagenet"``: 7x7 with stride 2 and a 3x3 max-pool with stride 2,
        as in the paper and torchvision.
      width: the channels of the first stage; the last has 8 times as many.
      representation: None for the pooled ``8 * width`` features, or the size of a
        fully connected layer with relu after them. F-MTL's Multi-MNIST model is
        ``stem="imagenet", representation=100``.
      statistics: whose batches normalise a task with inputs of its own: ``"own"``, or
        ``"pooled"``, those of all tasks; see :func:`mtopt.models.functional`.

    Returns:
      The model. Convolutions start from :func:`mtopt.models.layers.he_normal` and
      BatchNorm from scale 1 and bias 0 (torchvision's choices), fully connected layers
      from :func:`mtopt.models.layers.uniform` (torch's).

    Raises:
      UserError: for inputs that are not images or too small, or an option out of
        range.

    Example:
      >>> model = resnet18((36, 36, 1), names=("left", "right"), outputs=10,
      ...                  kind="classification", stem="imagenet", representation=100)
      >>> params, _ = jax.eval_shape(model.init, jax.random.key(0))
      >>> sum(leaf.size for leaf in jax.tree.leaves(params))
      11223560

    References:
      He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, 2015, arXiv
      1512.03385. F-MTL: Phan et al., Improving Multi-task Learning via Seeking
      Task-based Flat Regions, 2022, arXiv 2211.13723.

    Differences from torchvision:
      See :class:`mtopt.models.layers.BatchNorm` for the running variance. With the
      ``imagenet`` stem and its defaults all else is the same.
    """
    make, features, head = resnet18_encoder(
        input_shape,
        dtype=dtype,
        stem=stem,
        width=width,
        representation=representation,
    )
    return functional(
        make,
        head(features, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
        statistics=statistics,
    )


def overlapping_max_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """The maximum over 3 x 3 windows, stride 2, one pixel of padding.

    Rows first, then columns, each the maximum of three strided slices: as in
    :func:`mtopt.models.layers.max_pool`, without ``lax.reduce_window``. Of two pixels
    one is picked, and gets the gradient: that of ``jnp.maximum`` goes to what equals
    the maximum, which nothing does where XLA computes a normalisation again in the
    backward pass, with another rounding.

    Example:
      >>> overlapping_max_pool(jnp.arange(12.).reshape(1, 4, 3, 1))[0, :, :, 0].tolist()
      [[4.0, 5.0], [10.0, 11.0]]
    """
    lowest = float(jnp.finfo(x.dtype).min)
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=lowest)
    for axis in (1, 2):
        last = x.shape[axis] - 2
        thirds = [
            jax.lax.slice_in_dim(x, begin, begin + last, stride=2, axis=axis)
            for begin in range(3)
        ]
        x = _larger(_larger(thirds[0], thirds[1]), thirds[2])
    return x


def _larger(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Array:
    """The first where they are equal; NaN where either is."""
    return jnp.where((a >= b) | jnp.isnan(a), a, b)
