"""DeepLab: dilations in place of strides, and the pyramid that reads the maps."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtopt
from mtopt.models import MODELS, pyramid
from mtopt.models.deeplab import NETWORKS, deeplab_encoder
from mtopt.models.pyramid import pyramid_head
from mtopt.models.resnet import ResNet
from tests.helpers.by_hand import assert_as_by_hand, at
from tests.helpers.close import assert_close
from tests.helpers.methods import over
from tests.helpers.networks import (
    convolved,
    depth_batch,
    depth_losses,
    interpolated,
    pooled,
    stage,
    standard,
    wide,
)
from tests.helpers.networks import pyramid as pyramid_by_hand

NAMES = ("a", "b", "c")


def made(shape, **options):
    options = {"names": NAMES, "kind": "depth", "outputs": 1} | options
    return MODELS["deeplab"](shape, **options)


def test_parameters_are_those_of_the_published_network():
    """Of torchvision's ResNet-50 without its last layer; its heads by their widths."""
    model = made((32, 32, 3), names=("a",), kind="segmentation", outputs=13)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    branches = 2048 * 256 * (1 + 3 * 9 + 1)
    joined, smooth = 5 * 256 * 256, 9 * 256 * 256
    norms, last = 7 * 2 * 256, 256 * 13 + 13
    sizes = {
        part: sum(leaf.size for leaf in jax.tree.leaves(params[part]))
        for part in ("shared", "tasks")
    }
    assert sizes == {
        "shared": 25_557_032 - 2_049_000,
        "tasks": branches + joined + smooth + norms + last,
    }


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("depth", NETWORKS)
def test_a_dilated_network_is_the_strided_one_at_every_pixel(depth):
    """In evaluation, where statistics do not depend on how many pixels there are."""
    block, counts = NETWORKS[depth]

    def network(dilated):
        return ResNet(
            2,
            "small",
            1,
            None,
            block=block,
            counts=counts,
            dilated=dilated,
            dtype=jnp.float64,
            rngs=nnx.Rngs(0),
        )

    strided, dilated = network(False), network(True)
    rng = np.random.default_rng(0)
    state = jax.tree.map(
        lambda leaf: jnp.asarray(np.abs(leaf) + 0.5 * rng.random(leaf.shape)),
        nnx.state(strided),
    )
    x = jnp.asarray(rng.normal(size=(2, 21, 18, 2)))
    found = []
    for each in (strided, dilated):
        nnx.update(each, state)
        each.eval()

        def maps(module, x):
            x = module.stem(x)
            for one in module.residual_stages:
                x = one(x)
            return x

        found.append(nnx.jit(maps)(each, x))
    assert found[0].shape[1:3] == (3, 3)
    assert found[1].shape[1:3] == (11, 9)
    assert_close(found[1][:, ::4, ::4], found[0], rtol=1e-9)
    assert np.ptp(found[0], axis=(0, 1, 2)).min() > 0


def test_a_pyramid_is_as_by_hand():
    head = pyramid_head((9, 8), 3, (1, 2))(4, 2, kind="depth")(nnx.Rngs(0))
    head.eval()
    own = nnx.to_pure_dict(nnx.state(head, nnx.Param))
    x = jax.random.normal(jax.random.key(1), (2, 3, 4, 4))
    assert_close(head(x), pyramid_by_hand(own, x, (9, 8), (1, 2)), rtol=1e-5)


def test_maps_are_interpolated_between_the_edges_of_images():
    """A ramp of two pixels on four: the outer ones are as far out as they can be."""
    ramp = jnp.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    assert interpolated(ramp, (1, 4)).ravel().tolist() == [0, 1, 3, 4]
    resized = jax.image.resize(ramp, (1, 1, 4, 1), "bilinear")
    assert resized.ravel().tolist() == [0, 1, 3, 4]


@pytest.mark.usefixtures("x64")
def test_rows_are_the_jacobian_of_the_losses(monkeypatch):
    monkeypatch.setattr(pyramid, "DROPOUT", 0.0)
    monkeypatch.setitem(NETWORKS, 18, (NETWORKS[18][0], (1, 2, 1, 2)))
    model = made((34, 32, 2), depth=18, width=1, rates=(1, 2), dtype=jnp.float64)
    params, state = model.init(jax.random.key(0))
    params = wide(params)
    seen = depth_batch(NAMES, 5, (34, 32, 2))
    problem = model.tasks.problem(seen, jax.random.key(1), state)

    def losses(params):
        shared, used = params["shared"], seen.mask.any(axis=0)
        x = convolved(seen.x, shared["conv"]["kernel"], 2, 3)
        x = pooled(jnp.maximum(standard(shared["norm"], x, used), 0), 3, 1)
        blocks = list(shared["blocks"].values())
        x = stage(blocks[:1], x, used, 1, (1, 1))
        x = stage(blocks[1:3], x, used, 2, (1, 1))
        x = stage(blocks[3:4], x, used, 1, (1, 2))
        x = stage(blocks[4:], x, used, 1, (2, 4))
        heads = [at(params["tasks"], k) for k in range(3)]
        outputs = [pyramid_by_hand(own, x, (34, 32), (1, 2)) for own in heads]
        return depth_losses(outputs, seen)

    assert_as_by_hand(problem, params, losses, rtol=1e-9)


MISUSE = {
    "kind is 'regression': expected one of": {"kind": "regression"},
    "at least 32 x 32 pixels": {"input_shape": (16, 32, 3)},
    r"depth is 34: expected one of \(18, 50\)": {"depth": 34},
    "width is 0: expected 1 or more": {"width": 0},
    r"rates is \(1, 0\): expected dilations": {"rates": (1, 0)},
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    given = {"input_shape": (32, 32, 3)} | MISUSE[name]
    with pytest.raises(mtopt.UserError, match=name) as caught:
        made(given.pop("input_shape"), **given)
    assert "\n" not in str(caught.value)


def test_one_rate_in_place_of_several_is_told_in_one_line():
    """Of a text no types are checked, as they are in the tests."""
    encoder = inspect.unwrap(deeplab_encoder)
    with pytest.raises(mtopt.UserError, match=r"rates is 2: .* as in \(2, 4, 6\) or"):
        encoder((32, 32, 3), dtype=jnp.float32, rates=2)
