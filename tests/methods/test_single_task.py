"""One task of several, trained alone."""

import jax
import numpy as np
import optax

import mtopt
from tests.helpers import problems


def test_single_task_trains_one_head_and_leaves_the_others():
    tasks, params, batch = problems.classification(3, 16, 5, (7,), 4, None)
    tx = mtopt.chain(mtopt.single_task(3, task=1), optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    state, _ = mtopt.make_train_step(tasks, tx)(state, batch)
    for k, name in enumerate(tasks.names):
        moved = np.abs(state.params["tasks"][name]["w"] - params["tasks"][name]["w"])
        assert (moved.max() > 0) == (k == 1)
