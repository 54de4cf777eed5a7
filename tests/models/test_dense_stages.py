"""Networks of pixels whose stages tasks mix, or attend to, beside such by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS, pyramid
from mtopt.models.deeplab import NETWORKS
from mtopt.models.residual import Bottleneck
from tests.helpers.by_hand import assert_as_by_hand, at
from tests.helpers.methods import over
from tests.helpers.networks import (
    convolved,
    depth_batch,
    depth_losses,
    down_block,
    interpolated,
    normed,
    pixel_head,
    pooled,
    pooled_with_hits,
    shallow,
    stage,
    standard,
    unpooled,
    wide,
)
from tests.helpers.networks import pyramid as pyramid_by_hand

NAMES = ("a", "b", "c")
RATES = (1, 2)
DEEPLAB = "deeplab(depth=18, width=1, rates=(1, 2))"


def made(name, shape, **options):
    options = {"kind": "depth", "outputs": 1} | options
    return MODELS[name](shape, names=NAMES, **options)


def mixed(alpha, every):
    alpha = jnp.broadcast_to(alpha, (every[0].shape[-1], 3, 3))
    return [
        sum(alpha[:, j, k][None, None, None] * every[k] for k in range(3))
        for j in range(3)
    ]


def stitched_segnet(params, seen):
    shared, used = params["shared"], seen.mask.any(axis=0)
    networks = [at(shared["networks"]["stack"], k) for k in range(3)]
    units = iter(shared["units"].values())
    every, hits = [seen.x] * 3, [[], [], []]
    for i in networks[0]["down"]:
        for k, own in enumerate(networks):
            maps = down_block(own["down"][i].values(), every[k], used)
            pooled_maps, hit = pooled_with_hits(maps)
            every = [*every[:k], pooled_maps, *every[k + 1 :]]
            hits[k].append(hit)
        every = mixed(next(units), every)
    for i in networks[0]["up"]:
        every = [
            down_block(own["up"][i].values(), unpooled(x, hit.pop()), used)
            for own, x, hit in zip(networks, every, hits, strict=True)
        ]
        every = mixed(next(units), every)
    heads = [at(params["tasks"], k) for k in range(3)]
    return depth_losses(map(pixel_head, heads, every), seen)


def laid_on(own, place, read, x, used):
    """A mask of a task, from what it reads, and the maps under it."""
    g = jnp.maximum(normed(own["g"][place], read, used), 0)
    return x / (1 + jnp.exp(-normed(own["h"][place], g, used)))


def attended_segnet(params, seen):
    shared, used = params["shared"], seen.mask.any(axis=0)
    network, outputs = shared["network"], []
    for k in range(3):
        own, head = (at(params["tasks"][part], k) for part in ("own", "head"))
        x, hits, kept = seen.x, [], None
        for i in network["down"]:
            first, *rest = network["down"][i].values()
            u = down_block([first], x, used)
            p = down_block(rest, u, used)
            x, hit = pooled_with_hits(p)
            hits.append(hit)
            read = u if kept is None else jnp.concatenate([u, kept], axis=-1)
            kept = laid_on(own, i, read, p, used)
            kept = pooled(down_block([shared["down"][i]], kept, used))
        for i in network["up"]:
            u = unpooled(x, hits.pop())
            x = down_block(network["up"][i].values(), u, used)
            twice = interpolated(kept, [2 * size for size in kept.shape[1:3]])
            onwards = down_block([shared["up"][i]], twice, used)
            read = jnp.concatenate([u, onwards], axis=-1)
            kept = laid_on(own, len(network["down"]) + i, read, x, used)
        outputs.append(pixel_head(head, kept))
    return depth_losses(outputs, seen)


def attended_deeplab(params, seen):
    shared, used = params["shared"], seen.mask.any(axis=0)
    network, outputs = shared["network"], []
    blocks = list(network["blocks"].values())
    for k in range(3):
        own, head = (at(params["tasks"][part], k) for part in ("own", "head"))
        x = convolved(seen.x, network["conv"]["kernel"], 2, 3)
        x = pooled(jnp.maximum(standard(network["norm"], x, used), 0), 3, 1)
        kept = None
        strides, dilations = (1, 2, 1, 1), (1, 1, 2, 4)
        for i in range(4):
            late, early = blocks[2 * i + 1], blocks[2 * i : 2 * i + 1]
            before = (1, *dilations)[i]
            u = stage(early, x, used, strides[i], (before, dilations[i]))
            x = stage([late], u, used, 1, (dilations[i], dilations[i]))
            read = u if kept is None else jnp.concatenate([u, kept], axis=-1)
            kept = laid_on(own, i, read, x, used)
            if i < 3:
                options = {"stride": strides[i + 1], "padding": 1}
                kept = normed(shared["onwards"][i], kept, used, **options)
                kept = jnp.maximum(kept, 0)
        outputs.append(pyramid_by_hand(head, kept, seen.x.shape[1:3], RATES))
    return depth_losses(outputs, seen)


BY_HAND = {
    "cross_stitch on segnet, by channel": (
        (8, 12, 2),
        {"encoder": "segnet(width=2)", "units": "channel"},
        stitched_segnet,
    ),
    "cross_stitch on segnet": (
        (8, 12, 2),
        {"encoder": "segnet(width=2)"},
        stitched_segnet,
    ),
    "mtan on segnet": ((8, 12, 2), {"network": "segnet(width=2)"}, attended_segnet),
    "mtan on deeplab": ((32, 34, 2), {"network": DEEPLAB}, attended_deeplab),
}


@pytest.mark.usefixtures("x64")
@over(BY_HAND, slow={"mtan on deeplab"})
def test_rows_are_the_jacobian_of_losses_by_hand(name, monkeypatch):
    shallow(monkeypatch)
    monkeypatch.setattr(pyramid, "DROPOUT", 0.0)
    shape, options, losses = BY_HAND[name]
    model = made(name.split()[0], shape, dtype=jnp.float64, **options)
    params, state = model.init(jax.random.key(0))
    params = wide(params)
    seen = depth_batch(NAMES, 5, shape)
    problem = model.tasks.problem(seen, jax.random.key(1), state)
    assert_as_by_hand(problem, params, lambda p: losses(p, seen), rtol=1e-9)


def test_masks_have_the_sizes_of_the_published_network():
    """Of Liu et al.'s code for SegNet, at a quarter of the widths."""
    model = made("mtan", (32, 32, 3), network="segnet(width=16)")
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    own = params["tasks"].values["own"]
    sizes = [layer["conv"]["kernel"].shape[3:] for layer in own["g"].values()]
    down = [(16, 16), (64, 32), (128, 64), (256, 128), (256, 128)]
    up = [(256, 128), (192, 64), (96, 32), (48, 16), (32, 16)]
    assert sizes == down + up
    onwards = {
        part: [
            layer["conv"]["kernel"].shape[2:]
            for layer in params["shared"][part].values()
        ]
        for part in ("down", "up")
    }
    assert onwards == {
        "down": [(16, 32), (32, 64), (64, 128), (128, 128), (128, 128)],
        "up": [(128, 128), (128, 64), (64, 32), (32, 16), (16, 16)],
    }


