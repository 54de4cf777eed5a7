"""Many steps of a method on losses, and what they are compared with, in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import mtopt
from mtopt.methods.cosmos_scalarization import cosmos_scalarization
from mtopt.methods.dynamic_weight_average import dynamic_weight_average
from mtopt.methods.geometric_loss import geometric_loss
from mtopt.methods.go4align import go4align
from mtopt.methods.improvable_gap_balancing import improvable_gap_balancing
from mtopt.methods.imtl_l import imtl_l
from mtopt.methods.ldc import ldc
from mtopt.methods.pbi import pbi
from mtopt.methods.random_loss_weighting import (
    random_loss_weighting,
)
from mtopt.methods.scale_invariant import scale_invariant
from mtopt.methods.smooth_tchebycheff import (
    smooth_tchebycheff,
)
from mtopt.methods.smooth_tchebycheff_warmup import smooth_tchebycheff_warmup
from mtopt.methods.tchebycheff import tchebycheff
from mtopt.methods.uncertainty_weighting import uncertainty_weighting
from tests.helpers.close import assert_close

MAKE = {
    "scale_invariant": scale_invariant,
    "geometric_loss": geometric_loss,
    "uncertainty_weighting": uncertainty_weighting,
    "dwa_epoch": functools.partial(dynamic_weight_average, steps_per_epoch=1),
    "dwa_window": functools.partial(dynamic_weight_average, window=1),
    "random_loss_weighting": random_loss_weighting,
    "imtl_l": imtl_l,
    "smooth_tchebycheff": smooth_tchebycheff,
    "smooth_tchebycheff_warmup": functools.partial(
        smooth_tchebycheff_warmup, steps_per_epoch=1, warmup_epochs=0
    ),
    "tchebycheff": tchebycheff,
    "pbi": pbi,
    "cosmos_scalarization": cosmos_scalarization,
    "improvable_gap_balancing": functools.partial(
        improvable_gap_balancing, steps_per_epoch=1, base_epoch=0
    ),
    "go4align": go4align,
    "ldc": ldc,
    "ldc_log": functools.partial(ldc, normalization="log"),
}


def compiled(tx):
    """Many steps of a method in one program: losses and presence, ``[T, K]``."""

    def run(losses, present):
        params = jnp.zeros(losses.shape[1], losses.dtype)
        rows = jnp.eye(losses.shape[1], dtype=losses.dtype)

        def step(state, inputs):
            losses, present = inputs
            known = mtopt.Evaluation(losses=losses, present=present)
            direction, state = tx.update(rows, state, params, evaluation=known)
            return state, (state.weights, direction)

        return jax.lax.scan(step, tx.init(params), (losses, present))

    return jax.jit(run)


@functools.cache
def compiled_by_name(name):
    return compiled(MAKE[name](3))


def follow(method, losses, present=None):
    """The weights of every step on these losses ``[T, K]``, and the last state."""
    run = compiled_by_name(method) if isinstance(method, str) else compiled(method)
    losses = np.asarray(losses, float)
    present = np.ones(losses.shape, bool) if present is None else present
    state, (weights, directions) = run(losses, present)
    assert_close(directions, weights, rtol=1e-6)
    return np.asarray(weights), state


def slope(function, at, size=1e-6):
    """Central differences of a function of a few numbers."""
    eye = np.eye(len(at))
    return np.array(
        [
            (function(at + size * a * e) - function(at - size * a * e)) / (2 * size * a)
            for a, e in zip(np.abs(at), eye, strict=True)
        ]
    )


def softmax(values):
    parts = np.exp(np.asarray(values) - np.max(values))
    return parts / parts.sum()


def adam(slopes, learning_rate=0.025):
    """The steps of Adam for one number, along given slopes."""
    mean = square = 0.0
    for t, g in enumerate(slopes, start=1):
        mean = 0.9 * mean + 0.1 * g
        square = 0.999 * square + 0.001 * g**2
        yield (
            -learning_rate
            * (mean / (1 - 0.9**t))
            / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        )


PREFERENCE = np.array([1.0, 2.0, 5.0])


IDEAL = (0.1, 0.1, 0.1)


def share(index):
    """The preference of the tasks present, as a point of their simplex."""
    return PREFERENCE[index] / PREFERENCE[index].sum()


def assert_gradient_of_the_scalarised_loss(tx, reference):
    losses = np.array([[0.7, 2.3, 0.4], [0.7, 2.3, 0.4], [3.1, 0.0, 0.6]])
    present = np.array([[1, 1, 1], [1, 0, 1], [1, 0, 1]], bool)
    with jax.enable_x64(True):
        weights, _ = follow(tx, losses, present)
    for w, here, loss in zip(weights, present, losses, strict=True):
        index = np.flatnonzero(here)
        expected = slope(lambda part, i=index: reference(part, i), loss[here])
        # Central differences in float64 are good to about 1e-9.
        np.testing.assert_allclose(w[here], expected, rtol=1e-6, atol=1e-8)
        assert (w[~here] == 0).all()


def assert_learned_numbers_follow_adam(tx, start, weight, descent):
    """Numbers s_k of weight(k, s) and slope descent(k, s, loss): absent tasks' wait."""
    rng = np.random.default_rng(0)
    losses = rng.uniform(0.2, 4, (12, 3))
    present = rng.uniform(size=(12, 3)) < 0.7
    with jax.enable_x64(True):
        weights, state = follow(tx, losses, present)
    for k in range(3):
        s = start
        slopes = []
        for t in range(12):
            if not present[t, k]:
                assert weights[t, k] == 0
                continue
            np.testing.assert_allclose(weights[t, k], weight(k, s), rtol=1e-6)
            slopes.append(descent(k, s, losses[t, k]))
            s += list(adam(slopes))[-1]
        np.testing.assert_allclose(state.memory.values[k], s, rtol=1e-6, atol=1e-7)


def assert_an_epoch_is_the_yardstick(tx, share):
    """Epochs of 3 steps: inverse losses until the second ends, then by a softmax.

    ``share`` makes its logits of the losses and of their means over epoch 1.
    """
    rng = np.random.default_rng(3)
    losses = rng.uniform(0.5, 2, (10, 3))
    present = np.ones((10, 3), bool)
    present[4, 0] = False
    present[3:7, 2] = False  # absent from the whole of epoch 1, and from step 6
    with jax.enable_x64(True):
        weights, _ = follow(tx, losses, present)
    base = np.array([losses[[3, 5], 0].mean(), losses[3:6, 1].mean(), losses[7, 2]])
    for t in range(10):
        here = present[t]
        loss, count = losses[t, here], here.sum()
        expected = 1 / loss
        if t >= 6:
            expected = count * softmax(share(loss, base[here])) / loss
        np.testing.assert_allclose(weights[t, here], expected, rtol=1e-6)
        assert (weights[t, ~here] == 0).all()
