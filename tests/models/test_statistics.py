"""Statistics of a batch are over its labelled samples, each once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.models.layers import average_over
from tests.helpers import models, problems
from tests.helpers.close import assert_close
from tests.helpers.updates import KEY

FEW, MORE = 5, 8


def standardised(shared, x, key, model_state, labelled):
    """An encoder of one's own, with statistics of the batch alone."""
    del key
    count = labelled.sum()
    mean = jnp.where(labelled[:, None], x, 0).sum(axis=0) / count
    centred = x - mean[None]
    var = jnp.where(labelled[:, None], centred**2, 0).sum(axis=0) / count
    return jnp.tanh(centred / jnp.sqrt(var + 0.1)[None] @ shared), model_state


def samples(size, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(size, 3)) + 3).astype(np.float32)
    return x, rng.integers(3, size=size)


def a_model(names, x_axis):
    """The one with BatchNorm, of tasks with these names."""
    model = models.normed(x_axis)
    params, state = model.init(jax.random.key(0))
    index = np.array([models.NAMES.index(name) for name in names])
    take = functools.partial(jax.tree.map, lambda leaf: leaf[index])
    heads = mtopt.PerTask(take(params["tasks"].values), names)
    old = model.tasks
    tasks = mtopt.Tasks(names, old.encode, old.head_loss, x_axis, stateful=True)
    state = state if x_axis is None else take(state)
    return tasks, {**params, "tasks": heads}, state


def an_encoder(names, x_axis):
    tasks = mtopt.Tasks(names, standardised, problems.squared_loss, x_axis, True)
    heads = mtopt.PerTask(np.ones((len(names), 4), np.float32), names)
    return tasks, {"shared": np.eye(3, 4, dtype=np.float32), "tasks": heads}, None


BOTH = pytest.mark.parametrize("make", [a_model, an_encoder])


def evaluated(make, names, x_axis, batch):
    """Losses, rows, and the next state of the model."""
    tasks, params, state = make(names, x_axis)

    @jax.jit
    def evaluate(batch):
        problem = tasks.problem(batch, KEY, state)
        losses, grads = problem.losses_and_grads(params)
        leaves = jax.tree.leaves(grads["shared"])
        rows = [leaf.reshape(len(losses), -1) for leaf in leaves]
        rows = jnp.concatenate(rows, axis=1)  # a bias before BatchNorm has none
        return losses, rows, problem.next_model_state(params)

    return evaluate(batch)


@BOTH
def test_a_small_task_beside_a_larger_one_is_as_if_it_were_alone(make):
    small = samples(FEW, 0)
    alone = evaluated(make, ("left",), 0, mtopt.Batch.disjoint({"left": small}))
    batch = mtopt.Batch.disjoint({"left": small, "right": samples(MORE, 1)})
    found = evaluated(make, ("left", "right"), 0, batch)
    found = jax.tree.map(lambda leaf: leaf[:1], found)
    assert_close(found, alone, rtol=1e-5)


@BOTH
def test_samples_without_a_label_change_nothing_on_shared_inputs(make):
    x, y = samples(FEW, 0)
    labels = {"left": y, "right": (y + 1) % 3}
    plain = evaluated(make, ("left", "right"), None, mtopt.Batch.shared(x, labels))
    padded = {name: np.pad(own, (0, 3)) for name, own in labels.items()}
    real = {name: np.arange(FEW + 3) < FEW for name in labels}
    batch = mtopt.Batch.shared(np.pad(x, ((0, 3), (0, 0))), padded, real)
    found = evaluated(make, ("left", "right"), None, batch)
    assert_close(found, plain, rtol=1e-5)


def test_an_encoder_with_a_state_takes_the_labelled_samples():
    with pytest.raises(mtopt.UserError, match="model_state, labelled"):
        mtopt.Tasks(
            ("a",), lambda s, x, key, state: (x, state), problems.classify, 0, True
        )


def test_samples_stand_first():
    with pytest.raises(mtopt.UserError, match="the axis of samples first"):
        average_over(jnp.ones(3, bool))(jnp.ones((2, 4)))
