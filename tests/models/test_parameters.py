"""Parameters of models: heads, seeds, precisions, training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers.close import assert_close
from tests.helpers.compilations import compiled_once
from tests.helpers.models import TINY, make_batch, normed, residual, tiny


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def test_heads_do_not_depend_on_other_tasks():
    all_three, _ = jax.jit(tiny("mlp").init)(jax.random.key(0))
    two, _ = jax.jit(tiny("mlp", names=("right", "up")).init)(jax.random.key(0))
    assert_close(two["tasks"]["right"], all_three["tasks"]["right"], rtol=0)
    assert_close(two["shared"], all_three["shared"], rtol=0)
    kernels = np.asarray(all_three["tasks"].values["kernel"])
    assert abs(kernels[0] - kernels[1]).max() > 0.01


@pytest.mark.parametrize("name", [slow("mlp"), "normed"])
def test_seeds_under_vmap_equal_single_ones(name):
    model, shape = (normed(), (3,)) if name == "normed" else (tiny(name), (6,))
    keys = jax.random.split(jax.random.key(0), 2)
    params, state = jax.jit(jax.vmap(model.init))(keys)
    x = jax.random.normal(jax.random.key(1), (4, *shape))
    many = jax.jit(jax.vmap(model.predict, in_axes=(0, 0, None)))(params, state, x)
    single_params, single_state = jax.jit(model.init)(keys[1])
    last = jax.tree.map(lambda leaf: np.asarray(leaf)[1], (params, state))
    assert_close(last, (single_params, single_state), rtol=1e-6)
    one = jax.jit(model.predict)(single_params, single_state, x)
    np.testing.assert_allclose(many[1], one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["residual", *map(slow, ("mlp", "lenet", "set_attention", "transformer"))],
)
def test_bfloat16_computes_alone(name):
    make = residual if name == "residual" else functools.partial(tiny, name)
    shape = (8, 8, 1) if name == "residual" else TINY[name][0]
    full, half = make(), make(dtype=jnp.bfloat16)
    both = jax.jit(lambda key: (half.init(key), full.init(key)))
    (params, state), expected = both(jax.random.key(0))
    assert_close((params, state), expected, rtol=0)
    batch = make_batch(shape, "classification", 3)

    @jax.jit
    def compute(params, state):
        found = []
        for model in (half, full):
            problem = model.tasks.problem(batch, jax.random.key(1), state)
            prediction = model.predict(params, state, batch.x)
            found.append((prediction, problem.losses_and_grads(params)))
            dtypes = {leaf.dtype for leaf in jax.tree.leaves(found[-1])}
            dtypes |= {
                leaf.dtype for leaf in jax.tree.leaves(problem.next_model_state(params))
            }
            assert dtypes == {jnp.dtype(jnp.float32)}
        z = half.tasks.problem(batch, jax.random.key(1), state).representation(params)
        assert z.dtype == jnp.bfloat16
        return found

    (logits, (losses, grads)), (logits32, (losses32, grads32)) = compute(params, state)
    np.testing.assert_allclose(logits, logits32, atol=0.03)
    np.testing.assert_allclose(losses, losses32, atol=0.03)
    rows, rows32 = (
        np.concatenate(
            [np.reshape(leaf, (3, -1)) for leaf in jax.tree.leaves(g["shared"])], 1
        )
        for g in (grads, grads32)
    )
    cosine = (rows * rows32).sum(1) / np.linalg.norm(rows, axis=1)
    # One sample whose relu or pool tips over moves a gradient by a few per cent.
    assert (cosine / np.linalg.norm(rows32, axis=1) > 0.97).all()


@pytest.mark.parametrize(
    ("name", "x_axis"),
    [
        slow("mlp", None),
        ("mlp", 0),
        slow("lenet", None),
        slow("resnet18", None),
    ],
)
def test_training_reduces_the_losses(name, x_axis):
    model = tiny(name, x_axis=x_axis)
    params, state = jax.jit(model.init)(jax.random.key(0))
    batch = make_batch(TINY[name][0], "classification", 3, x_axis=x_axis)
    tx = mtopt.chain(mtopt.equal_weighting(3), optax.adam(1e-2))
    step = compiled_once(mtopt.make_train_step(model.tasks, tx))
    train_state = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    losses = []
    for _ in range(30):
        train_state, metrics = step(train_state, batch)
        losses.append(np.asarray(metrics["losses"]))
    assert np.isfinite(losses).all()
    assert (losses[-1] < 0.6 * losses[0]).all()
    predict = jax.jit(model.predict)
    logits = predict(train_state.params, train_state.model_state, batch.x)
    assert logits.shape == (3, 8, 3)
    assert np.isfinite(logits).all()
