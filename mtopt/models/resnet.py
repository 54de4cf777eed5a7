"""ResNet-18 with BatchNorm, for small images or with torchvision's stem."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import expect, expect_one_of
from mtopt.models.convolution import convolution
from mtopt.models.functional import Model, functional
from mtopt.models.heads import linear_head
from mtopt.models.layers import BatchNorm, as_floats, check_image, dense, he_normal
from mtopt.models.staged import Encoder, through

SMALLEST = {"small": 8, "imagenet": 32}


class Block(nnx.Module):
    """Two 3x3 convolutions around a shortcut (the basic block)."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        stride: int,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv1 = padded_conv(channels, outputs, 3, stride, dtype=dtype, rngs=rngs)
        self.norm1 = BatchNorm(outputs)
        self.conv2 = padded_conv(outputs, outputs, 3, 1, dtype=dtype, rngs=rngs)
        self.norm2 = BatchNorm(outputs)
        self.projects = stride != 1 or channels != outputs
        if self.projects:
            self.conv3 = padded_conv(
                channels, outputs, 1, stride, dtype=dtype, rngs=rngs
            )
            self.norm3 = BatchNorm(outputs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ outputs"]:
        """The block on feature maps."""
        y = jax.nn.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.projects:
            x = self.norm3(self.conv3(x))
        return jax.nn.relu(x + y)


class ResNet18(nnx.Module):
    """Eight blocks in four stages, averaged over all pixels; see :func:`resnet18`."""

    def __init__(
        self,
        channels: int,
        stem: str,
        width: int,
        representation: int | None,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.imagenet = stem == "imagenet"
        size, stride = (7, 2) if self.imagenet else (3, 1)
        self.conv = padded_conv(channels, width, size, stride, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(width)
        before = (1, 1, 1, 2, 2, 4, 4, 8)
        after = (1, 1, 2, 2, 4, 4, 8, 8)
        self.blocks = nnx.List(
            Block(b * width, a * width, stride=a // b, dtype=dtype, rngs=rngs)
            for b, a in zip(before, after, strict=True)
        )
        self.projects = representation is not None
        if representation is not None:
            self.dense = dense(8 * width, representation, dtype=dtype, rngs=rngs)
        self.dtype = dtype

    @property
    def stages(self) -> list[Callable[[Array], Array]]:
        """The stem, four of two blocks, and what makes features of pixels."""
        pairs = [functools.partial(self.pair, i) for i in range(4)]
        return [self.stem, *pairs, self.top]

    def __call__(self, x: Num[Array, "b h w c"]) -> Float[Array, "b features"]:
        """The representation of every image."""
        return through(self, x)

    def stem(self, x: Num[Array, "b h w c"]) -> Float[Array, "b _ _ width"]:
        """What the first convolution makes of images."""
        x = jax.nn.relu(self.norm(self.conv(as_floats(x, self.dtype))))
        return overlapping_max_pool(x) if self.imagenet else x

    def pair(self, i: int, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ d"]:
        """Both blocks of stage i."""
        return self.blocks[2 * i + 1](self.blocks[2 * i](x))

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
        lambda rngs: ResNet18(
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
    make, features = resnet18_encoder(
        input_shape,
        dtype=dtype,
        stem=stem,
        width=width,
        representation=representation,
    )
    head = linear_head(features, outputs, kind=kind, dtype=dtype)
    return functional(
        make, head, names, kind=kind, x_axis=x_axis, statistics=statistics
    )


def overlapping_max_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """The maximum over 3 x 3 windows, stride 2, one pixel of padding.

    Rows first, then columns, each the maximum of three strided slices: as in
    :func:`mtopt.models.layers.max_pool`, without ``lax.reduce_window``.

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
        x = jnp.maximum(jnp.maximum(thirds[0], thirds[1]), thirds[2])
    return x


def padded_conv(
    channels: int,
    outputs: int,
    size: int,
    stride: int,
    *,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """Padded by ``size // 2`` on either side, without a bias."""
    return nnx.Conv(
        channels,
        outputs,
        (size, size),
        strides=stride,
        padding=size // 2,
        use_bias=False,
        kernel_init=he_normal(size * size * outputs),
        dtype=dtype,
        conv_general_dilated=convolution,
        rngs=rngs,
    )
