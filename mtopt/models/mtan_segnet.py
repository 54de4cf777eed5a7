"""MTAN on SegNet: masks on every block of the encoder and of the decoder."""

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.models.layers import Normed, as_floats
from mtopt.models.masks import MaskSize
from mtopt.models.segnet import SegNet, convolved
from mtopt.models.unpooling import max_pool_with_places, unpool
from mtopt.task import Task


class AttendedSegNet(nnx.Module):
    """The network, and what leads from block to block; see :func:`mtopt.models.mtan`.

    Args:
      network: that the tasks attend to.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters that lead from block to block.
    """

    def __init__(self, network: SegNet, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.network = network
        options = {"size": 3, "dtype": dtype, "rngs": rngs}
        down, up = network.outputs, network.ups
        # Behind an encoder's block to the channels of the next, in front of a
        # decoder's to its own.
        self.down = nnx.List(
            Normed(a, b, **options)
            for a, b in zip(down, (*down[1:], down[-1]), strict=True)
        )
        self.up = nnx.List(
            Normed(a, b, **options)
            for a, b in zip((down[-1], *up[:-1]), up, strict=True)
        )

    @staticmethod
    def masks(network: SegNet) -> list[MaskSize]:
        """The sizes of a task's masks, down and up."""
        down, up = network.outputs, network.ups
        first = MaskSize(down[0], down[0], down[0])
        return [
            first,
            *(MaskSize(2 * channels, channels, channels) for channels in down[1:]),
            *(
                MaskSize(unpooled + channels, channels, channels)
                for unpooled, channels in zip((down[-1], *up[:-1]), up, strict=True)
            ),
        ]

    def __call__(
        self, x: Num[Array, "b H W c"], task: Task
    ) -> Float[Array, "b H W width"]:
        """What the task lets through of the last block."""
        network, places = self.network, []
        x = as_floats(x, network.dtype)
        own: list[Array] = []
        for i, block in enumerate(network.down):
            u = convolved(block[:1], x)
            p = convolved(block[1:], u)
            x, place = max_pool_with_places(p)
            places.append(place)
            kept = task.own(i, u, *own) * p
            onwards, _ = max_pool_with_places(jax.nn.relu(self.down[i](kept)))
            own = [onwards]
        attended = own[0]
        for i, block in enumerate(network.up):
            u = unpool(x, places.pop())
            x = convolved(block, u)
            read = jax.nn.relu(self.up[i](_twice(attended)))
            attended = task.own(len(network.down) + i, u, read) * x
        return attended


def _twice(x: Float[Array, "b h w c"]) -> Float[Array, "b H W c"]:
    """Maps of twice the size, by bilinear interpolation."""
    batch, height, width, channels = x.shape
    return jax.image.resize(x, (batch, 2 * height, 2 * width, channels), "bilinear")
