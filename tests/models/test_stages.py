"""Networks whose stages tasks mix, or attend to, are what they are by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.models import MODELS
from tests.helpers.by_hand import assert_as_by_hand, at
from tests.helpers.close import assert_close
from tests.helpers.methods import over
from tests.helpers.networks import (
    block,
    convolved,
    linear,
    normed,
    pooled,
    standard,
    wide,
)

NAMES = ("a", "b", "c")
B = 6


def made(name, shape, **options):
    options = {"kind": "regression", "outputs": 1} | options
    return MODELS[name](shape, names=NAMES, **options)


def batch(shape, dtype=np.float32):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(B, *shape)), dtype)
    y = jnp.asarray(rng.normal(size=(3, B)), dtype)
    return mtopt.Batch(x, y, jnp.asarray(rng.random((3, B)) < 0.8), NAMES)


def head_losses(params, z, seen):
    found = []
    for k in range(3):
        outputs = linear(at(params["tasks"].get("head", params["tasks"]), k), z[k])
        errors = (outputs[:, 0] - seen.y[k]) ** 2
        found.append(mtopt.masked_mean(errors, seen.mask[k]))
    return jnp.stack(found)


def stitched(params, seen, stages):
    """Every stage of every network, then every mixture, one after another."""
    shared = params["shared"]
    networks = [at(shared["networks"]["stack"], k) for k in range(3)]
    every = [seen.x] * 3
    for i, stage in enumerate(stages):
        found = [stage(*own) for own in zip(networks, every, strict=True)]
        alpha = jnp.broadcast_to(shared["units"][i], (found[0].shape[-1], 3, 3))
        every = [
            sum(
                jnp.broadcast_to(alpha[:, j, k], found[k].shape) * found[k]
                for k in range(3)
            )
            for j in range(3)
        ]
    return head_losses(params, every, seen)


def dense(index):
    return lambda own, x: jnp.maximum(linear(own["layers"][index], x), 0)


def conv(name):
    def stage(own, x):
        y = convolved(x, own[name]["kernel"])
        return jnp.maximum(pooled(y + own[name]["bias"][None, None, None]), 0)

    return stage


STITCHED = {
    "mlp": ((4,), "mlp(hidden=(7, 5))", [dense(0), dense(1)]),
    "lenet": (
        (16, 16, 1),
        "lenet",
        [
            conv("conv1"),
            conv("conv2"),
            lambda own, x: jnp.maximum(linear(own["dense"], x.reshape(B, -1)), 0),
        ],
    ),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("units", ["stage", "channel"])
@over(STITCHED)
def test_cross_stitch_is_as_by_hand(name, units):
    shape, encoder, stages = STITCHED[name]
    model = made("cross_stitch", shape, encoder=encoder, units=units, dtype=jnp.float64)
    params = wide(model.init(jax.random.key(0))[0])
    seen = batch(shape, np.float64)
    problem = model.tasks.problem(seen, jax.random.key(1))
    assert_as_by_hand(problem, params, lambda p: stitched(p, seen, stages), rtol=1e-9)


def test_networks_that_are_not_mixed_are_those_of_single_tasks():
    model = made("cross_stitch", (4,), encoder="mlp(hidden=(7, 5))", own=1.0)
    params, _ = model.init(jax.random.key(0))
    seen = batch((4,))
    problem = model.tasks.problem(seen, jax.random.key(1))
    rows = problem.losses_and_grads(params)[1]["shared"]["networks"]["stack"]
    for leaf in jax.tree.leaves(rows):
        others = np.asarray(leaf)[~np.eye(3, dtype=bool)]
        assert not others.any()
        assert np.asarray(leaf)[np.eye(3, dtype=bool)].any()


def attended(params, seen):
    shared, used = params["shared"], seen.mask.any(axis=0)
    network = shared["network"]
    x = convolved(seen.x, network["conv"]["kernel"], 1, 1)
    x = jnp.maximum(standard(network["norm"], x, used), 0)
    own, found = [None] * 3, [None] * 3
    for i in range(4):
        u = block(network["blocks"][2 * i], x, used, 2 if i else 1)
        x = block(network["blocks"][2 * i + 1], u, used, 1)
        for k in range(3):
            mine = at(params["tasks"]["own"], k)
            read = u if own[k] is None else jnp.concatenate([u, own[k]], axis=-1)
            g = jnp.maximum(normed(mine["g"][i], read, used), 0)
            found[k] = x / (1 + jnp.exp(-normed(mine["h"][i], g, used)))
            if i < 3:
                y = normed(shared["onwards"][i], found[k], used, stride=2, padding=1)
                own[k] = jnp.maximum(y, 0)
    return head_losses(params, [z.mean((1, 2)) for z in found], seen)


@pytest.mark.usefixtures("x64")
def test_mtan_is_as_by_hand():
    shape = (10, 9, 2)
    model = made("mtan", shape, network="resnet18(width=2)", dtype=jnp.float64)
    params, state = model.init(jax.random.key(0))
    params = wide(params)
    seen = batch(shape, np.float64)
    problem = model.tasks.problem(seen, jax.random.key(1), state)
    assert_as_by_hand(problem, params, lambda p: attended(p, seen), rtol=1e-9)


def test_masks_are_of_one_task_alone():
    model = made("mtan", (8, 8, 1), network="resnet18(width=2)")
    params, state = model.init(jax.random.key(0))
    values = params["tasks"].values
    h = jax.tree.map(lambda leaf: leaf.at[1].add(1.0), values["own"]["h"])
    changed = {**values, "own": {**values["own"], "h": h}}
    seen = batch((8, 8, 1))
    z = [
        model.tasks.problem(seen, jax.random.key(1), state).representation(
            {**params, "tasks": mtopt.PerTask(own, NAMES)}
        )
        for own in (values, changed)
    ]
    assert_close(z[0][::2], z[1][::2], rtol=1e-6)
    assert not np.allclose(z[0][1], z[1][1])


MISUSE = {
    "units is 'layers': expected one of": {"units": "layers"},
    "own is 1.5: expected": {"own": 1.5},
    "no encoder 'lenett'": {"encoder": "lenett"},
    "has no option 'depth'": {"encoder": "mlp(depth=2)"},
    "at least 16 x 16": {"encoder": "lenet"},
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    with pytest.raises(mtopt.UserError, match=name):
        made("cross_stitch", (4,), **{"encoder": "mlp"} | MISUSE[name])
