"""Messages between atoms: what they do not depend on, and what they do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.models import MODELS

NAMES = ("energy", "gap")
OPTIONS = {"names": NAMES, "kind": "regression", "outputs": 1, "width": 8}
ATOMS = 7


def molecules(count=4, atoms=ATOMS, seed=0):
    """Of 3 atoms and more, in a box of 4; the rest is padding."""
    rng = np.random.default_rng(seed)
    x = np.zeros((count, atoms, 4), np.float32)
    for i in range(count):
        size = 3 + i
        x[i, :size, 0] = rng.choice([1, 6, 7, 8, 9], size)
        x[i, :size, 1:] = rng.uniform(0, 4, (size, 3))
    return x


def predictor(**options):
    model = MODELS["message_passing"]((ATOMS, 4), **OPTIONS, **options)
    params, state = jax.jit(model.init)(jax.random.key(0))
    predict = jax.jit(model.predict)
    return lambda x: np.asarray(predict(params, state, jnp.asarray(x)))


def rotation(rng):
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return turn * np.linalg.det(turn)


def test_turning_shifting_and_renaming_atoms_changes_nothing():
    predict, x, rng = predictor(), molecules(), np.random.default_rng(1)
    wanted = predict(x)
    assert np.ptp(wanted, axis=1).min() > 1e-3  # of other molecules, other numbers
    moved = x.copy()
    for each in moved:
        real = each[:, 0] > 0
        places = each[real, 1:].astype(np.float64) @ rotation(rng).T
        each[real, 1:] = places + rng.normal(size=3)
        each[:] = rng.permutation(each)
    np.testing.assert_allclose(predict(moved), wanted, atol=2e-6)
    mirrored = x * np.array([1, 1, 1, -1], np.float32)
    np.testing.assert_allclose(predict(mirrored), wanted, atol=2e-6)


def test_what_stands_in_padding_and_how_much_there_is_of_it_changes_nothing():
    predict, x = predictor(), molecules()
    dirty = np.where(x[..., :1] > 0, x, 9 * np.array([0, 1, 1, 1], np.float32))
    np.testing.assert_array_equal(predict(dirty), predict(x))
    for each in x:
        alone = each[: int((each[:, 0] > 0).sum())]
        padded = np.zeros((1, ATOMS, 4), np.float32)
        padded[0, -len(alone) :] = alone
        np.testing.assert_allclose(predict(padded), predict(each[None]), atol=1e-6)


def test_distances_and_elements_count():
    predict, x = predictor(), molecules()
    wanted = predict(x)
    stretched = x * np.array([1, 1.1, 1.1, 1.1], np.float32)
    assert (abs(predict(stretched) - wanted) > 1e-4).all()
    other = x.copy()
    other[:, 0, 0] = np.where(x[:, 0, 0] == 6, 7, 6)
    assert (abs(predict(other) - wanted) > 1e-4).all()


def test_atoms_beyond_the_cutoff_do_not_hear_each_other():
    """Two far pairs are the sum of what each is, whichever way one of them lies."""
    predict = predictor(cutoff=3.0)
    x = np.zeros((2, ATOMS, 4), np.float32)
    x[:, :4, 0] = [6, 8, 7, 1]
    x[:, 1, 1], x[:, 2, 2] = 1.2, 50
    x[:, 3, 1:] = [[1, 50, 0], [0, 50, 1]]
    near, far = predict(x).T
    np.testing.assert_allclose(near, far, atol=1e-6)
    x[:, 2:4, 2] -= 49
    near, far = predict(x).T
    assert (abs(near - far) > 1e-5).all()


def test_atoms_in_one_place_have_finite_gradients():
    model = MODELS["message_passing"]((ATOMS, 4), **OPTIONS)
    params, state = jax.jit(model.init)(jax.random.key(0))
    x = molecules()
    x[:, 1, 1:] = x[:, 0, 1:]

    def total(places):
        whole = jnp.asarray(x).at[..., 1:].set(places)
        return model.predict(params, state, whole).sum()

    assert np.isfinite(jax.jit(jax.grad(total))(x[..., 1:])).all()


def test_a_sum_over_pairs_is_learned():
    """An energy that falls off with the distance of pairs, and the number of atoms."""
    x = molecules(4, 8, seed=3)[np.arange(64) % 4]
    rng = np.random.default_rng(4)
    x[..., 1:] += 0.5 * rng.normal(size=x[..., 1:].shape) * (x[..., :1] > 0)
    real = x[..., 0] > 0
    distance = np.linalg.norm(x[:, :, None, 1:] - x[:, None, :, 1:], axis=-1)
    pairs = real[:, :, None] & real[:, None] & ~np.eye(8, dtype=bool)
    energy = (np.exp(-distance) * pairs).sum((1, 2))
    y = np.stack([energy, real.sum(1)]).astype(np.float32)
    y = (y - y.mean(1, keepdims=True)) / y.std(1, keepdims=True)
    model = MODELS["message_passing"]((8, 4), **{**OPTIONS, "width": 16})
    params, state = jax.jit(model.init)(jax.random.key(0))
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.adam(1e-2))
    step = mtopt.make_train_step(model.tasks, tx)
    carry = mtopt.TrainState.create(params, tx, jax.random.key(1), state)
    batch = mtopt.Batch(jnp.asarray(x), jnp.asarray(y), jnp.ones((2, 64), bool))
    for _ in range(150):
        carry, metrics = step(carry, batch)
    assert (np.asarray(metrics["losses"]) < 0.02).all()


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((5, 3), {}, r"inputs of shape \(5, 3\): expected \(atoms, 4\)"),
        ((5, 4), {"width": 0}, "width is 0"),
        ((5, 4), {"layers": 0}, "layers is 0"),
        ((5, 4), {"basis": 1}, "basis is 1: expected a whole number, 2 or more"),
        ((5, 4), {"cutoff": 0.0}, "cutoff is 0.0: expected a number above 0"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(shape, options, message):
    with pytest.raises(mtopt.UserError, match=message):
        MODELS["message_passing"](shape, **{**OPTIONS, **options})
