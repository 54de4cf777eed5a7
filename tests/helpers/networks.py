"""Layers of convolutional networks, written by hand in plain JAX."""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import mtopt
from mtopt.models.segnet import segnet_encoder


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


def stage(blocks, x, seen, stride, dilations):
    """Basic blocks of a ResNet: the first strides, up to which dilations are lower."""
    entry, dilation = dilations
    x = block(blocks[0], x, seen, stride, (entry, dilation))
    for own in blocks[1:]:
        x = block(own, x, seen, 1, (dilation, dilation))
    return x


def down_block(layers, x, seen):
    """What a block of SegNet makes of maps."""
    for own in layers:
        x = jnp.maximum(normed(own, x, seen, padding=1), 0)
    return x


def pooled_with_hits(x):
    """The maxima of windows, and of which pixel each is, as one of four."""
    windows = split_windows(x)
    hits = jax.nn.one_hot(windows.argmax(axis=3), 4, axis=3, dtype=x.dtype)
    return (windows * hits).sum(axis=3), hits


def unpooled(x, hits):
    """Values where the maxima were."""
    return joined_windows(x[:, :, :, None] * hits)


def pyramid(own, x, size, rates):
    """The head of DeepLab, without dropout."""

    def layer(name, z, index=None, **options):
        at = own[name] if index is None else own[name][index]
        z = convolved(z, at["conv"]["kernel"], **options)
        mean = z.mean(axis=-1, keepdims=True)
        var = ((z - mean) ** 2).mean(axis=-1, keepdims=True)
        scale, bias = (at["norm"][n][None, None, None] for n in ("scale", "bias"))
        return jnp.maximum((z - mean) / jnp.sqrt(var + 1e-6) * scale + bias, 0)

    whole = layer("image", x.mean(axis=(1, 2), keepdims=True))
    far = [
        layer("far", x, i, padding=rate, dilation=rate) for i, rate in enumerate(rates)
    ]
    near = layer("near", x)
    whole = jnp.broadcast_to(whole, (*x.shape[:3], whole.shape[-1]))
    y = layer("joined", jnp.concatenate([near, *far, whole], axis=-1))
    y = layer("smooth", y, padding=1)
    return interpolated(linear(own["outputs"], y), size)


def pixel_head(own, x):
    """The head of SegNet: two convolutions."""
    y = convolved(x, own["conv"]["kernel"], padding=1)
    y = y + own["conv"]["bias"][None, None, None]
    y = convolved(y, own["outputs"]["kernel"])
    return y + own["outputs"]["bias"][None, None, None]


def shallow(monkeypatch):
    """SegNets have two blocks, of one and two convolutions: sooner compiled."""
    module = sys.modules[segnet_encoder.__module__]
    monkeypatch.setattr(module, "GROWTH", (1, 2))
    monkeypatch.setattr(module, "DEPTHS", (1, 2))
    monkeypatch.setattr(module, "REDUCTION", 4)
