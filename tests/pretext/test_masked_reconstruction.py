"""Masked reconstruction: its equation, what is hidden, and that it is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.pretext import ArrayEncoder, masked_reconstruction
from tests.helpers.close import assert_close

KEY = jax.random.key(2)
RNG = np.random.default_rng(0)
# The input itself for an encoder, so that what it is given can be seen.
SEEN = ArrayEncoder(lambda shared, x, key: x.reshape(len(x), -1), (3, 2), 6)


@pytest.mark.parametrize("hidden", [None, 5])
def test_the_loss_is_its_equation(hidden):
    task = masked_reconstruction(SEEN, masked=0.4, hidden=hidden)
    x = RNG.normal(size=(50, 3, 2)).astype(np.float32)

    @jax.jit
    def found(x):
        head = task.init(KEY)
        head["last"]["bias"] += 0.5
        z = task.encode({}, x, KEY)
        return head, z, task.loss(head, z, jnp.arange(50) < 40, KEY)

    head, z, loss = jax.tree.map(np.asarray, found(x))
    flat = x.reshape(50, 6).astype(float)
    shown = z["h"] != 0
    np.testing.assert_array_equal(z["h"], np.where(shown, flat.astype("f4"), 0))
    np.testing.assert_array_equal(z["hidden"], ~shown)
    np.testing.assert_allclose(1 - shown.mean(), 0.4, atol=0.06)
    assert (shown != shown[:1]).any(axis=0).all()  # every sample its own
    h = z["h"].astype(float)
    if hidden is not None:
        h = np.maximum(h @ head["first"]["kernel"] + head["first"]["bias"], 0)
    errors = (h @ head["last"]["kernel"] + head["last"]["bias"] - flat) ** 2
    assert_close(loss, errors[:40][~shown[:40]].mean(), rtol=1e-5)


def test_bytes_are_reconstructed_as_floats_of_0_to_1():
    task = masked_reconstruction(SEEN)
    z = jax.jit(task.encode)({}, jnp.full((4, 3, 2), 255, jnp.uint8), KEY)
    np.testing.assert_array_equal(z["x"], np.ones((4, 6)))
    assert set(np.unique(z["h"])) == {0, 1}


def test_entries_that_are_seen_have_no_gradient():
    task = masked_reconstruction(SEEN)

    @jax.jit
    def gradient(x):
        head, z = task.init(KEY), task.encode({}, x, KEY)

        def loss(target):
            return task.loss(head, {**z, "x": target}, jnp.ones(8, bool), KEY)

        return z["hidden"], jax.grad(loss)(z["x"])

    hidden, found = gradient(RNG.normal(size=(8, 3, 2)).astype(np.float32))
    np.testing.assert_array_equal(np.asarray(found) != 0, hidden)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masked": 0.0}, "masked is 0.0: expected a share in (0, 1)"),
        ({"masked": 1}, "masked is 1"),
        ({"hidden": 0}, "hidden is 0: expected None, or 1 or more"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(mtopt.UserError) as error:
        masked_reconstruction(SEEN, **options)
    assert message in str(error.value)
