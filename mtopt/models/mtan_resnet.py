"""MTAN on a ResNet: masks on the last block of every stage."""

import itertools
from typing import Any

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.models.layers import Normed
from mtopt.models.masks import MaskSize
from mtopt.models.residual import Block
from mtopt.models.resnet import ResNet
from mtopt.task import Task


class AttendedResNet(nnx.Module):
    """The network, and what leads from stage to stage; see :func:`mtopt.models.mtan`.

    Args:
      network: that the tasks attend to.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters that lead from stage to stage.
    """

    def __init__(self, network: ResNet, *, dtype: DTypeLike, rngs: nnx.Rngs) -> None:
        self.network = network
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        strides = network.strides[1:]
        onwards = [
            Normed(a, b, size=3, stride=stride, **options)
            if network.block is Block
            else network.block(a, b, stride=stride, **options)
            for (a, b), stride in zip(
                itertools.pairwise(network.outputs), strides, strict=True
            )
        ]
        self.onwards = nnx.List(onwards)

    @staticmethod
    def masks(network: ResNet) -> list[MaskSize]:
        """The sizes of a task's masks."""
        inner = [channels // network.block.expansion for channels in network.outputs]
        read = [1, 2, 2, 2]
        return [
            MaskSize(times * channels, own, channels)
            for times, own, channels in zip(read, inner, network.outputs, strict=True)
        ]

    def __call__(self, x: Num[Array, "b h w c"], task: Task) -> Float[Array, "b ..."]:
        """What the task lets through of the last stage, as the network ends."""
        x, own = self.network.stem(x), ()
        for stage in range(len(self.network.outputs)):
            u = self.network.early(stage, x)
            x = self.network.late(stage, u)
            kept = task.own(stage, u, *own) * x
            if stage < len(self.onwards):
                own = (jax.nn.relu(self.onwards[stage](kept)),)
        return self.network.top(kept)
