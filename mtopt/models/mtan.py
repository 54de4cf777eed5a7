"""MTAN: an attention mask of each task on every stage of one network."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from mtopt.errors import UserError
from mtopt.grammar import CallText
from mtopt.models.deeplab import deeplab_encoder
from mtopt.models.functional import Model, functional
from mtopt.models.masks import Masks
from mtopt.models.mtan_resnet import AttendedResNet
from mtopt.models.mtan_segnet import AttendedSegNet
from mtopt.models.resnet import ResNet, resnet18_encoder
from mtopt.models.segnet import SegNet, segnet_encoder

NETWORKS = {
    "deeplab": deeplab_encoder,
    "resnet18": resnet18_encoder,
    "segnet": segnet_encoder,
}
"""What tasks may attend to: names to ``(input_shape, *, dtype, ...) -> Encoder``."""
ATTENDED = {ResNet: AttendedResNet, SegNet: AttendedSegNet}
"""The networks that these make, and what has the masks of tasks on each."""


def mtan(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
    network: str = "resnet18",
) -> Model:
    r"""A network shared by all tasks, with soft attention of each task on its stages.

    With :math:`u^l, p^l` features within stage l and at its end,

    .. math::
       a_k^l = \sigma\big(h_k^l(g_k^l([u^l; f^l(\hat a_k^{l-1})]))\big) \qquad
       \hat a_k^l = a_k^l \odot p^l

    and the head of task k reads the last :math:`\hat a_k^l` as it would the network.
    The masks, g and h, are the tasks' own; the network and f are shared.

    ============ ============================== ============ =======================
    network      u                              stages       f
    ============ ============================== ============ =======================
    ``resnet18`` before the last block          4            convolution 3x3, with
                                                             the stride of the stage
    ``deeplab``  before the last block          4            the same at depth 18, a
                                                             bottleneck at 50
    ``segnet``   down: behind the first         5 down, 5 up down: convolution 3x3,
                 convolution; up: behind the                 max-pool; up: twice the
                 unpooling                                   size, convolution 3x3
    ============ ============================== ============ =======================

    Args:
      input_shape: (height, width, channels), as the network takes it, without the batch
        axis. uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`: those
        of pixels with ``segnet`` and ``deeplab``, all others with ``resnet18``.
      outputs: the size of a head's output: classes, levels, label columns, 3 for
        normals, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the convolutions compute in; parameters, normalisation, losses and
        gradients are float32.
      network: ``"resnet18"``, ``"segnet"`` or ``"deeplab"``, with options of its own
        as in ``"segnet(width=16)"``; see those models.

    Returns:
      The model. What a task lets through is normalised by running statistics of its
      own.

    Raises:
      UserError: for another network, an option of one that is out of range, or inputs
        or labels that it does not take.

    Example:
      >>> import jax
      >>> model = mtan((8, 8, 3), names=("a", "b"), kind="classification", outputs=3,
      ...              network="resnet18(width=2)")
      >>> params, model_state = jax.eval_shape(model.init, jax.random.key(0))
      >>> params["tasks"].values["own"]["h"][3]["conv"]["kernel"].shape
      (2, 1, 1, 16, 16)

    References:
      Liu, Johns and Davison, End-to-End Multi-Task Learning with Attention, CVPR 2019,
      arXiv 1803.10704.

    Differences from the paper:
      Its networks are SegNet and a wide ResNet; on a ResNet u and p are those of
      Vandenhende et al. (2020, arXiv 2004.13379), as in LibMTL and in Liu et al.'s code
      for a dilated ResNet-50. On ResNet-18 f halves the resolution by its stride, where
      the paper pools behind it, so that odd sizes fit.

    Differences from released code:
      On SegNet, the code doubles the size by interpolation between the corners of maps,
      here between their edges (torch's ``align_corners=False``); for others see
      :func:`mtopt.models.segnet.segnet`. Methods there see the tasks' masks as shared
      parameters; here they are their tasks' own.
    """
    parsed = CallText.parse("network", network, NETWORKS, arguments=1, given=("dtype",))
    make, features, head = parsed.build(input_shape, dtype=dtype)
    sketch: Any = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    attended = next((a for n, a in ATTENDED.items() if isinstance(sketch, n)), None)
    if attended is None:
        raise UserError(
            f"network {network!r} makes a {type(sketch).__name__}: expected a ResNet "
            "or a SegNet, to whose stages tasks can attend"
        )
    return functional(
        lambda rngs: attended(make(rngs), dtype=dtype, rngs=rngs),
        head(features, outputs, kind=kind, dtype=dtype),
        names,
        kind=kind,
        x_axis=x_axis,
        per_task=True,
        own=lambda rngs: Masks(attended.masks(sketch), dtype=dtype, rngs=rngs),
    )
