"""Pooling of sequences: by hand, its bounds, and whose parameters it has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mtopt.models.pooling import last_place, low_rank, mean_of_places
from tests.helpers.sequences import in_float64, transformer

RNG = np.random.default_rng(0)
MASK = np.arange(9)[None] < np.array([[9], [4], [1]])


def pool(rank=3, width=5, scale=1.0):
    """The pooling alone, of large or small parameters, and those."""
    module = low_rank(lambda rngs: nnx.Linear(1, 1, rngs=rngs), width, rank=rank)
    made = module(nnx.Rngs(0))
    made.head = lambda z: z
    p, q = (scale * RNG.normal(size=(width, rank)) for _ in range(2))
    made.context, made.query = nnx.Param(jnp.asarray(p)), nnx.Param(jnp.asarray(q))
    return made, p, q


def by_hand(tokens, mask, p, q):
    found = []
    for z, there in zip(tokens, mask, strict=True):
        z = z[there]
        context = z.mean(axis=0)
        scores = np.array([np.tanh((p.T @ context) * (q.T @ token)) for token in z])
        scores /= np.sqrt((scores**2).sum(axis=1, keepdims=True))
        weights = np.exp(scores) / np.exp(scores).sum(axis=0)
        found.append((weights.T @ z).reshape(-1))
    return np.array(found)


@pytest.mark.usefixtures("x64")
def test_low_rank_pooling_is_that_of_its_equations():
    module, p, q = pool()
    tokens = RNG.normal(size=(3, 9, 5))
    found = module({"tokens": jnp.asarray(tokens), "mask": jnp.asarray(MASK)})
    np.testing.assert_allclose(found, by_hand(tokens, MASK, p, q), rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_what_is_behind_the_mask_has_no_part_and_no_gradient():
    module, *_ = pool()
    tokens = jnp.where(MASK[..., None], RNG.normal(size=(3, 9, 5)), jnp.nan)

    def pooled(tokens):
        z = {"tokens": tokens, "mask": jnp.asarray(MASK)}
        return [f(tokens, z["mask"]) for f in (mean_of_places, last_place)], module(z)

    real = jnp.where(MASK[..., None], tokens, 7.0)
    jax.tree.map(np.testing.assert_array_equal, pooled(tokens), pooled(real))
    total = jax.grad(lambda t: sum(leaf.sum() for leaf in jax.tree.leaves(pooled(t))))
    found = np.asarray(total(tokens))
    assert np.isfinite(found).all()
    assert not found[~MASK].any()
    assert found[MASK].any()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_no_place_weighs_more_than_e_squared_times_another(scale):
    module, *_ = pool(scale=scale)
    tokens = jnp.asarray(10 * RNG.normal(size=(3, 9, 5)), jnp.float32)
    weights = np.asarray(module.weights({"tokens": tokens, "mask": jnp.asarray(MASK)}))
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    assert not weights[~np.broadcast_to(MASK[:, None], weights.shape)].any()
    each = weights[0]
    assert (each.max(axis=-1) / each.min(axis=-1)).max() <= np.exp(2) * (1 + 1e-5)


@pytest.mark.usefixtures("x64")
def test_of_rank_one_every_score_is_one_or_minus_one():
    module, *_ = pool(rank=1)
    tokens = jnp.asarray(RNG.normal(size=(3, 9, 5)))
    z = {"tokens": tokens, "mask": jnp.ones((3, 9), bool)}
    weights = np.asarray(module.weights(z))
    ratios = np.log(weights / weights.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(np.minimum(abs(ratios), abs(ratios + 2)), 0, atol=1e-9)
    assert len(np.unique(ratios.round(6))) == 2


def test_tokens_of_zeros_have_finite_slopes_and_those_slopes_of_their_own():
    """What wrappers differentiate twice, as rep_mtl does."""
    module, *_ = pool()
    z = {"mask": jnp.asarray(MASK)}
    tokens = jnp.asarray(RNG.normal(size=(3, 9, 5)), jnp.float32).at[:, :4].set(0)
    slope = jax.grad(lambda tokens: (module({"tokens": tokens, **z}) ** 2).sum())
    second = jax.grad(lambda tokens: (slope(tokens) ** 2).sum())
    assert np.isfinite(slope(tokens)).all()
    assert np.isfinite(second(tokens)).all()


def test_every_task_pays_two_columns_of_parameters_a_head():
    model = transformer(pooling="low_rank", rank=3)
    params, _ = model.init(jax.random.key(0))
    own = params["tasks"].values
    assert own["context"].shape == own["query"].shape == (3, 8, 3)
    assert own["head"]["kernel"].shape == (3, 3 * 8, 1)


@pytest.mark.usefixtures("x64")
def test_the_mean_and_the_last_are_those_of_real_places():
    tokens = RNG.normal(size=(3, 9, 5))
    found = mean_of_places(jnp.asarray(tokens), jnp.asarray(MASK))
    expected = [z[there].mean(axis=0) for z, there in zip(tokens, MASK, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    found = last_place(jnp.asarray(tokens), jnp.asarray(MASK))
    np.testing.assert_array_equal(found, [tokens[0, 8], tokens[1, 3], tokens[2, 0]])
    assert in_float64(found).dtype == jnp.float64