def test_on_bottlenecks_what_leads_onwards_is_one():
    """As in Liu et al.'s code for a dilated ResNet-50."""
    model = made("mtan", (32, 32, 3), network="deeplab(width=4)")
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    own = params["tasks"].values["own"]
    g, h = (
        [layer["conv"]["kernel"].shape[3:] for layer in own[part].values()]
        for part in "gh"
    )
    assert g == [(16, 4), (64, 8), (128, 16), (256, 32)]
    assert h == [(4, 16), (8, 32), (16, 64), (32, 128)]
    onwards = params["shared"]["onwards"]
    assert onwards[2]["conv2"]["kernel"].shape == (3, 3, 32, 32)
    assert onwards[2]["conv4"]["kernel"].shape == (1, 1, 64, 128)


MISUSE = {
    "no network 'lenet'": {"network": "lenet"},
    "has no option 'depth'": {"network": "segnet(depth=2)"},
    "makes a MLP: expected a ResNet or a SegNet": {
        "network": "mtopt.models.mlp:mlp_encoder",
        "kind": "regression",
    },
    "kind is 'classification': expected one of": {
        "network": "segnet",
        "kind": "classification",
    },
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    with pytest.raises(mtopt.UserError, match=name):
        made("mtan", (32, 32, 3), **MISUSE[name])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("cross_stitch", {"encoder": "segnet(width=2)"}),
        ("cross_stitch", {"encoder": DEEPLAB}),
        ("mtan", {"network": "segnet(width=2)"}),
        ("mtan", {"network": "deeplab(depth=50, width=1, rates=(1, 2))"}),
    ],
    ids=str,
)
def test_three_kinds_of_pixels_train_on_one_network(model, options, monkeypatch):
    """Classes, depth and normals of the same images, each with a head of its kind."""
    shallow(monkeypatch)
    monkeypatch.setitem(NETWORKS, 50, (Bottleneck, (2, 2, 2, 2)))
    kinds = {"segmentation": 4, "depth": 1, "normals": 3}
    every = tuple(sorted(kinds))
    joint = mtopt.models.join(
        [
            mtopt.models.some_tasks(
                MODELS[model](
                    (32, 32, 3), names=every, kind=kind, outputs=kinds[kind], **options
                ),
                (kind,),
            )
            for kind in every
        ],
        shared_inputs=True,
    )
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.integers(256, size=(4, 32, 32, 3), dtype=np.uint8))
    vectors = rng.normal(size=(1, 4, 32, 32, 3)).astype(np.float32)
    y = (
        rng.random((1, 4, 32, 32)).astype(np.float32),
        vectors / np.linalg.norm(vectors, axis=-1, keepdims=True),
        rng.integers(-1, 4, (1, 4, 32, 32)).astype(np.int32),
    )
    batch = mtopt.Batch(x, y, (np.ones((1, 4), bool),) * 3)
    params, state = jax.jit(joint.init)(jax.random.key(0))
    tx = mtopt.chain(mtopt.mgda(3), optax.adam(1e-2))
    now = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    step = mtopt.make_train_step(joint.tasks, tx, donate=False)
    losses = []
    for _ in range(10):
        now, metrics = step(now, batch)
        losses.append(metrics["losses"])
    assert np.isfinite(losses).all()
    assert (losses[-1] < losses[0]).all()
    found = jax.jit(joint.predict)(now.params, now.model_state, x)
    shapes = [z.shape for z in found]
    assert shapes == [(1, 4, 32, 32), (1, 4, 32, 32, 3), (1, 4, 32, 32, 4)]
