r"""Convolutions as matrix products, where those are faster: on a CPU.

XLA's convolution takes two to five times longer on a CPU than it must for kernels of
5 x 5 on few channels, above all its gradient by the kernel. The same sums are products
of matrices, and :func:`convolution` writes them so:

* **bands**, for few channels: a block of p neighbouring outputs of an image row reads
  one band of :math:`s(p - 1) + m` input columns, m the kernel's width and s its stride.
  The bands of all blocks are the rows of one matrix, the kernel stands p times shifted
  in the other. They are :math:`(s(p - 1) + m) / m` times the products that it takes, in
  matrices as wide as processors like them;
* **patches**, for 1 x 1 kernels, and many channels on few pixels: every output is a row
  of the inputs that it reads, times the kernel as it is;
* **native**, ``lax.conv_general_dilated``, for all else and on every other platform.

:func:`form_of` has the rule, ``docs/decisions/convolutions_on_cpu.md`` what was tried.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from mtopt.passes import platform

COLUMNS = 100
"""How wide a block's matrix product becomes at most: outputs of a block x channels."""


class Form(NamedTuple):
    """How a convolution is computed; ``block`` is p, the outputs of a band."""

    name: str  # "native", "bands" or "patches"
    block: int = 1


NATIVE = Form("native")
LAYOUT = ("NHWC", "HWIO", "NHWC")


