"""Models on every kind of labels."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import mtopt
from mtopt.models import functional
from mtopt.models.heads import linear_head
from tests.helpers.models import KINDS, NAMES, make_batch, tiny


@functools.cache
def found():
    """Losses and predictions of every kind, by one program."""
    models, batches = {}, {}
    for kind, outputs in KINDS.items():
        models[kind] = functional(
            lambda rngs: nnx.Linear(6, 5, rngs=rngs),
            linear_head(5, outputs, kind=kind),
            NAMES,
            kind=kind,
        )
        batch = make_batch((6,), kind, outputs)
        mask, y = np.array(batch.mask), np.array(batch.y)
        mask[0, 3:] = mask[2] = False
        if np.issubdtype(y.dtype, np.floating):
            y[0, 5] = np.nan
        batches[kind] = dataclasses.replace(batch, y=y, mask=mask)

    @jax.jit
    def run(batches):
        results = {}
        for kind, batch in batches.items():
            model = models[kind]
            params, state = model.init(jax.random.key(0))
            assert state == {}
            problem = model.tasks.problem(batch, jax.random.key(1), state)
            z = model.predict(params, state, batch.x)
            results[kind] = problem.losses(params), z
        return results

    return batches, jax.tree.map(np.asarray, run(batches))


@pytest.mark.parametrize("kind", KINDS)
def test_losses_equal_numpy(kind):
    batches, results = found()
    losses, z = results[kind]
    y, z = batches[kind].y, z.astype(float)
    columns = {"classification": 3, "multilabel": 4, "soft": 3}
    columns |= {"ordinal": 3, "ordinal_adjacent": 3}
    assert z.shape == ((3, 8, columns[kind]) if kind in columns else (3, 8))
    if kind == "ordinal_adjacent":
        z = np.pad(z.cumsum(-1), [(0, 0), (0, 0), (1, 0)])
    if kind in ("classification", "ordinal_adjacent"):
        picked = np.take_along_axis(z, y[..., None], axis=-1)[..., 0]
        per_sample = np.log(np.exp(z).sum(-1)) - picked
    elif kind == "soft":
        per_sample = np.log(np.exp(z).sum(-1)) - (y * z).sum(-1)
    elif kind == "regression":
        per_sample = (z - y) ** 2
    else:
        if kind == "ordinal":
            y = y[..., None] > np.arange(3)
        per_sample = np.log1p(np.exp(z)) - y * z
        if kind == "multilabel":
            per_sample = per_sample.mean(-1)
        if kind == "ordinal":
            per_sample = per_sample.sum(-1)
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
        ("ordinal", 3, np.zeros((3, 8), np.float32)),
        ("ordinal_adjacent", 3, np.zeros((3, 8, 3), np.int32)),
        ("soft", 1, np.zeros((3, 8, 1), np.float32)),
        ("soft", 3, np.zeros((3, 8), np.int32)),
    ],
)
def test_labels_that_do_not_fit_the_head(kind, outputs, labels):
    batch = mtopt.Batch(jnp.zeros((8, 6)), jnp.asarray(labels), jnp.ones((3, 8), bool))
    model = tiny("mlp", kind=kind, outputs=outputs)
    params, state = jax.eval_shape(model.init, jax.random.key(0))
    problem = model.tasks.problem(batch, jax.random.key(0), state)
    with pytest.raises(mtopt.UserError, match=kind):
        jax.eval_shape(problem.losses, params)
