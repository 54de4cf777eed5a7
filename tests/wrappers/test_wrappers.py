"""What holds for all wrappers of weights, and for wrappers of wrappers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.wrappers import WRAPPERS, log_losses, smoothed_weights, weights_every
from tests.helpers.close import assert_close
from tests.helpers.methods import over
from tests.helpers.wrappers import LOSSES, PARAMS, STACKS, model, steps, train


def test_wrappers_compose_in_either_order():
    logs = [LOSSES, LOSSES * 2, LOSSES[::-1]]
    scaled = [rows / own[:, None] for rows, own in zip(STACKS, logs, strict=True)]
    plain = steps(
        weights_every(smoothed_weights(mtopt.imtl_g(3), alpha=0.5), n=2), scaled
    )
    tx = log_losses(weights_every(smoothed_weights(mtopt.imtl_g(3), alpha=0.5), n=2))
    for (found, _), (expected, _) in zip(
        steps(tx, STACKS, losses=logs), plain, strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    tx = weights_every(smoothed_weights(log_losses(mtopt.imtl_g(3)), alpha=0.5), n=2)
    for (found, _), (expected, _) in zip(
        steps(tx, STACKS, losses=logs), plain, strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    solved = [weights for _, weights in steps(mtopt.imtl_g(3), STACKS)]
    tx = smoothed_weights(weights_every(mtopt.imtl_g(3), n=2), alpha=0.5)
    found = [weights for _, weights in steps(tx, STACKS)]
    assert_close(found[1], solved[0], rtol=1e-5)
    np.testing.assert_allclose(
        found[2], 0.5 * solved[0] + 0.5 * solved[2], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("wrapper", [smoothed_weights, lambda a: weights_every(a, n=2)])
@pytest.mark.parametrize(
    "inner",
    [optax.with_extra_args_support(optax.scale(0.1)), mtopt.chain(mtopt.mgda(3))],
    ids=["no aggregator", "a chain"],
)
def test_what_is_no_aggregator_cannot_be_wrapped(wrapper, inner):
    with pytest.raises(mtopt.UserError, match="an aggregator"):
        wrapper(inner).init(PARAMS)


@over(WRAPPERS, slow=WRAPPERS.keys() - {"flat_regions", "rep_mtl", "weights_every"})
def test_wrapped_methods_keep_dtypes_and_train_under_jit(name):
    tasks, params, batch = model()
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    needed = {"weights_every": {"n": 2}, "offset_losses": {"offset": -1.0}}
    options = needed.get(name, {})
    tx = mtopt.chain(WRAPPERS[name](mtopt.imtl_g(3), **options), optax.adam(1e-3))
    state, metrics = train(tx, [batch] * 3, tasks, params)
    for leaf in jax.tree.leaves(state.params):
        assert leaf.dtype == jnp.bfloat16
        assert np.isfinite(np.asarray(leaf, np.float32)).all()
    assert np.isfinite(metrics["losses"]).all()
