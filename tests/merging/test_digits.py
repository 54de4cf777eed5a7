"""Three views of digits, an encoder tuned for each, and one made of the three."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

import mtopt
from mtopt.merging import average, blockwise, merged, task_arithmetic, task_vectors
from mtopt.models import MODELS

NAMES = ("mirrored", "plain", "turned")
MODEL = MODELS["mlp"](
    (8, 8), names=NAMES, kind="classification", outputs=10, x_axis=0, hidden=(64, 64)
)
SIZES = {"train": 1000, "probe": 200, "test": 597}


def views(seed):
    """Every digit as it is, mirrored and turned: one's encoder cannot read another."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x = (digits.images / 16).astype(np.float32)[order]
    x = np.stack([x[:, :, ::-1], x, np.rot90(x, 1, (1, 2))])
    y = np.stack([digits.target.astype(np.int32)[order]] * 3)
    found, start = {}, 0
    for name, size in SIZES.items():
        part = slice(start, start + size)
        mask = np.ones((3, size), bool)
        found[name] = mtopt.Batch(*map(jnp.asarray, (x[:, part], y[:, part], mask)))
        start += size
    return found


def trained(tasks, params, held, data, tx, steps, seed, only=None):
    """The parameters after so many steps of 64 images of each view, or of one view."""
    tx = mtopt.chain(mtopt.equal_weighting(3), tx)
    step = mtopt.make_train_step(tasks, tx)
    key = jax.random.key(seed)
    state = mtopt.TrainState.create(params, tx, key, constants=held)
    seen = jnp.ones(3, bool) if only is None else jnp.arange(3) == only
    picks = np.random.default_rng(seed).integers(data.y.shape[1], size=(steps, 64))

    @jax.jit
    def run(state):
        def one(state, own):
            mask = jnp.broadcast_to(seen[:, None], (3, 64))
            return step(state, mtopt.Batch(data.x[:, own], data.y[:, own], mask))[
                0
            ], None

        return jax.lax.scan(one, state, jnp.asarray(picks))[0]

    return run(state).params


def accuracy(shared, heads, batch):
    outputs = MODEL.predict({"shared": shared, "tasks": heads}, {}, batch.x)
    return float((outputs.argmax(-1) == batch.y).mean())


def compared(seed):
    """Test accuracies, by what the models are made of."""
    data = views(seed)
    params, _ = MODEL.init(jax.random.key(seed))
    fit = functools.partial(trained, seed=seed)
    base = fit(MODEL.tasks, params, None, data["train"], optax.adam(1e-3), 60)
    heads = base["tasks"]
    frozen = optax.chain(optax.adam(1e-3), mtopt.scale_tasks(0))
    tuned = [
        fit(MODEL.tasks, base, None, data["train"], frozen, 600, only=k)["shared"]
        for k in range(3)
    ]
    vectors = task_vectors(base["shared"], tuned)
    scales = np.arange(0.1, 1.01, 0.1)
    summed = [task_arithmetic(base["shared"], vectors, scale) for scale in scales]
    best = max(summed, key=lambda own: accuracy(own, heads, data["probe"]))
    tasks, start, held = merged(MODEL.tasks, base, vectors, blockwise)
    learned = optax.chain(optax.adam(2e-2), mtopt.scale_tasks(0))
    found = fit(tasks, start, held, data["probe"], learned, 300)["shared"]
    own = blockwise.merge(found["coefficients"], base["shared"], vectors, None)
    probed = fit(MODEL.tasks, base, None, data["probe"], frozen, 600)["shared"]
    joint = fit(MODEL.tasks, base, None, data["train"], frozen, 600)["shared"]
    made = {
        "base": base["shared"],
        "average": average(base["shared"], vectors),
        "task arithmetic": best,
        "blockwise": own,
        "all weights on the probe": probed,
        "jointly": joint,
    }
    return {name: accuracy(it, heads, data["test"]) for name, it in made.items()}


@pytest.mark.slow
def test_coefficients_of_blocks_beat_task_arithmetic_and_lose_to_all_weights():
    found = [compared(seed) for seed in range(3)]
    print()
    for name in found[0]:
        print(f"{name:25}", *(f"{own[name]:.3f}" for own in found))
    means = {name: np.mean([own[name] for own in found]) for name in found[0]}
    assert means["blockwise"] > means["task arithmetic"] + 0.05
    assert means["all weights on the probe"] > means["blockwise"] + 0.05
    assert means["jointly"] > means["all weights on the probe"]
