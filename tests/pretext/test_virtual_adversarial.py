"""The virtual adversarial loss: its direction, its gradients, what a flat head has."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.models import MODELS
from mtopt.models.heads import cross_entropy
from mtopt.pretext import virtual_adversarial
from mtopt.pretext.virtual_adversarial import kl, worst_change
from tests.helpers.close import assert_close

KEY = jax.random.key(1)
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(6, 5)).astype(np.float32)
HEAD = RNG.normal(size=(5, 3)).astype(np.float32)
Y = jnp.array([0, 1, 2, 0, 1, 2])
REAL = jnp.array([True] * 4 + [False] * 2)


def predict(head, z):
    return z @ head


def head_loss(head, z, y, mask, key):
    return mtopt.masked_mean(cross_entropy(predict(head, z), y), mask)


def added(head, z, **options):
    """What the wrapper adds to the head's loss."""
    smooth = virtual_adversarial(head_loss, predict, **options)
    return smooth(head, z, Y, REAL, KEY) - head_loss(head, z, Y, REAL, KEY)


def softmax(logits):
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def test_a_flat_head_is_turned_by_nothing():
    smooth = virtual_adversarial(head_loss, predict, symmetric=True)

    @jax.jit
    def both(head, z):
        return [
            jax.value_and_grad(loss, (0, 1))(head, z, Y, REAL, KEY)
            for loss in (smooth, head_loss)
        ]

    found, plain = both(jnp.zeros((5, 3)), Z)
    jax.tree.map(lambda a, b: assert_close(a, b, rtol=1e-6), found, plain)


def test_it_turns_to_the_top_of_the_curvature():
    """Of a linear softmax it is W (diag p - p p') W', which numpy decomposes."""
    directions, _ = np.linalg.qr(RNG.normal(size=(5, 5)))
    head = (directions[:, :3] * np.array([6.0, 0.3, 0.1])).astype(np.float32)
    z = (0.1 * Z).astype(np.float32)
    found = jax.jit(
        lambda z: worst_change(lambda e: predict(head, e), z, KEY, iterations=2)
    )(z)
    p = softmax(z.astype(float) @ head)
    for direction, own in zip(np.asarray(found, float), p, strict=True):
        curvature = head @ (np.diag(own) - np.outer(own, own)) @ head.T
        values, vectors = np.linalg.eigh(curvature)
        assert values[-1] > 4 * values[-2]  # as planted
        np.testing.assert_allclose(np.linalg.norm(direction), 1, rtol=1e-5)
        assert abs(direction @ vectors[:, -1]) > 0.99


def test_one_application_is_the_curvature_times_the_first_direction():
    found = jax.jit(
        lambda z: worst_change(lambda e: predict(HEAD, e), z, KEY, iterations=1)
    )(Z)
    start = np.asarray(jax.random.normal(KEY, Z.shape), float)
    p = softmax(Z.astype(float) @ HEAD)
    for direction, own, first in zip(np.asarray(found), p, start, strict=True):
        turned = HEAD @ (np.diag(own) - np.outer(own, own)) @ HEAD.T @ first
        assert_close(direction, turned / np.linalg.norm(turned), rtol=1e-4)


@pytest.mark.parametrize("symmetric", [False, True])
def test_what_is_added_is_its_equation(symmetric):
    def both(head, z):
        own_key = jax.random.fold_in(KEY, 1)
        turn = worst_change(lambda e: predict(head, e), z, own_key, iterations=1)
        options = {"radius": 0.7, "weight": 2.0, "symmetric": symmetric}
        return turn, added(head, z, **options)

    turn, found = jax.tree.map(lambda x: np.asarray(x, float), jax.jit(both)(HEAD, Z))
    p, q = softmax(Z @ HEAD), softmax((Z + 0.7 * turn) @ HEAD)
    wanted = (p * np.log(p / q)).sum(axis=1)
    if symmetric:
        wanted += (q * np.log(q / p)).sum(axis=1)
    np.testing.assert_allclose(found, 2 * wanted[REAL].mean(), rtol=1e-4)


@pytest.mark.parametrize("symmetric", [False, True])
def test_clean_logits_learn_from_the_second_divergence_alone(symmetric):
    """What arrives at z: through the changed logits, or with both through the clean."""

    @jax.jit
    def gradients(z):
        key = jax.random.fold_in(KEY, 1)
        turn = worst_change(lambda e: predict(HEAD, e), z, key, iterations=1)
        clean, changed = predict(HEAD, z), predict(HEAD, z + turn)

        def alone(moving):
            if symmetric:
                return mtopt.masked_mean(kl(changed, predict(HEAD, moving)), REAL)
            return mtopt.masked_mean(kl(clean, predict(HEAD, moving + turn)), REAL)

        found = jax.grad(lambda z: added(HEAD, z, symmetric=symmetric))(z)
        return found, jax.grad(alone)(z)

    found, wanted = gradients(Z)
    assert_close(found, wanted, rtol=1e-4)
    assert not np.any(found[~REAL])
    assert np.any(found[REAL])


def test_it_goes_wherever_a_heads_loss_does():
    """Two tasks of a model, in a step of MGDA."""
    model = MODELS["mlp"](
        (5,), names=("a", "b"), kind="classification", outputs=3, hidden=(4,)
    )

    def linear(head, z):
        return z @ head["kernel"] + head["bias"][None]

    plain = model.tasks
    smooth = virtual_adversarial(plain.head_loss, linear, radius=0.5)
    smooth = dataclasses.replace(plain, head_loss=smooth)
    batch = mtopt.Batch(jnp.asarray(Z), jnp.stack([Y, Y]), jnp.stack([REAL, REAL]))
    params, state = jax.jit(model.init)(KEY)
    tx = mtopt.chain(mtopt.mgda(2), mtopt.scale_tasks(1.0))
    losses = []
    for tasks in (plain, smooth):
        start = mtopt.TrainState.create(params, tx, KEY, state)
        _, metrics = mtopt.make_train_step(tasks, tx)(start, batch)
        losses.append(np.asarray(metrics["losses"]))
    assert (losses[1] > losses[0]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0}, "radius is 0: expected a number above 0"),
        ({"weight": -1.0}, "weight is -1.0"),
        ({"iterations": 0}, "iterations is 0: expected 1 or more"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(mtopt.UserError, match=message):
        virtual_adversarial(head_loss, predict, **options)
