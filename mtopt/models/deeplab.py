"""DeepLab: a ResNet whose last stages keep their resolution, and pyramids on it."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtopt.errors import expect
from mtopt.models.functional import Model, functional
from mtopt.models.layers import check_image
from mtopt.models.pyramid import pyramid_head
from mtopt.models.residual import Block, Bottleneck
from mtopt.models.resnet import SMALLEST, ResNet
from mtopt.models.staged import Encoder

NETWORKS = {18: (Block, (2, 2, 2, 2)), 50: (Bottleneck, (3, 4, 6, 3))}
"""The blocks of a ResNet, and how many each stage has, by its depth."""


class DilatedResNet(ResNet):
    """A ResNet at an eighth of the resolution, without an average over pixels.

    Args:
      channels: of the images.
      depth: a key of :data:`NETWORKS`.
      width: channels of the stem, and of the 3x3 convolutions of the first stage.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        width: int,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        block, counts = NETWORKS[depth]
        options: dict[str, Any] = {"block": block, "counts": counts, "dilated": True}
        super().__init__(
            channels, "imagenet", width, None, **options, dtype=dtype, rngs=rngs
        )

    @property
    def stages(self) -> list[Callable[[Array], Array]]:
        """The stem, and four of blocks."""
        return [self.stem, *self.residual_stages]

    def top(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The last stage's maps as they are."""
        return x


def deeplab_encoder(
    input_shape: tuple[int, ...],
    *,
    dtype: DTypeLike,
    depth: int = 50,
    width: int = 64,
    rates: tuple[int, ...] = (12, 24, 36),
) -> Encoder:
    """What :func:`deeplab` shares."""
    expect(depth in NETWORKS, "depth", depth, f"one of {tuple(NETWORKS)}")
    expect(width >= 1, "width", width, "1 or more")
    whole = isinstance(rates, tuple) and all(isinstance(rate, int) for rate in rates)
    expected = "dilations, each 1 or more, as in (2, 4, 6) or (2,)"
    expect(whole and min(rates, default=1) >= 1, "rates", rates, expected)
    check_image(input_shape, smallest=SMALLEST["imagenet"], model="deeplab")
    height, across, channels = input_shape
    return Encoder(
        lambda rngs: DilatedResNet(channels, depth, width, dtype=dtype, rngs=rngs),
        8 * width * NETWORKS[depth][0].expansion,
        pyramid_head((height, across), 4 * width, rates),
    )


def deeplab(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    depth: int = 50,
    width: int = 64,
    rates: tuple[int, ...] = (12, 24, 36),
) -> Model:
    """A dilated ResNet shared by all tasks, and an atrous pyramid for each.

    The last two stages of the ResNet do not halve the resolution; their kernels reach
    as far by dilations of 2 and 4. The representation is at an eighth of the
    resolution of the image, and the head of a task,
    :func:`mtopt.models.pyramid.pyramid_head`, takes it back.

    Args:
      input_shape: (height, width, channels), at least 32 x 32 pixels, without the batch
        axis. uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels of pixels are: ``"segmentation"``, ``"depth"`` or
        ``"normals"``.
      outputs: classes, or 1 for depth, 3 for normals.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the convolutions compute in, e.g. ``jnp.bfloat16``. Parameters,
        normalisation and its statistics, losses and gradients are float32 in any case.
      depth: 50, as published, or 18, for a machine of few cores.
      width: the channels of the stem, 64 as published. The representation has 32 times
        as many with depth 50, 8 times with depth 18, a branch of a pyramid 4 times.
      rates: dilations of a pyramid's 3x3 convolutions, in pixels of the representation,
        each 1 or more. The published ones are for images of 300 pixels and more: the
        representation of one of 64 has 8.

    Returns:
      The model. Convolutions start from :func:`mtopt.models.layers.he_normal` and
      BatchNorm from scale 1 and bias 0, the last layer of a head from
      :func:`mtopt.models.layers.uniform`.

    Raises:
      UserError: for inputs that are not images or too small, labels that are not of
        pixels, or an option out of range.

    Example:
      >>> model = deeplab((32, 40, 3), names=("depth",), kind="depth", outputs=1,
      ...                 depth=18, width=2, rates=(1, 2))
      >>> params, state = jax.eval_shape(model.init, jax.random.key(0))
      >>> x = jax.ShapeDtypeStruct((5, 32, 40, 3), jnp.uint8)
      >>> jax.eval_shape(model.predict, params, state, x).shape
      (1, 5, 32, 40)

    References:
      Chen, Papandreou, Schroff and Adam, Rethinking Atrous Convolution for Semantic
      Image Segmentation, 2017, arXiv 1706.05587. He, Zhang, Ren and Sun, Deep Residual
      Learning for Image Recognition, 2015, arXiv 1512.03385.

    Differences from the paper:
      The pyramid is a task's own, as in LibMTL (Lin and Zhang, "LibMTL: A Python
      Library for Deep Multi-Task Learning", 2023, arXiv 2203.14338) and the codes after
      it, so that the representation that methods see is the ResNet's. Its normalisation
      is another; see :func:`mtopt.models.pyramid.pyramid_head`.

    Differences from released code:
      LibMTL's ResNet starts from weights of ImageNet. It interpolates between the
      corners of images, here between their edges (torch's ``align_corners=False``).
    """
    make, features, head = deeplab_encoder(
        input_shape, dtype=dtype, depth=depth, width=width, rates=rates
    )
    return functional(
        make,
        head(features, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
    )