def form_of(
    image: tuple[int, int], kernel: tuple[int, int, int, int], platform: str
) -> Form:
    """The fastest form that was measured, from shapes alone.

    Args:
      image: (height, width) of the output.
      kernel: (height, width, inputs, outputs).
      platform: ``"cpu"``, ``"gpu"`` or ``"tpu"``.

    Example:
      >>> form_of((32, 32), (5, 5, 1, 10), "cpu")
      Form(name='bands', block=8)
      >>> form_of((32, 32), (5, 5, 1, 10), "gpu").name
      'native'
    """
    height, width, inputs, outputs = kernel
    if platform != "cpu" or min(*image, *kernel) < 1:
        return NATIVE
    if height == width == 1:
        return Form("patches")
    if math.prod(image) <= 16 and min(inputs, outputs) >= 256:
        return Form("patches")
    if width >= 5 and outputs <= 32:
        blocks = -(-image[1] // max(1, COLUMNS // outputs))
        return Form("bands", -(-image[1] // blocks))
    return NATIVE


def convolution(
    x: Float[Array, "b H W c"],
    kernel: Float[Array, "n m _ o"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: Any,
) -> Float[Array, "b h w o"]:
    """``lax.conv_general_dilated`` with channels last, in the form of :func:`form_of`.

    It is what ``nnx.Conv`` takes as ``conv_general_dilated``: parameters keep their
    names and shapes. Every form can be mapped, and differentiated in both modes any
    number of times. The platform is that of JAX's default device while the function is
    traced: a program that is lowered for another one is right, but not the fastest.

    Args:
      x: images.
      kernel: one kernel for each pair of an input and an output channel.
      strides: (down, right).
      padding: ``"SAME"``, ``"VALID"``, or pixels ``((above, below), (left, right))``.
      options: of ``lax.conv_general_dilated``. Where one asks for more than a plain
        convolution (dilation, groups, another precision), the form is the native one.

    Returns:
      The outputs. Floats of less than 32 bits are multiplied and summed in float32.

    Example:
      >>> ones = jnp.ones((1, 6, 6, 1)), jnp.ones((5, 5, 1, 2))
      >>> convolution(*ones, (1, 1), "VALID")[0, :, :, 0].tolist()
      [[25.0, 25.0], [25.0, 25.0]]
    """
    options.setdefault("dimension_numbers", LAYOUT)
    if not _is_plain(x, kernel, options):
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    down, right = strides
    n, m, inputs, outputs = kernel.shape
    pads = (
        lax.padtype_to_pads(x.shape[1:3], (n, m), (down, right), padding)
        if isinstance(padding, str)
        else padding
    )
    h = (x.shape[1] + sum(pads[0]) - n) // down + 1
    w = (x.shape[2] + sum(pads[1]) - m) // right + 1
    form = form_of((h, w), (n, m, inputs, outputs), platform())
    if form == NATIVE:
        return lax.conv_general_dilated(x, kernel, strides, pads, **options)

    # As many rows and columns as are read; a row's last block may reach over its end.
    whole = -(-w // form.block) * form.block
    rows = (h - 1) * down + n - x.shape[1] - pads[0][0]
    columns = (whole - 1) * right + m - x.shape[2] - pads[1][0]
    edges = (0, 0, 0), (pads[0][0], rows, 0), (pads[1][0], columns, 0), (0, 0, 0)
    out_type = jnp.result_type(x, kernel)
    compute = jnp.promote_types(out_type, jnp.float32)
    fitted = lax.pad(x.astype(compute), jnp.zeros((), compute), edges)
    taps = kernel.astype(compute)
    if form.name == "bands":
        out = bands(fitted, taps, (down, right), form.block)[:, :, :w]
    else:
        out = _patches(fitted, taps, (down, right))
    return out.astype(out_type)


def _is_plain(x: Array, kernel: Array, options: dict[str, Any]) -> bool:
    """Whether it is a convolution of images that no option changes."""
    rest = dict(options)
    layout = lax.conv_dimension_numbers(
        x.shape, kernel.shape, rest.pop("dimension_numbers")
    )
    last = lax.conv_dimension_numbers((1, 1, 1, 1), (1, 1, 1, 1), LAYOUT)
    dilations = [rest.pop(side, None) for side in ("lhs_dilation", "rhs_dilation")]
    groups = rest.pop("feature_group_count", 1)
    return (
        layout == last
        and all(step == 1 for dilation in dilations for step in dilation or ())
        and groups == 1
        and all(value is None for value in rest.values())
        and jnp.issubdtype(jnp.result_type(x, kernel), jnp.floating)
    )


def _patches(
    x: Float[Array, "b H W c"],
    kernel: Float[Array, "n m c o"],
    strides: tuple[int, int],
) -> Float[Array, "b h w o"]:
    """Rows of all that an output reads, times the kernel."""
    n, m, inputs, outputs = kernel.shape
    down, right = strides
    h = (x.shape[1] - n) // down + 1
    w = (x.shape[2] - m) // right + 1
    rows = [
        _every(_every(x, i, h, down, axis=1), j, w, right, axis=2)
        for i in range(n)
        for j in range(m)
    ]
    # A matrix: of an array with more axes, the gradient's product copies its operands.
    matrix = jnp.concatenate(rows, axis=3).reshape(-1, n * m * inputs)
    return (matrix @ kernel.reshape(-1, outputs)).reshape(x.shape[0], h, w, outputs)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def bands(
    x: Float[Array, "b H W c"],
    kernel: Float[Array, "n m c o"],
    strides: tuple[int, int],
    block: int,
) -> Float[Array, "b h w o"]:
    r"""Blocks of outputs as rows of one matrix product.

    With the bands :math:`X \in R^{bhw/p \times n(s(p - 1) + m)c}` and the shifted
    kernels :math:`T[i, j, c, q, o] = k[i, j - sq, c, o]`, the output is :math:`X T`.

    The value and the derivatives by x and by the kernel are one bilinear map, written
    in three ways, since what is fast in one, or in the transpose of one, is not in the
    others. No more is custom about the derivatives, so that they have theirs in turn.

    Args:
      x: images, padded so that the blocks fill every row.
      kernel: the kernels.
      strides: (down, right).
      block: p, the outputs of a block.
    """
    matrix = _matrix_of_bands(x, kernel.shape, strides, block)
    taps = _shifted(kernel, 1, 3, strides[1], block).reshape(matrix.shape[1], -1)
    return _as_images(matrix @ taps, x, kernel.shape, strides)


@functools.partial(bands.defjvp, symbolic_zeros=True)
def _bands_jvp(
    strides: tuple[int, int], block: int, primals: Any, tangents: Any
) -> tuple[Array, Array]:
    """The product rule, each term written for its transpose, which is the gradient."""
    x, kernel = primals
    by_x, by_kernel = tangents
    out = bands(x, kernel, strides, block)
    terms = []
    if not isinstance(by_x, SymbolicZero):
        terms.append(_sum_over_rows(by_x, kernel, strides, block))
    if not isinstance(by_kernel, SymbolicZero):
        # Transposed, a product of [block o, b h w / block] with the bands: on a CPU two
        # to three times as fast as the other way round. XLA would turn a transpose of
        # the product round again, so the shifted kernels are made transposed.
        matrix = _matrix_of_bands(x, kernel.shape, strides, block)
        turned = _shifted(by_kernel.transpose(3, 0, 1, 2), 2, 0, strides[1], block)
        taps = turned.reshape(-1, matrix.shape[1]).T
        terms.append(_as_images(matrix @ taps, x, kernel.shape, strides))
    return out, functools.reduce(jnp.add, terms)


def _sum_over_rows(
    x: Float[Array, "b H W c"],
    kernel: Float[Array, "n m c o"],
    strides: tuple[int, int],
    block: int,
) -> Float[Array, "b h w o"]:
    """:func:`bands` as a sum of one product for each row of the kernel.

    Its transpose adds n arrays in one pass, where that of stacked rows writes each.
    """
    n, m, inputs, outputs = kernel.shape
    columns = _columns(x, m, strides[1], block)
    h = (x.shape[1] - n) // strides[0] + 1
    taps = _shifted(kernel, 1, 3, strides[1], block)
    taps = taps.reshape(n, columns.shape[3] * inputs, block * outputs)
    terms = [
        _every(columns, i, h, strides[0], axis=1).reshape(-1, taps.shape[1]) @ taps[i]
        for i in range(n)
    ]
    out = functools.reduce(jnp.add, terms)
    return _as_images(out, x, kernel.shape, strides)


def _matrix_of_bands(
    x: Float[Array, "b H W c"],
    kernel: tuple[int, ...],
    strides: tuple[int, int],
    block: int,
) -> Float[Array, "blocks band"]:
    """The bands of all blocks, n rows of the image each."""
    columns = _columns(x, kernel[1], strides[1], block)
    h = (x.shape[1] - kernel[0]) // strides[0] + 1
    rows = [_every(columns, i, h, strides[0], axis=1) for i in range(kernel[0])]
    stacked = jnp.concatenate(rows, axis=3)
    # A matrix: of an array with more axes, the gradient's product copies its operands.
    return stacked.reshape(-1, stacked.shape[3] * stacked.shape[4])


def _columns(
    x: Float[Array, "b H W c"], width: int, stride: int, block: int
) -> Float[Array, "b H blocks band c"]:
    """The columns that each block reads."""
    step, band = stride * block, stride * (block - 1) + width
    count = (x.shape[2] - width) // step + 1
    return jnp.stack([x[:, :, q * step : q * step + band] for q in range(count)], 2)


def _shifted(kernel: Array, axis: int, new: int, stride: int, block: int) -> Array:
    """The kernel at each output of a block: moved along ``axis``, on a ``new`` axis."""
    moved = []
    for q in range(block):
        edges = [(0, 0)] * kernel.ndim
        edges[axis] = (q * stride, (block - 1 - q) * stride)
        moved.append(jnp.pad(kernel, edges))
    return jnp.stack(moved, new)


def _as_images(
    out: Float[Array, "blocks columns"],
    x: Float[Array, "b H W c"],
    kernel: tuple[int, ...],
    strides: tuple[int, int],
) -> Float[Array, "b h w o"]:
    """The rows of a product of matrices as the images that they are of."""
    sizes = zip(x.shape[1:3], kernel[:2], strides, strict=True)
    h, w = ((pixels - taps) // step + 1 for pixels, taps, step in sizes)
    return out.reshape(x.shape[0], h, w, kernel[3])


def _every(x: Array, start: int, count: int, stride: int, *, axis: int) -> Array:
    """``count`` entries of an axis from ``start``, ``stride`` apart."""
    stop = start + (count - 1) * stride + 1
    return lax.slice_in_dim(x, start, stop, stride, axis)
