"""Steps of mixed runs cost what the same step costs that is written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from mtopt.data import ArraySplit, Dataset, join
from mtopt.models import MODELS
from mtopt.models import join as join_models
from mtopt.training.program import shared_program
from tests.helpers.close import assert_close

# Of tox21 and qm8: fingerprints and descriptors of a molecule, tasks of each.
FEATURES, TASKS, SAMPLES = 165, 12, 128
SIZES = {"binary": 200, "regression": 300}


def layer(arrays, x):
    return x @ arrays["kernel"] + arrays["bias"][None]


def encode(shared, x):
    for each in shared["layers"].values():
        x = jax.nn.relu(layer(each, x))
    return x


def masked_mean(values, mask):
    return jnp.where(mask, values, 0).sum(-1) / jnp.maximum(mask.sum(-1), 1)


def assert_costs_as_much(step, state, batch, by_hand):
    """And moves the parameters alike; by_hand: the mean of all losses."""
    tx, params = optax.adam(1e-3), state.params

    @jax.jit
    def plain(params, opt_state, batch):
        grads = jax.grad(lambda own: by_hand(own, batch))(params)
        updates, opt_state = tx.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state

    given = params, tx.init(params), batch
    expected = plain.lower(*given).compile()
    compiled = step.lower(state, batch).compile()
    flops = [each.cost_analysis()["flops"] for each in (compiled, expected)]
    assert flops[0] <= 1.01 * flops[1]
    wanted = expected(*given)[0]  # first: the other donates its state
    assert_close(compiled(state, batch)[0].params, wanted, rtol=1e-3)


def molecules(kind):
    """A source of random numbers in the shapes of the real one, labels missing."""
    names = tuple(f"{kind}_{k:02d}" for k in range(TASKS))
    rng = np.random.default_rng(len(kind))
    size = SIZES[kind]
    x = rng.normal(size=(size, FEATURES)).astype("float32")
    y = rng.normal(size=(TASKS, size)).astype("float32")
    y = (y > 0).astype("int32") if kind == "binary" else y
    split = ArraySplit(mtopt.Batch(x, y, rng.random(y.shape) < 0.8, names), None)
    return Dataset(kind, names, kind, 1, None, split, split, split)


def test_binary_assays_beside_numbers_of_other_molecules():
    data = join(*map(molecules, SIZES))
    models = [
        MODELS["mlp"](
            (FEATURES,), names=g.tasks, kind=g.kind, outputs=1, hidden=(256, 64)
        )
        for g in data.groups
    ]
    tx = mtopt.chain(mtopt.equal_weighting(2 * TASKS), optax.adam(1e-3))
    program = shared_program(join_models(models), tx, 1)
    state = program.init(jax.random.key(0)[None])
    batch = next(data.train.batches(SAMPLES, seeds=(0,)))

    def by_hand(params, batch):
        params, batch = jax.tree.map(lambda leaf: leaf[0], (params, batch))
        total = 0.0
        for group, heads, x, y, mask in zip(
            data.groups, params["tasks"], batch.x, batch.y, batch.mask, strict=True
        ):
            z = encode(params["shared"], x)
            outputs = jnp.einsum("bw,kwo->kbo", z, heads.values["kernel"])[..., 0]
            outputs += heads.values["bias"]
            losses = (outputs - y) ** 2
            if group.kind == "binary":
                losses = optax.sigmoid_binary_cross_entropy(outputs, y)
            total = total + masked_mean(losses, mask).sum()
        return total / (2 * TASKS)

    assert_costs_as_much(program.step, state, batch, by_hand)


def test_a_label_beside_the_reconstruction_of_its_input():
    """On one encoding: it runs once, forwards and backwards."""
    names = ("label", "reconstruction")

    def encode_features(shared, x, key):
        return encode(shared, x)

    def label_loss(head, z, y, mask, key):
        return mtopt.masked_mean((layer(head, z)[:, 0] - y) ** 2, mask)

    def reconstruction_loss(head, z, y, mask, key):
        return mtopt.masked_mean((layer(head, z) - y) ** 2, mask)

    losses = label_loss, reconstruction_loss
    tasks = mtopt.TaskGroups(
        tuple(
            mtopt.Tasks((name,), encode_features, loss)
            for name, loss in zip(names, losses, strict=True)
        ),
        shared_inputs=True,
    )
    rng = np.random.default_rng(0)

    def start(before, after):
        kernel = rng.normal(size=(before, after)) / before**0.5
        return {"kernel": kernel.astype("float32"), "bias": np.zeros(after, "float32")}

    heads = [start(64, 1), start(64, FEATURES)]
    heads = [jax.tree.map(lambda leaf: leaf[None], head) for head in heads]
    params = {
        "shared": {"layers": {0: start(FEATURES, 256), 1: start(256, 64)}},
        "tasks": tuple(
            mtopt.PerTask(head, (name,))
            for head, name in zip(heads, names, strict=True)
        ),
    }
    x = rng.normal(size=(SAMPLES, FEATURES)).astype("float32")
    y = x[None, :, 0], x[None]
    mask = x[None, :, 1] < 1, np.ones((1, SAMPLES), bool)
    batch = jax.device_put(mtopt.Batch(x, y, mask))
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.adam(1e-3))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))

    def by_hand(params, batch):
        z = encode(params["shared"], batch.x)
        heads = [jax.tree.map(lambda leaf: leaf[0], h.values) for h in params["tasks"]]
        label = (layer(heads[0], z)[:, 0] - batch.y[0][0]) ** 2
        reconstruction = ((layer(heads[1], z) - batch.y[1][0]) ** 2).mean(1)
        return (masked_mean(label, batch.mask[0][0]) + reconstruction.mean()) / 2

    assert_costs_as_much(mtopt.make_train_step(tasks, tx), state, batch, by_hand)
