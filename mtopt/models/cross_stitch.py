"""Cross-stitch networks: an encoder for each task, whose stages are mixed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.errors import expect_number, expect_one_of
from mtopt.grammar import CallText
from mtopt.models.deeplab import deeplab_encoder
from mtopt.models.functional import Model, functional
from mtopt.models.lenet import lenet_encoder
from mtopt.models.mlp import mlp_encoder
from mtopt.models.resnet import resnet18_encoder
from mtopt.models.segnet import segnet_encoder
from mtopt.models.stack import Stack
from mtopt.models.staged import Carried
from mtopt.task import Task

ENCODERS = {
    "deeplab": deeplab_encoder,
    "lenet": lenet_encoder,
    "mlp": mlp_encoder,
    "resnet18": resnet18_encoder,
    "segnet": segnet_encoder,
}
"""What may be stitched: names to ``(input_shape, *, dtype, ...) -> Encoder``."""
UNITS = ("stage", "channel")


class CrossStitch(nnx.Module):
    """K encoders, and the units between them; see :func:`cross_stitch`."""

    def __init__(
        self,
        make: Callable[[nnx.Rngs], Any],
        count: int,
        channels: tuple[int, ...],
        own: float,
        rngs: nnx.Rngs,
    ) -> None:
        self.networks = Stack(make, count, rngs)
        others = (1 - own) / max(count - 1, 1)
        start = jnp.where(jnp.eye(count, dtype=bool), own if count > 1 else 1.0, others)
        self.units = nnx.List(
            nnx.Param(jnp.broadcast_to(start, (c, count, count))) for c in channels
        )

    def __call__(self, x: Num[Array, "b ..."], task: Task) -> Float[Array, "b ..."]:
        """What the last unit makes for the task."""
        every = self._stage(0, x, each=False)
        for i, unit in enumerate(self.units):
            if i > 0:
                every = self._stage(i, every, each=True)
            every = _mixed(unit[...], every)
        return every[:, task.index]

    def _stage(self, i: int, x: Any, *, each: bool) -> Any:
        """Stage i of all networks, ``[b, K, ...]``: of one input, or of one of each."""

        def stage(network: Any, x: Any) -> Any:
            return network.stages[i](x)

        return self.networks.over(stage, x, x_axis=1 if each else None)


def _mixed(alpha: Float[Array, "c K K"], every: Any) -> Any:
    """The features of every network mixed; what else it carries stays its own."""
    if isinstance(every, Carried):
        return every._replace(features=_mixed(alpha, every.features))
    # One matrix for each channel, or one for all of them.
    form = "cjk,bk...c->bj...c" if len(alpha) > 1 else "cjk,bk...->bj..."
    return jnp.einsum(form, alpha.astype(every.dtype), every)


def cross_stitch(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    encoder: str = "lenet",
    units: str = "stage",
    own: float = 0.9,
) -> Model:
    r"""An encoder for each task, and learned mixtures of all behind every stage.

    With :math:`x_k^l` what stage l of the encoder of task k makes of
    :math:`\tilde x_k^{l-1}`,

    .. math:: \tilde x_j^l = \sum_k \alpha_{jk}^l x_k^l

    Every loss reaches all encoders and units: they are shared parameters, and a method
    sees a gradient of theirs from every task. It costs K encoders.

    Args:
      input_shape: the shape of one input, without the batch axis, as the encoder takes
        it. uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`: those
        of pixels with ``segnet`` and ``deeplab``, all others with the other encoders.
      outputs: the size of a head's output: classes, levels, label columns, 3 for
        normals, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in; parameters, losses and gradients are float32.
      encoder: ``"lenet"``, ``"mlp"``, ``"resnet18"``, ``"segnet"`` or ``"deeplab"``,
        with options of its own as in ``"resnet18(width=8)"``. A stage is a layer, a
        convolution or block of them with its pool or unpooling, or some blocks of a
        ResNet.
      units: ``"stage"``: one matrix alpha ``[K, K]`` behind each; ``"channel"``: one
        for each of its channels.
      own: alpha_kk at first, in [0, 1]; the other tasks have equal shares of the rest.
        0.9, as in the paper.

    Returns:
      The model: heads on the last mixture, linear ones, or those of ``segnet`` and
      ``deeplab`` as these models have them.

    Raises:
      UserError: for an option out of range, or inputs that the encoder does not take.

    Example:
      >>> model = cross_stitch((8,), names=("a", "b"), kind="binary", outputs=1,
      ...                      encoder="mlp(hidden=(16, 4))")
      >>> params, model_state = model.init(jax.random.key(0))
      >>> print(params["shared"]["units"][0][0].astype("float16"))
      [[0.9 0.1]
       [0.1 0.9]]
      >>> model.predict(params, model_state, jnp.zeros((5, 8))).shape
      (2, 5)

    References:
      Misra et al., Cross-stitch Networks for Multi-task Learning, CVPR 2016, arXiv
      1604.03539. Units of channels: Vandenhende et al., Multi-Task Learning for Dense
      Prediction Tasks: A Survey, 2020, arXiv 2004.13379, and its code.

    Differences from the paper:
      Where SegNet's pooled maxima were stays each network's own, as in Liu et al.'s
      code (2019, arXiv 1803.10704). All encoders start from random weights, where the
      paper's were trained on their tasks first. Units learn at the rate of all else,
      where the paper's learn faster: ``optax.partition`` gives them a rate of their
      own.
    """
    expect_one_of("units", units, UNITS)
    expect_number("own", own, at_least=0, at_most=1)
    call = CallText.parse("encoder", encoder, ENCODERS, arguments=1, given=("dtype",))
    make, width, head = call.build(input_shape, dtype=dtype)
    channels = _channels(make, input_shape)
    if units == "stage":
        channels = (1,) * len(channels)
    return functional(
        lambda rngs: CrossStitch(make, len(names), channels, own, rngs),
        head(width, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
        per_task=True,
    )


def _channels(
    make: Callable[[nnx.Rngs], Any], input_shape: tuple[int, ...]
) -> tuple[int, ...]:
    """The last axis behind every stage of an encoder."""

    def sizes() -> list[Array]:
        module, x, found = make(nnx.Rngs(0)), jnp.zeros((1, *input_shape)), []
        for stage in module.stages:
            x = stage(x)
            found.append(x.features if isinstance(x, Carried) else x)
        return found

    return tuple(leaf.shape[-1] for leaf in jax.eval_shape(sizes))
