"""The blocks of residual networks."""

from typing import Any

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtopt.models.layers import BatchNorm, padded_conv


class Block(nnx.Module):
    """Two 3x3 convolutions around a shortcut (the basic block).

    Args:
      channels: of the inputs.
      outputs: channels of the outputs.
      stride: of the first convolution, and of the shortcut.
      dilations: of the convolution that strides, and of the one behind it.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters.
    """

    expansion = 1
    """Its outputs over the channels of its 3x3 convolutions."""

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        stride: int,
        dilations: tuple[int, int] = (1, 1),
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        first, second = dilations
        self.conv1 = padded_conv(
            channels, outputs, 3, stride, dilation=first, **options
        )
        self.norm1 = BatchNorm(outputs)
        self.conv2 = padded_conv(outputs, outputs, 3, 1, dilation=second, **options)
        self.norm2 = BatchNorm(outputs)
        self.projects = stride != 1 or channels != outputs
        if self.projects:
            self.conv3 = padded_conv(channels, outputs, 1, stride, **options)
            self.norm3 = BatchNorm(outputs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ outputs"]:
        """The block on feature maps."""
        y = jax.nn.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self.projects:
            x = self.norm3(self.conv3(x))
        return jax.nn.relu(x + y)


class Bottleneck(nnx.Module):
    """A 3x3 convolution between two of 1x1, on a quarter of the channels.

    It strides in the 3x3 convolution, as torchvision's.

    Args:
      channels: of the inputs.
      outputs: channels of the outputs, four or more.
      stride: of the 3x3 convolution, and of the shortcut.
      dilations: of the convolution that strides, and of those of 3x3 behind it, of
        which there is none.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters.
    """

    expansion = 4

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        stride: int,
        dilations: tuple[int, int] = (1, 1),
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        inner = outputs // self.expansion
        self.conv1 = padded_conv(channels, inner, 1, 1, **options)
        self.norm1 = BatchNorm(inner)
        self.conv2 = padded_conv(
            inner, inner, 3, stride, dilation=dilations[0], **options
        )
        self.norm2 = BatchNorm(inner)
        self.conv3 = padded_conv(inner, outputs, 1, 1, **options)
        self.norm3 = BatchNorm(outputs)
        self.projects = stride != 1 or channels != outputs
        if self.projects:
            self.conv4 = padded_conv(channels, outputs, 1, stride, **options)
            self.norm4 = BatchNorm(outputs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ outputs"]:
        """The block on feature maps."""
        y = jax.nn.relu(self.norm1(self.conv1(x)))
        y = jax.nn.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        if self.projects:
            x = self.norm4(self.conv4(x))
        return jax.nn.relu(x + y)
