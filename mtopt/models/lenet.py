"""The small LeNet of the Multi-MNIST literature."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Num

from mtopt.models.functional import Model, functional
from mtopt.models.heads import mlp_head
from mtopt.models.layers import as_floats, check_image, conv, dense, max_pool
from mtopt.models.staged import Encoder, through

REPRESENTATION = 50


class LeNet(nnx.Module):
    """Two convolutions and a fully connected layer; see :func:`lenet`."""

    def __init__(
        self, input_shape: tuple[int, ...], *, dtype: DTypeLike, rngs: nnx.Rngs
    ) -> None:
        height, width = (_after_convolutions(size) for size in input_shape[:2])
        self.conv1 = conv(input_shape[2], 10, size=5, dtype=dtype, rngs=rngs)
        self.conv2 = conv(10, 20, size=5, dtype=dtype, rngs=rngs)
        self.dense = dense(20 * height * width, REPRESENTATION, dtype=dtype, rngs=rngs)
        self.dtype = dtype

    @property
    def stages(self) -> list[Callable[[Array], Array]]:
        """Two of convolutions, and the fully connected one."""
        return [
            lambda x: jax.nn.relu(max_pool(self.conv1(as_floats(x, self.dtype)))),
            lambda x: jax.nn.relu(max_pool(self.conv2(x))),
            lambda x: jax.nn.relu(self.dense(x.reshape(x.shape[0], -1))),
        ]

    def __call__(self, x: Num[Array, "b h w c"]) -> Float[Array, "b width"]:
        """The representation of every image."""
        return through(self, x)


def lenet_encoder(input_shape: tuple[int, ...], *, dtype: DTypeLike) -> Encoder:
    """What :func:`lenet` shares."""
    check_image(input_shape, smallest=16, model="lenet")
    return Encoder(
        lambda rngs: LeNet(input_shape, dtype=dtype, rngs=rngs), REPRESENTATION
    )


def lenet(
    input_shape: tuple[int, ...],
    *,
    names: tuple[str, ...],
    kind: str,
    outputs: int,
    x_axis: int | None = None,
    dtype: DTypeLike = jnp.float32,
) -> Model:
    """LeNet as Sener and Koltun share it between the two digits of Multi-MNIST.

    ======= ===================================================================
    encoder conv 5x5 to 10 channels, max-pool 2, relu; conv 5x5 to 20 channels,
            max-pool 2, relu; fully connected to 50, relu
    head    fully connected 50 to 50, relu; fully connected 50 to ``outputs``
    ======= ===================================================================

    Convolutions are not padded, so that 28 x 28 pixels become 4 x 4 x 20 = 320
    features, 36 x 36 become 720.

    Args:
      input_shape: (height, width, channels), at least 16 x 16 pixels, without the
        batch axis. uint8 inputs are scaled to [0, 1].
      names: the K task names, sorted.
      kind: what the labels are, an entry of :data:`mtopt.models.heads.LOSSES`.
      outputs: the size of a head's output: classes, levels, label columns, or 1.
      x_axis: None for shared inputs, 0 for disjoint ones.
      dtype: what the layers compute in, e.g. ``jnp.bfloat16``. Parameters, losses and
        gradients are float32 in any case.

    Returns:
      The model. All weights and biases start as torch's would:
      :func:`mtopt.models.layers.uniform`.

    Raises:
      UserError: for inputs that are not images, or too small.

    Example:
      >>> model = lenet((28, 28, 1), names=("left", "right"), kind="classification",
      ...               outputs=10)
      >>> params, _ = jax.eval_shape(model.init, jax.random.key(0))
      >>> sum(leaf.size for leaf in jax.tree.leaves(params))
      27450

    References:
      Sener and Koltun, Multi-Task Learning as Multi-Objective Optimization, 2018,
      arXiv 1810.04650.

    Differences from released code:
      Sener and Koltun's (``MultiLeNetR``, ``MultiLeNetO``) multiplies the second
      convolution's channels and the head's hidden units by a Bernoulli(1/2) mask in
      training, not rescaled, the channel mask common to the batch; there is no
      dropout here. Pareto-MTL's LeNet (Lin et al., Pareto Multi-Task Learning, 2019,
      arXiv 1912.12854), made for 36 x 36 pixels, has a first kernel of 9 x 9, hence
      5 x 5 x 20 = 500 features, and heads of a single layer.
    """
    make, width, _ = lenet_encoder(input_shape, dtype=dtype)
    head = mlp_head(width, 50, outputs, kind=kind, dtype=dtype)
    return functional(make, head, names, kind=kind, x_axis=x_axis)


def _after_convolutions(size: int) -> int:
    """Pixels left along one axis by two unpadded 5x5 convolutions and pools."""
    return ((size - 4) // 2 - 4) // 2
