"""Atrous spatial pyramid pooling: a head that reads pixels at several distances."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from mtopt.models.layers import dense, padded_conv
from mtopt.models.pixels import check_pixels
from mtopt.models.pure import Factory

DROPOUT = 0.5


class Layer(nnx.Module):
    """A convolution, normalised at every pixel over its channels, and relu.

    Args:
      channels: of the inputs.
      outputs: channels of the outputs.
      size: of the kernel, odd.
      dilation: pixels from one of the kernel's to the next.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        size: int,
        dilation: int = 1,
        *,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = padded_conv(
            channels, outputs, size, 1, dilation=dilation, dtype=dtype, rngs=rngs
        )
        self.norm = nnx.LayerNorm(outputs, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        """The feature maps behind it."""
        return jax.nn.relu(self.norm(self.conv(x)))


class Pyramid(nnx.Module):
    """The branches, what joins them, and two convolutions; see :func:`pyramid_head`."""

    def __init__(
        self,
        features: int,
        outputs: int,
        *,
        size: tuple[int, int],
        channels: int,
        rates: Sequence[int],
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        self.near = Layer(features, channels, 1, **options)
        self.far = nnx.List(
            Layer(features, channels, 3, rate, **options) for rate in rates
        )
        self.image = Layer(features, channels, 1, **options)
        self.joined = Layer((len(rates) + 2) * channels, channels, 1, **options)
        self.dropout = nnx.Dropout(DROPOUT, rngs=rngs)
        self.smooth = Layer(channels, channels, 3, **options)
        self.outputs = dense(channels, outputs, **options)
        self.size = size

    def __call__(self, x: Float[Array, "b h w features"]) -> Float[Array, "b H W C"]:
        """The outputs of every pixel of the image."""
        whole = self.image(x.mean(axis=(1, 2), keepdims=True))
        branches = [
            self.near(x),
            *(far(x) for far in self.far),
            jnp.broadcast_to(whole, (*x.shape[:3], whole.shape[3])),
        ]
        y = self.dropout(self.joined(jnp.concatenate(branches, axis=3)))
        y = self.outputs(self.smooth(y))
        return jax.image.resize(y, (len(y), *self.size, y.shape[3]), "bilinear")


def pyramid_head(
    size: tuple[int, int], channels: int, rates: tuple[int, ...]
) -> Callable[..., Factory]:
    r"""A head of several views of a coarse representation, as DeepLab has it.

    Beside one another a convolution 1x1, one 3x3 for each rate r, which reads the
    pixels r apart, and the mean over all pixels behind a convolution 1x1; a convolution
    1x1 of all of them, dropout of a half, a convolution 3x3, and one 1x1 to the
    outputs, which bilinear interpolation takes to the resolution of the image. All but
    the last have relu behind a normalisation.

    Args:
      size: (height, width) of the outputs.
      channels: of every branch and of what joins them.
      rates: r, each 1 or more, in pixels of the representation; a kernel whose
        neighbours all lie outside of it is one of 1x1.

    Returns:
      What makes the head, ``(features, outputs, *, kind, dtype) -> factory``, as
      :class:`mtopt.models.staged.Encoder` has it.

    Example:
      >>> head = pyramid_head((16, 16), 8, (1, 2))(32, 3, kind="normals")(nnx.Rngs(0))
      >>> head(jnp.ones((1, 2, 2, 32))).shape
      (1, 16, 16, 3)

    References:
      Chen, Papandreou, Schroff and Adam, Rethinking Atrous Convolution for Semantic
      Image Segmentation, 2017, arXiv 1706.05587.

    Differences from the paper:
      Normalisation is over the channels of a pixel (Ba, Kiros and Hinton, Layer
      Normalization, 2016, arXiv 1607.06450), where the paper's is over the batch: a
      head keeps no running statistics.
    """

    def head(
        features: int, outputs: int, *, kind: str, dtype: DTypeLike = jnp.float32
    ) -> Factory:
        check_pixels(kind)
        options: dict[str, Any] = {"channels": channels, "rates": rates, "dtype": dtype}
        return lambda rngs: Pyramid(features, outputs, size=size, **options, rngs=rngs)

    return head
