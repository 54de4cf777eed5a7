"""Layers of convolutional networks, written by hand in plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np

import mtopt


def wide(tree, seed=0):
    """In float64, moved a little so that no bias is zero and no scale is one."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(leaf + 0.1 * rng.normal(size=leaf.shape), np.float64),
        tree,
    )


def linear(parameters, x):
    bias = parameters["bias"].reshape((1,) * (x.ndim - 1) + (-1,))
    return x @ parameters["kernel"] + bias


def convolved(x, kernel, stride=1, padding=0, dilation=1):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def pooled(x, size=2, padding=0):
    """The maximum over windows, two pixels from one to the next."""
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, size, size, 1), (1, 2, 2, 1), pads
    )


def standard(norm, y, seen):
    """Normalised by the labelled samples."""
    share = (seen / seen.sum())[:, None, None, None]
    mean = (y * share).sum(0).mean((0, 1))[None, None, None]
    var = ((y - mean) ** 2 * share).sum(0).mean((0, 1))[None, None, None]
    scale, bias = (norm[n][None, None, None] for n in ("scale", "bias"))
    return (y - mean) / jnp.sqrt(var + 1e-5) * scale + bias


def normed(own, x, seen, **options):
    """A convolution, normalised by its labelled samples."""
    return standard(own["norm"], convolved(x, own["conv"]["kernel"], **options), seen)


def block(own, x, seen, stride, dilations=(1, 1)):
    """A basic block of a ResNet."""
    first, second = dilations
    y = convolved(x, own["conv1"]["kernel"], stride, first, first)
    y = jnp.maximum(standard(own["norm1"], y, seen), 0)
    y = convolved(y, own["conv2"]["kernel"], 1, second, second)
    y = standard(own["norm2"], y, seen)
    if "conv3" in own:
        x = standard(own["norm3"], convolved(x, own["conv3"]["kernel"], stride), seen)
    return jnp.maximum(x + y, 0)


def split_windows(x):
    """Windows of 2 x 2 pixels, row by row, ``[b, h, w, 4, c]``."""
    batch, height, width, channels = x.shape
    cut = x.reshape(batch, height // 2, 2, width // 2, 2, channels)
    order = (0, 1, 3, 2, 4, 5)
    return cut.transpose(order).reshape(batch, height // 2, width // 2, 4, channels)


def joined_windows(x):
    """The inverse of :func:`split_windows`."""
    batch, height, width, _, channels = x.shape
    cut = x.reshape(batch, height, width, 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(batch, 2 * height, 2 * width, channels)


def interpolated(x, size):
    """Bilinear, from edge to edge; the outermost pixels go on beyond their centres."""
    for axis, outputs in zip((1, 2), size, strict=True):
        inputs = x.shape[axis]
        weights = np.zeros((outputs, inputs))
        for i in range(outputs):
            place = min(max((i + 0.5) * inputs / outputs - 0.5, 0), inputs - 1)
            left = min(int(place), inputs - 2) if inputs > 1 else 0
            weights[i, left] += 1 - (place - left)
            if inputs > 1:
                weights[i, left + 1] += place - left
        x = jnp.moveaxis(jnp.tensordot(weights, x, (1, axis)), 0, axis)
    return x


def depth_losses(outputs, seen):
    """The mean absolute error over the pixels with a depth, of every task."""
    found = []
    for k, z in enumerate(outputs):
        errors = jnp.abs(z[..., 0] - seen.y[k])
        real = seen.mask[k][:, None, None] & (seen.y[k] != 0)
        found.append(mtopt.masked_mean(errors, real))
    return jnp.stack(found)


def depth_batch(names, size, shape, dtype=np.float64):
    """Images, and depths of every task with holes and images without any."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(size, *shape)), dtype)
    lead = (len(names), size)
    y = rng.random((*lead, *shape[:2])) * (rng.random((*lead, *shape[:2])) < 0.9)
    mask = jnp.asarray(rng.random(lead) < 0.8)
    return mtopt.Batch(x, jnp.asarray(y, dtype), mask, names)
