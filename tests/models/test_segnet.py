"""SegNet: its sizes, and what it computes, beside NumPy one pixel after another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtopt
from mtopt.models import MODELS
from mtopt.models.segnet import segnet_encoder
from mtopt.models.staged import Carried
from tests.helpers.by_hand import assert_as_by_hand, at
from tests.helpers.close import assert_close
from tests.helpers.methods import over
from tests.helpers.networks import (
    depth_batch,
    depth_losses,
    down_block,
    pixel_head,
    pooled_with_hits,
    shallow,
    unpooled,
    wide,
)

NAMES = ("a", "b", "c")


def made(shape, **options):
    options = {"names": NAMES, "kind": "depth", "outputs": 1} | options
    return MODELS["segnet"](shape, **options)


def test_parameters_are_those_of_the_published_network_without_dead_biases():
    """24,981,069 of one task of 13 classes, as its code counts them."""
    model = made((32, 32, 3), names=("a",), kind="segmentation", outputs=13)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))

    def block(channels, outputs, depth):
        inputs = [channels] + [outputs] * (depth - 1)
        return sum(9 * c * outputs + 2 * outputs for c in inputs)

    down = [(3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3)]
    up = [(512, 512, 3), (512, 256, 3), (256, 128, 3), (128, 64, 2), (64, 64, 2)]
    shared = sum(block(*sizes) for sizes in down + up)
    biases = sum(outputs * depth for _, outputs, depth in down + up)
    head = 9 * 64 * 64 + 64 + 64 * 13 + 13
    assert shared + biases + head == 24_981_069
    sizes = {
        part: sum(leaf.size for leaf in jax.tree.leaves(params[part]))
        for part in ("shared", "tasks")
    }
    assert sizes == {"shared": shared, "tasks": head}


def test_stages_halve_and_double_the_maps():
    make, width, _ = segnet_encoder((32, 64, 3), dtype=jnp.float32, width=2)

    def maps(x):
        found = []
        for stage in make(nnx.Rngs(0)).stages:
            x = stage(x)
            found.append(x.features if isinstance(x, Carried) else x)
        return found

    found = jax.eval_shape(maps, jax.ShapeDtypeStruct((5, 32, 64, 3), jnp.uint8))
    sizes = [leaf.shape[1:] for leaf in found]
    down = [(16, 32, 2), (8, 16, 4), (4, 8, 8), (2, 4, 16), (1, 2, 16)]
    up = [(2, 4, 16), (4, 8, 8), (8, 16, 4), (16, 32, 2), (32, 64, 2)]
    assert sizes == down + up
    assert width == 2


def one_after_another(shared, x):
    """The encoder by NumPy, a pixel at a time, all images labelled."""

    def convolution(layer, x):
        kernel, norm = layer["conv"]["kernel"], layer["norm"]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        y = np.zeros((*x.shape[:3], kernel.shape[3]))
        for i, j in np.ndindex(*x.shape[1:3]):
            window = padded[:, i : i + 3, j : j + 3]
            y[:, i, j] = np.tensordot(window, kernel, 3)
        y = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + 1e-5)
        return np.maximum(y * norm["scale"] + norm["bias"], 0)

    places = []
    for block in shared["down"].values():
        for layer in block.values():
            x = convolution(layer, x)
        images, height, width, channels = x.shape
        maxima = np.zeros((images, height // 2, width // 2, channels))
        chosen = np.zeros((*maxima.shape, 2), int)
        for n, i, j, c in np.ndindex(*maxima.shape):
            window = x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
            place = np.unravel_index(window.argmax(), (2, 2))
            maxima[n, i, j, c] = window[place]
            chosen[n, i, j, c] = 2 * i + place[0], 2 * j + place[1]
        places.append(chosen)
        x = maxima
    for block in shared["up"].values():
        chosen = places.pop()
        images, height, width, channels = x.shape
        y = np.zeros((images, 2 * height, 2 * width, channels))
        for n, i, j, c in np.ndindex(*x.shape):
            y[n, *chosen[n, i, j, c], c] = x[n, i, j, c]
        x = y
        for layer in block.values():
            x = convolution(layer, x)
    return x


@pytest.mark.usefixtures("x64")
def test_the_encoder_is_as_by_numpy():
    model = made((32, 32, 2), width=1, dtype=jnp.float64)
    params, state = model.init(jax.random.key(0))
    params = wide(params)
    batch = depth_batch(NAMES, 3, (32, 32, 2))
    everything = mtopt.Batch(batch.x, batch.y, jnp.ones((3, 3), bool), NAMES)
    problem = model.tasks.problem(everything, jax.random.key(1), state)
    found = jax.jit(problem.representation)(params)
    shared = jax.tree.map(np.asarray, params["shared"])
    assert_close(found, one_after_another(shared, np.asarray(batch.x)), rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_rows_are_the_jacobian_of_the_losses(monkeypatch):
    shallow(monkeypatch)
    model = made((8, 12, 2), width=2, dtype=jnp.float64)
    params, state = model.init(jax.random.key(0))
    params = wide(params)
    seen = depth_batch(NAMES, 5, (8, 12, 2))
    problem = model.tasks.problem(seen, jax.random.key(1), state)

    def losses(params):
        used, x, hits = seen.mask.any(axis=0), seen.x, []
        for layers in params["shared"]["down"].values():
            x, own = pooled_with_hits(down_block(layers.values(), x, used))
            hits.append(own)
        for layers in params["shared"]["up"].values():
            x = down_block(layers.values(), unpooled(x, hits.pop()), used)
        outputs = [pixel_head(at(params["tasks"], k), x) for k in range(3)]
        return depth_losses(outputs, seen)

    assert_as_by_hand(problem, params, losses, rtol=1e-9)


MISUSE = {
    "kind is 'classification': expected one of": {"kind": "classification"},
    r"input_shape is \(40, 32, 3\): .* divisible by 32": {"input_shape": (40, 32, 3)},
    "at least 32 x 32 pixels": {"input_shape": (16, 32, 3)},
    "width is 0: expected 1 or more": {"width": 0},
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    given = {"input_shape": (32, 32, 3), "outputs": 3} | MISUSE[name]
    with pytest.raises(mtopt.UserError, match=name) as caught:
        made(given.pop("input_shape"), **given)
    assert "\n" not in str(caught.value)
