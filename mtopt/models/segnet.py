"""SegNet: VGG-16's convolutions down to a 32nd of the resolution, and back up."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import UserError, expect
from mtopt.models.functional import Model, functional
from mtopt.models.layers import Normed, as_floats, check_image
from mtopt.models.pixels import pixel_head
from mtopt.models.staged import Carried, Encoder, through
from mtopt.models.unpooling import max_pool_with_places, unpool

GROWTH = (1, 2, 4, 8, 8)
"""The channels of the five blocks over those of the first."""
DEPTHS = (2, 2, 3, 3, 3)
"""Their convolutions: the 13 of VGG-16."""
REDUCTION = 2 ** len(GROWTH)


class SegNet(nnx.Module):
    """Five blocks and pools down, five unpoolings and blocks up; see :func:`segnet`.

    Args:
      channels: of the images.
      width: channels of the first block.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters.
    """

    def __init__(
        self, channels: int, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        self.outputs = tuple(width * growth for growth in GROWTH)
        self.ups = (*reversed(self.outputs[:-1]), width)
        options = {"dtype": dtype, "rngs": rngs}
        before = (channels, *self.outputs, *self.ups)
        depths = (*DEPTHS, *reversed(DEPTHS))
        blocks = [
            nnx.List(_block(a, b, depth, **options))
            for a, b, depth in zip(before[:-1], before[1:], depths, strict=True)
        ]
        self.down = nnx.List(blocks[: len(DEPTHS)])
        self.up = nnx.List(blocks[len(DEPTHS) :])
        self.dtype = dtype

    @property
    def stages(self) -> list[Callable[[Any], Any]]:
        """The blocks, each with its pool or unpooling."""
        down = [functools.partial(self.pooled, block) for block in self.down]
        return [*down, *(functools.partial(self.unpooled, block) for block in self.up)]

    def __call__(self, x: Num[Array, "b H W c"]) -> Float[Array, "b H W width"]:
        """The representation of every pixel."""
        return through(self, x)

    def pooled(
        self, block: Iterable[Normed], x: Num[Array, "b h w c"] | Carried
    ) -> Carried:
        """What a block makes of images, or of pooled maps, pooled in turn."""
        x, places = x if isinstance(x, Carried) else (as_floats(x, self.dtype), ())
        maxima, own = max_pool_with_places(convolved(block, x))
        return Carried(maxima, (*places, own))

    def unpooled(
        self, block: Iterable[Normed], x: Carried
    ) -> Carried | Float[Array, "b h w c"]:
        """What a block makes of maps put back where the last maxima were."""
        *left, own = x.places
        y = convolved(block, unpool(x.features, own))
        return Carried(y, tuple(left)) if left else y


def _block(channels: int, outputs: int, depth: int, **options: Any) -> list[Normed]:
    """The convolutions of a block, of which the first changes the channels."""
    inputs = (channels, *[outputs] * (depth - 1))
    return [Normed(each, outputs, size=3, **options) for each in inputs]


def convolved(
    layers: Iterable[Normed], x: Float[Array, "b h w c"]
) -> Float[Array, "b h w d"]:
    """What normalised convolutions with relu make of maps, one behind another."""
    for layer in layers:
        x = jax.nn.relu(layer(x))
    return x


def segnet_encoder(
    input_shape: tuple[int, ...], *, dtype: DTypeLike, width: int = 64
) -> Encoder:
    """What :func:`segnet` shares."""
    expect(width >= 1, "width", width, "1 or more")
    check_image(input_shape, smallest=REDUCTION, model="segnet")
    height, across, channels = input_shape
    if height % REDUCTION or across % REDUCTION:
        raise UserError(
            f"input_shape is {input_shape}: segnet halves its maps {len(GROWTH)} times "
            f"and expects height and width divisible by {REDUCTION}; crop or pad the "
            "images"
        )
    return Encoder(
        lambda rngs: SegNet(channels, width, dtype=dtype, rngs=rngs), width, pixel_head
    )


def segnet(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    width: int = 64,
) -> Model:
    """SegNet shared by all tasks, and a head of two convolutions for each.

    ======= ===================================================================
    encoder blocks of 2, 2, 3, 3, 3 convolutions 3x3 to 1, 2, 4, 8, 8 times
            ``width`` channels, each with BatchNorm and relu; a 2x2 max-pool
            behind every block, which keeps where the maxima were
    decoder the blocks in reverse, each behind an unpooling that puts values
            back where the maxima were, and zeros elsewhere
    head    convolution 3x3 ``width`` to ``width``, convolution 1x1 to
            ``outputs``
    ======= ===================================================================

    Args:
      input_shape: (height, width, channels), height and width divisible by 32, without
        the batch axis. uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels of pixels are: ``"segmentation"``, ``"depth"`` or
        ``"normals"``.
      outputs: classes, or 1 for depth, 3 for normals.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the convolutions compute in, e.g. ``jnp.bfloat16``. Parameters,
        normalisation and its statistics, losses and gradients are float32 in any case.
      width: the channels of the first block and of the representation of a pixel; 64
        as published, a quarter of it and less for a machine of few cores.

    Returns:
      The model. Convolutions start from :func:`mtopt.models.layers.he_normal`,
      BatchNorm from scale 1 and bias 0.

    Raises:
      UserError: for inputs that are not images, of a size that is not divisible by 32,
        labels that are not of pixels, or an option out of range.

    Example:
      >>> model = segnet((32, 64, 3), names=("depth",), kind="depth", outputs=1,
      ...                width=2)
      >>> params, state = jax.eval_shape(model.init, jax.random.key(0))
      >>> x = jax.ShapeDtypeStruct((5, 32, 64, 3), jnp.uint8)
      >>> jax.eval_shape(model.predict, params, state, x).shape
      (1, 5, 32, 64)

    References:
      Badrinarayanan, Kendall and Cipolla, SegNet: A Deep Convolutional Encoder-Decoder
      Architecture for Image Segmentation, 2015, arXiv 1511.00561. Liu, Johns and
      Davison, End-to-End Multi-Task Learning with Attention, 2019, arXiv 1803.10704.

    Differences from released code:
      The networks are those of Liu et al.'s code, ``model_segnet_split.py``, in which
      the first convolution of a block of the decoder changes the channels, where that
      of the SegNet paper is the last. Convolutions in front of a normalisation have no
      bias, which it would take out again: at the published width that is 7,168
      parameters of 24,981,069 for one task of 13 classes. Kernels start from He's
      distribution for the outputs, where the code has Glorot's. Equal maxima of a
      window count once, the first, as torch has it.
    """
    make, features, head = segnet_encoder(input_shape, dtype=dtype, width=width)
    return functional(
        make,
        head(features, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
    )
