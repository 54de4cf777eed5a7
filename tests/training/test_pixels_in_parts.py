"""Micro-batches of pixels: the step is that of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.data import scenes
from mtopt.models import join
from tests.helpers.pixel_model import one_convolution

SIZES = {"num_train": 8, "num_valid": 1, "num_test": 1, "size": 8}


@pytest.mark.parametrize("weighted", [False, True])
def test_parts_of_unequal_pixels_make_the_step_of_the_whole(weighted):
    data = scenes(**SIZES, missing=0.25)
    models = [
        one_convolution(
            (8, 8, 3),
            names=group.tasks,
            kind=group.kind,
            outputs=group.outputs,
            x_axis=None,
            dtype=jnp.float32,
        )
        for group in data.groups
    ]
    model = join(models, shared_inputs=True)
    batch = next(data.train.in_order(8))
    known = [int((jnp.asarray(y[0, :4]) != 0).sum()) for y in batch.y[:1]]
    assert known[0] != int((jnp.asarray(batch.y[0][0, 4:]) != 0).sum())
    if weighted:
        weight = jnp.arange(1.0, 9.0)[None]
        masks = tuple(weight * mask for mask in batch.mask)
        batch = mtopt.Batch(batch.x, batch.y, masks, batch.names)
    params, model_state = model.init(jax.random.key(0))
    tx = mtopt.chain(mtopt.mgda(3), optax.sgd(0.1))
    found = []
    for count in (1, 4):
        state = mtopt.TrainState.create(
            params, tx, jax.random.key(0), model_state=model_state
        )
        step = mtopt.make_train_step(model.tasks, tx, micro_batches=count, donate=False)
        state, metrics = step(state, batch)
        found.append((metrics["losses"], state.params))
    one, parts = found
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), one, parts
    )
