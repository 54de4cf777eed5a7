"""Models on every kind of labels."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtopt
from mtopt.models import functional
from tests.helpers.models import KINDS, NAMES, make_batch, tiny


@pytest.mark.parametrize("kind", KINDS)
def test_losses_equal_numpy(kind):
    outputs = KINDS[kind]
    model = functional(
        lambda rngs: nnx.Linear(6, 5, rngs=rngs),
        lambda rngs: nnx.Linear(5, outputs, rngs=rngs),
        NAMES,
        kind=kind,
    )
    batch = make_batch((6,), kind, outputs)
    mask, y = np.array(batch.mask), np.array(batch.y)
    mask[0, 3:] = mask[2] = False
    if kind == "regression":
        y[0, 5] = np.nan
    batch = dataclasses.replace(batch, y=y, mask=mask)

    @jax.jit
    def run(batch):
        params, state = model.init(jax.random.key(0))
        assert state == {}
        losses = model.tasks.problem(batch, jax.random.key(1), state).losses(params)
        return losses, model.predict(params, state, batch.x)

    losses, z = run(batch)
    z = np.asarray(z, float)
    assert z.shape == {
        "classification": (3, 8, 3),
        "multilabel": (3, 8, 4),
    }.get(kind, (3, 8))
    if kind == "classification":
        picked = np.take_along_axis(z, y[..., None], axis=-1)[..., 0]
        per_sample = np.log(np.exp(z).sum(-1)) - picked
    elif kind == "regression":
        per_sample = (z - y) ** 2
    else:
        per_sample = np.log1p(np.exp(z)) - y * z
        if kind == "multilabel":
            per_sample = per_sample.mean(-1)
    expected = [per_sample[0, :3].mean(), per_sample[1].mean(), 0.0]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "outputs", "labels"),
    [
        ("classification", 1, np.zeros((3, 8), np.int32)),
        ("classification", 3, np.zeros((3, 8), np.float32)),
        ("classification", 3, np.zeros((3, 8, 3), np.int32)),
        ("binary", 2, np.zeros((3, 8), np.int32)),
        ("regression", 1, np.zeros((3, 8, 1), np.float32)),
        ("multilabel", 1, np.zeros((3, 8, 4), np.int32)),
    ],
)
def test_labels_that_do_not_fit_the_head(kind, outputs, labels):
    model = tiny("mlp", kind=kind, outputs=outputs)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    batch = mtopt.Batch(jnp.zeros((8, 6)), jnp.asarray(labels), jnp.ones((3, 8), bool))
    problem = model.tasks.problem(batch, jax.random.key(0), state)
    with pytest.raises(mtopt.UserError, match=kind):
        jax.eval_shape(problem.losses, params)
