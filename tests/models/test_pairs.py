"""Preferences: a sample is a pair, scored by one encoder and head."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from mtopt.models import functional
from mtopt.models.heads import preference_loss
from mtopt.models.layers import BatchNorm
from tests.helpers.close import assert_close

NAMES = ("clarity", "warmth")
PAIRS = 64


class Normed(nnx.Module):
    """BatchNorm on the inputs, then a layer."""

    def __init__(self, rngs):
        self.norm = BatchNorm(3)
        self.linear = nnx.Linear(3, 8, rngs=rngs)

    def __call__(self, x):
        return jax.nn.relu(self.linear(self.norm(x)))


def planted():
    """Items of two tasks' hidden scores; a pair in five is a tie, one unlabelled."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(PAIRS, 2, 3)).astype(np.float32) * 2 + 1
    scores = np.stack([x[..., 0], x[..., 1] - x[..., 2]])
    y = (scores[..., 0] > scores[..., 1]).astype(np.float32)
    y[:, ::5] = 0.5
    mask = np.ones(y.shape, bool)
    mask[:, 7] = False
    return x, y, mask


@functools.cache
def trainer():
    """The model, its start, and the step that all tests take, compiled once."""
    model = functional(
        Normed, lambda rngs: nnx.Linear(8, 1, rngs=rngs), NAMES, kind="preference"
    )
    optimizer = mtopt.chain(mtopt.mgda(2), optax.adam(0.03))
    params, state = jax.jit(model.init)(jax.random.key(0))
    start = mtopt.TrainState.create(params, optimizer, jax.random.key(1), state)
    return model, start, mtopt.make_train_step(model.tasks, optimizer, donate=False)


def first_step(x, y, mask):
    _, start, step = trainer()
    return step(start, mtopt.Batch(x, y, mask, NAMES))


def test_swapping_the_two_of_a_pair_and_who_wins_changes_nothing():
    x, y, mask = planted()
    state, metrics = first_step(x, y, mask)
    turned = np.arange(PAIRS) % 2 == 0
    x_other = np.where(turned[:, None, None], x[:, ::-1], x)
    y_other = np.where(turned, 1 - y, y)
    other, found = first_step(x_other, y_other, mask)
    assert_close(found["losses"], metrics["losses"], rtol=1e-5)
    assert_close(other.model_state, state.model_state, rtol=1e-5)
    wrong = first_step(x_other, y, mask)[1]["losses"]
    assert abs(np.asarray(wrong) - np.asarray(metrics["losses"])).max() > 1e-3


def test_both_of_a_labelled_pair_count_for_the_statistics():
    x, y, mask = planted()
    mask[:, ::3] = False
    x_odd = x.copy()
    x_odd[::3] = 1e3
    state, _ = first_step(x_odd, y, mask)
    seen = x[mask[0]].reshape(-1, 3).astype(float)
    moments = {"mean": 0.1 * seen.mean(0), "var": 0.9 + 0.1 * seen.var(0)}
    assert_close(state.model_state["encoder"]["norm"], moments, rtol=1e-5)


def test_preferences_are_learned():
    model, state, step = trainer()
    x, y, mask = planted()
    batch = mtopt.Batch(x, y, mask, NAMES)
    for _ in range(60):
        state, _ = step(state, batch)
    margins = np.asarray(jax.jit(model.predict)(state.params, state.model_state, x))
    decided = y != 0.5
    assert ((margins > 0) == (y > 0.5))[decided].mean() > 0.95
    assert abs(margins[~decided]).mean() < abs(margins[decided]).mean()


def test_floors():
    margins, labels = jnp.array([0.0, 3.0, 2.0, 2.0]), jnp.array([0.5, 0.5, 1.0, 0.0])
    losses = np.asarray(preference_loss(margins, labels))
    assert losses[0] == pytest.approx(np.log(2), rel=1e-6)
    assert losses[1] > losses[0]
    slope = jax.grad(lambda d: preference_loss(d, labels).sum())(margins)
    assert slope[0] == 0
    # Scores behind a tanh are at most 2 apart.
    assert losses[2] == pytest.approx(np.log1p(np.exp(-2)), rel=1e-6)
    assert losses[2] == pytest.approx(0.127, abs=5e-4)
    assert losses[3] == pytest.approx(2 + losses[2], rel=1e-6)


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 2), (8,)])
def test_inputs_that_are_no_pairs(shape):
    model, start, _ = trainer()
    with pytest.raises(mtopt.UserError, match=r"expected \[b, 2, \.\.\.\]"):
        jax.eval_shape(model.predict, start.params, start.model_state, jnp.ones(shape))
