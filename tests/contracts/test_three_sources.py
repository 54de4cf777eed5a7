"""The step of three sources with five losses, against one that is written by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special

import mtopt
from mtopt.per_task import task_keys
from mtopt.solvers import min_norm_weights
from tests.helpers import three_sources as ssm
from tests.helpers.close import assert_close

COUNT = len(ssm.NAMES)


def moved(params, gradients):
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)


def equal_weighting_by_hand(params, batch, key):
    def loss(params):
        losses = [ssm.loss_by_hand(k, params, batch, key) for k in range(COUNT)]
        return sum(losses) / COUNT

    return moved(params, jax.grad(loss)(params))


def mgda_by_hand(params, batch, key):
    """Five gradients, their products leaf by leaf, the solve, one weighted sum."""
    one = jax.grad(ssm.loss_by_hand, argnums=1)
    grads = [one(k, params, batch, key) for k in range(COUNT)]
    rows = [jax.tree.leaves(grad["shared"]) for grad in grads]
    rows = [
        jnp.stack([leaf.ravel() for leaf in own]) for own in zip(*rows, strict=True)
    ]
    weights = min_norm_weights(sum(own @ own.T for own in rows))
    summed = [weights @ own for own in rows]
    leaves, structure = jax.tree.flatten(params["shared"])
    shapes = zip(summed, leaves, strict=True)
    shared = structure.unflatten([g.reshape(leaf.shape) for g, leaf in shapes])
    heads = tuple(
        jax.tree.map(lambda leaf, w=w: w * leaf, grad["tasks"][k])
        for k, (w, grad) in enumerate(zip(weights, grads, strict=True))
    )
    return moved(params, {"shared": shared, "tasks": heads})


BY_HAND = {"equal_weighting": equal_weighting_by_hand, "mgda": mgda_by_hand}


@pytest.mark.parametrize(("name", "most"), [("equal_weighting", 1.01), ("mgda", 1.02)])
def test_a_step_is_the_one_written_by_hand_and_costs_as_much(name, most):
    tx = mtopt.chain(mtopt.METHODS[name](COUNT), optax.sgd(0.1))
    params, batch = jax.device_put((ssm.params(), ssm.batch()))
    state = mtopt.TrainState.create(params, tx, ssm.KEY)
    compiled = mtopt.make_train_step(ssm.groups(), tx).lower(state, batch).compile()
    key = jax.random.fold_in(state.key, 0)
    by_hand = jax.jit(BY_HAND[name]).lower(params, batch, key).compile()
    flops = [each.cost_analysis()["flops"] for each in (compiled, by_hand)]
    assert flops[0] <= most * flops[1]
    expected = by_hand(params, batch, key)
    assert_close(compiled(state, batch)[0].params, expected, rtol=1e-4)


@jax.jit
def everything(batch):
    """Losses and rows on a batch, and the update of MGDA."""
    params = jax.tree.map(jnp.asarray, ssm.params())
    evaluation = ssm.groups().problem(batch, ssm.KEY).evaluate(params)
    tx = mtopt.mgda(COUNT)
    updates, state = tx.update(
        evaluation.gradients, tx.init(params), params, evaluation=evaluation
    )
    return evaluation.losses, evaluation.rows, updates, state.weights


@pytest.mark.parametrize("source", ssm.SAMPLES)
def test_a_source_that_a_batch_lacks_leaves_the_others_as_they_are(source):
    """Bit for bit; and it has no say in what they agree on."""
    losses, rows, _, all_weights = jax.device_get(everything(ssm.batch()))
    lacking = ssm.without(source, ssm.batch(), np.zeros_like)
    found, found_rows, updates, weights = jax.device_get(everything(lacking))
    out = np.array([ssm.OF[name][0] == source for name in ssm.NAMES])
    assert not found[out].any()
    np.testing.assert_array_equal(found[~out], losses[~out])
    for leaf, before in zip(*map(jax.tree.leaves, (found_rows, rows)), strict=True):
        assert not leaf[out].any()
        np.testing.assert_array_equal(leaf[~out], before[~out])
    assert not weights[out].any()
    flat = np.concatenate(
        [leaf.reshape(COUNT, -1) for leaf in jax.tree.leaves(rows)], 1
    )
    expected = min_norm_weights(jnp.asarray(flat[~out] @ flat[~out].T))
    np.testing.assert_allclose(weights[~out], expected, rtol=1e-3, atol=1e-5)
    assert all_weights[out].sum() > 1e-3
    for name, own in zip(ssm.NAMES, updates["tasks"], strict=True):
        assert own.values.any() == (ssm.OF[name][0] != source)
        assert np.isfinite(own.values).all()
    moved = [np.abs(leaf).max() for leaf in jax.tree.leaves(updates["shared"])]
    assert max(moved) > 1e-3


def test_every_loss_counts_its_own_tokens_and_trains_its_own_encoder():
    batch = ssm.batch()
    losses, rows, _, _ = jax.device_get(everything(batch))
    for k, name in enumerate(ssm.NAMES):
        for kind in ssm.KINDS:
            moved = any(leaf[k].any() for leaf in jax.tree.leaves(rows[kind]))
            assert moved == (ssm.OF[name][1] in (None, kind))
    for k in range(COUNT):
        alone = jax.jit(functools.partial(ssm.loss_by_hand, k))(
            ssm.params(), batch, ssm.KEY
        )
        np.testing.assert_allclose(losses[k], alone, rtol=1e-5)


def test_a_sample_without_a_label_takes_its_tokens_out_of_the_mean():
    k, batch = ssm.NAMES.index("unpaired_mol"), ssm.batch()
    mask = np.array(batch.mask[k])
    mask[0, :3] = False
    masks = (*batch.mask[:k], mask, *batch.mask[k + 1 :])
    losses = everything(dataclasses.replace(batch, mask=masks))[0]
    params, group = ssm.params(), ssm.groups().groups[k]
    (key,) = task_keys(jax.random.fold_in(ssm.KEY, 0), group.names)
    z = jax.device_get(jax.jit(group.encode)(params["shared"], batch.x[k], key))
    log_p = scipy.special.log_softmax(z["h"] @ params["tasks"][k].values[0], axis=-1)
    rows, places = np.nonzero(z["hidden"][3:])
    of_tokens = -log_p[rows + 3, places, z["tokens"][rows + 3, places]]
    assert 0 < len(of_tokens) < z["hidden"].sum()
    np.testing.assert_allclose(losses[k], of_tokens.mean(), rtol=1e-5)
