"""Layers of the encoders: torch's initialisation, BatchNorm, pooling."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from mtopt.errors import UserError
from mtopt.models.convolution import convolution

Initializer = Callable[..., Array]  # (key, shape, dtype) -> array


def uniform(fan_in: int) -> Initializer:
    """Weights and biases from ``U(-1/sqrt(fan_in), 1/sqrt(fan_in))``.

    This is what torch gives its linear and convolution layers unless told otherwise
    (``torch.nn.Linear``, ``torch.nn.Conv2d``), hence what most published multi-task
    numbers started from. Biases start away from zero: adaptive SAM, which perturbs
    in proportion to a parameter's size, would leave zeros where they are.

    Args:
      fan_in: the number of inputs of one output unit, at least 1.

    Example:
      >>> weights = uniform(100)(jax.random.key(0), (1000,), jnp.float32)
      >>> bool(abs(weights).max() <= 0.1), round(float(weights.std()), 2)
      (True, 0.06)
    """
    bound = fan_in**-0.5
    return _flat(
        lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
    )


def he_normal(fan_out: int) -> Initializer:
    """Weights from ``N(0, 2 / fan_out)``, as torchvision's ResNets start.

    From He et al., Delving Deep into Rectifiers, 2015, arXiv 1502.01852: relu halves
    the second moment of a gradient on its way back, and this makes up for it.

    Args:
      fan_out: outputs of one input unit; kernel area times output channels.

    Example:
      >>> weights = he_normal(200)(jax.random.key(0), (1000,), jnp.float32)
      >>> round(float(weights.std()), 2)
      0.1
    """
    deviation = (2 / fan_out) ** 0.5
    return _flat(
        lambda key, shape, dtype: deviation * jax.random.normal(key, shape, dtype)
    )


def glorot(key: PRNGKeyArray, inputs: int, outputs: int) -> Float[Array, "a b"]:
    """A kernel from ``U(-b, b)``, ``b = sqrt(6 / (inputs + outputs))``.

    References:
      Glorot and Bengio, Understanding the difficulty of training deep feedforward
      neural networks, AISTATS 2010.
    """
    bound = (6 / (inputs + outputs)) ** 0.5
    return jax.random.uniform(key, (inputs, outputs), jnp.float32, -bound, bound)


def _flat(draw: Initializer) -> Initializer:
    """``draw`` as an initialiser that draws a vector, then shapes it.

    The numbers are the same. Drawn in shape under ``vmap`` (the tasks' heads, or
    seeds), XLA takes eight times as long to compile them on a CPU.
    """

    def initialise(
        key: PRNGKeyArray, shape: Sequence[int], dtype: Any = jnp.float32, **_: Any
    ) -> Array:
        return draw(key, (math.prod(shape),), dtype).reshape(shape)

    return initialise


def dense(
    features: int,
    outputs: int,
    *,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
    use_bias: bool = True,
    kernel_init: nnx.Initializer | None = None,
) -> nnx.Linear:
    """A fully connected layer with float32 parameters, computing in ``dtype``.

    Kernel and bias start as torch's, unless ``kernel_init`` is given for the former.
    """
    init = uniform(features)
    return nnx.Linear(
        features,
        outputs,
        use_bias=use_bias,
        kernel_init=kernel_init or init,
        bias_init=init,
        dtype=dtype,
        rngs=rngs,
    )


def conv(
    channels: int,
    outputs: int,
    *,
    size: int,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
    padding: str = "VALID",
) -> nnx.Conv:
    """A square convolution with float32 parameters, as :func:`dense`."""
    init = uniform(channels * size * size)
    return nnx.Conv(
        channels,
        outputs,
        (size, size),
        padding=padding,
        kernel_init=init,
        bias_init=init,
        dtype=dtype,
        conv_general_dilated=convolution,
        rngs=rngs,
    )


def padded_conv(
    channels: int,
    outputs: int,
    size: int,
    stride: int,
    *,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
    dilation: int = 1,
) -> nnx.Conv:
    """Without a bias, its outputs as many pixels as its inputs, over the stride.

    Args:
      channels: of the inputs.
      outputs: channels of the outputs.
      size: of the kernel, odd.
      stride: down and right.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters.
      dilation: pixels from one of the kernel's to the next.
    """
    return nnx.Conv(
        channels,
        outputs,
        (size, size),
        strides=stride,
        padding=dilation * (size // 2),
        kernel_dilation=dilation,
        use_bias=False,
        kernel_init=he_normal(size * size * outputs),
        dtype=dtype,
        conv_general_dilated=convolution,
        rngs=rngs,
    )


class BatchNorm(nnx.Module):
    r"""Batch normalisation over all axes but the last, in float32 at least.

    .. math:: y = \gamma \frac{x - \mu}{\sqrt{\sigma^2 + 10^{-5}}} + \beta

    with the batch's own mean and variance in training, the running ones in
    evaluation. Running statistics keep 0.9 of their value in a step: torch calls this
    momentum 0.1 (its default), flax 0.9. The variance divides by n, in the running
    statistics too, where torch divides by n - 1. In a model of
    :func:`mtopt.models.functional` the first axis is that of samples, and those without
    a label do not count; with ``statistics="pooled"`` it holds those of all tasks.

    ``nnx.BatchNorm`` computes the same, but rounds the running statistics to the
    compute dtype, and scales with ``[1, ..., 1, C]``. XLA rewrites that shape according
    to who else reads it, so that the forward pass of the losses and that of the running
    statistics are no longer recognised as one: with per-task gradients everything after
    the first layer would run twice. Vectors ``[C]``, broadcast once, are safe.

    Args:
      channels: C, the size of the last axis.

    Example:
      >>> x = jnp.array([[1.], [3.]])
      >>> norm = BatchNorm(1)
      >>> norm(x).round(3).tolist(), round(float(norm.mean[0]), 3)
      ([[-1.0], [1.0]], 0.2)

    References:
      Ioffe and Szegedy, Batch Normalization, 2015, arXiv 1502.03167.
    """

    def __init__(self, channels: int) -> None:
        self.scale = nnx.Param(jnp.ones(channels, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(channels, jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros(channels, jnp.float32))
        self.var = nnx.BatchStat(jnp.ones(channels, jnp.float32))
        self.use_running_average = False
        self.average: Callable[[Array], Array] = average

    def __call__(self, x: Float[Array, "*shape C"]) -> Float[Array, "*shape C"]:
        """Standardises every channel, then scales and shifts it."""
        values = x.astype(jnp.promote_types(x.dtype, jnp.float32))

        def over(vector: Float[Array, " C"]) -> Float[Array, "*shape C"]:
            return jnp.broadcast_to(vector, x.shape)

        if self.use_running_average:
            mean, var = self.mean[...], self.var[...]
        else:
            mean = self.average(values)
            var = self.average((values - over(mean)) ** 2)
            for kept, new in ((self.mean, mean), (self.var, var)):
                # Not kept[...] = ...: flax would ask a tracer for its sharding, and JAX
                # search all that was traced before for what to say of it.
                kept.set_value((0.9 * kept[...] + 0.1 * new).astype(kept.dtype))
        scale = jax.lax.rsqrt(var + 1e-5) * self.scale[...]
        return ((values - over(mean)) * over(scale) + over(self.bias[...])).astype(
            x.dtype
        )


class Normed(nnx.Module):
    """A convolution and batch normalisation behind it.

    Args:
      channels: of the inputs.
      outputs: channels of the outputs.
      size: of the kernel, odd.
      stride: down and right.
      dtype: what it computes in; parameters are float32.
      rngs: of the parameters.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        *,
        size: int,
        stride: int = 1,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ) -> None:
        self.conv = padded_conv(channels, outputs, size, stride, dtype=dtype, rngs=rngs)
        self.norm = BatchNorm(outputs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ d"]:
        """The normalised feature maps."""
        return self.norm(self.conv(x))


def average(values: Float[Array, "*shape C"]) -> Float[Array, " C"]:
    """The mean over all axes but the last."""
    return values.mean(tuple(range(values.ndim - 1)))


def average_over(labelled: Bool[Array, " b"]) -> Callable[[Array], Array]:
    """:func:`average` of some samples alone, which stand on the first axis.

    Over the samples of several tasks, a task weighs as much as it has labels.

    Args:
      labelled: which samples count; where none does, the average is 0.

    Raises:
      UserError: on another number of samples.

    Example:
      >>> mean = average_over(jnp.array([True, True, False]))
      >>> mean(jnp.array([[1.], [3.], [9.]])).tolist()
      [2.0]
    """

    def of_samples(values: Float[Array, "b ... C"]) -> Float[Array, " C"]:
        if len(values) != len(labelled):
            raise UserError(
                f"BatchNorm got an array of {values.shape} for {len(labelled)} "
                "samples: expected the axis of samples first"
            )
        each = values.mean(tuple(range(1, values.ndim - 1)))
        # A product: behind a select XLA no longer sees two forward passes as one.
        shares = labelled / jnp.maximum(labelled.sum(), 1)
        return (each * jnp.broadcast_to(shares[:, None], each.shape)).sum(axis=0)

    return of_samples


def as_floats(x: Num[Array, "..."], dtype: DTypeLike) -> Float[Array, "..."]:
    """Inputs in the compute dtype; bytes (uint8 pixels) are scaled to [0, 1].

    Example:
      >>> as_floats(jnp.array([0, 255], jnp.uint8), jnp.float32).tolist()
      [0.0, 1.0]
    """
    if x.dtype == jnp.uint8:
        x = x.astype(jnp.float32) / 255
    return x.astype(dtype)


def max_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
    """The maximum over 2 x 2 windows; an odd last row or column is left out.

    A reshape and a maximum: under ``vmap`` over tasks its gradient is about eight
    times faster on a CPU than that of ``lax.reduce_window``. It is for what a
    convolution makes; behind a normalisation its gradient may miss the maxima, and
    :func:`mtopt.models.unpooling.max_pool_with_places` is right.

    Example:
      >>> max_pool(jnp.arange(20.).reshape(1, 4, 5, 1))[0, :, :, 0].tolist()
      [[6.0, 8.0], [16.0, 18.0]]
    """
    batch, height, width, channels = x.shape
    h, w = height // 2, width // 2
    windows = x[:, : 2 * h, : 2 * w].reshape(batch, h, 2, w, 2, channels)
    return windows.max(axis=(2, 4))


def check_image(input_shape: tuple[int, ...], *, smallest: int, model: str) -> None:
    """Raises unless ``input_shape`` is (height, width, channels), large enough.

    Raises:
      UserError: otherwise.
    """
    if len(input_shape) != 3 or min(input_shape[:2]) < smallest:
        raise UserError(
            f"input_shape is {input_shape}: {model} expects (height, width, channels) "
            f"of at least {smallest} x {smallest} pixels; pad or enlarge the images, "
            "or use an mlp"
        )
