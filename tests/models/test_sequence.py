"""Encoders of sequences: padding, masks, what a place sees, items of attributes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.models.transformer import POOLING
from tests.helpers.methods import over
from tests.helpers.sequences import (
    ATTRIBUTES,
    LENGTH,
    SHAPES,
    VOCABULARY,
    encoder,
    places,
    transformer,
)


@over(SHAPES)
def test_what_stands_in_a_padded_place_changes_nothing(name):
    """Bit for bit: another token, or of vectors NaN."""
    module = encoder(name)
    x, mask = places(name)
    other = np.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, 1)
    if name == "vectors":
        other = np.where(mask[..., None], x, np.nan).astype(np.float32)
    run = jax.jit(lambda x: module.places({"tokens": x, "mask": jnp.asarray(mask)}))
    found, there = run(other)
    np.testing.assert_array_equal(found, run(x)[0])
    np.testing.assert_array_equal(there, mask)
    assert not np.any(np.asarray(found)[~mask])
    assert np.all(np.asarray(found)[mask].std(axis=-1) > 0.1)


@over(SHAPES)
def test_a_mask_says_what_padding_says(name):
    module = encoder(name)
    x, mask = places(name)
    found, there = module.places(x)
    np.testing.assert_array_equal(there, mask)
    expected, _ = module.places({"tokens": x, "mask": jnp.asarray(mask)})
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("pooling", POOLING)
def test_more_padding_changes_no_prediction(pooling):
    model = transformer(pooling=pooling)
    params, state = model.init(jax.random.key(0))
    x, _ = places()
    short = x[:1, :3]  # of two tokens, of which three places remain
    found = model.predict(params, state, short)
    np.testing.assert_allclose(
        found, model.predict(params, state, x[:1]), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("pooling", POOLING)
def test_a_sequence_of_nothing_has_finite_numbers_and_gradients(pooling):
    model = transformer(pooling=pooling)
    params, _ = model.init(jax.random.key(0))
    x = jnp.zeros((2, LENGTH), int)
    seen = mtopt.Batch(x, jnp.ones((3, 2)), jnp.ones((3, 2), bool))
    losses, grads = jax.jit(
        model.tasks.problem(seen, jax.random.key(1)).losses_and_grads
    )(params)
    assert np.isfinite(losses).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize("causal", [True, False])
def test_the_future_changes_the_past_unless_it_is_causal(causal):
    module = encoder(causal=causal)
    x = np.full((1, LENGTH), 3)
    edited = np.where(np.arange(LENGTH) < 4, x, 5)
    found, other = (np.asarray(module.places(each)[0]) for each in (x, edited))
    same = (found == other).all(axis=(0, 2))
    expected = np.arange(LENGTH) < 4 if causal else np.zeros(LENGTH, bool)
    np.testing.assert_array_equal(same, expected)


def test_the_order_of_tokens_matters():
    module = encoder()
    x = jnp.array([[1, 2, 3], [3, 2, 1]])
    first, turned = module(x)
    assert np.abs(first - turned).max() > 0.01


def test_padding_none_takes_every_place_for_real():
    x, _ = places()
    _, there = encoder(padding=None).places(x)
    assert there.all()
    _, there = encoder(padding=-1).places(np.where(x == 0, -1, x))
    np.testing.assert_array_equal(there, x != 0)


@pytest.mark.usefixtures("x64")
def test_an_item_is_the_mean_of_the_attributes_it_has():
    module = encoder("items", dtype=jnp.float64).embed
    table = np.asarray(module.table.embedding[...], np.float64)
    first = np.cumsum(ATTRIBUTES) - ATTRIBUTES
    items = np.array([[[2, 3, 1], [2, 0, 0], [0, 0, 0]]])
    expected = [table[first + items[0, 0]].mean(axis=0), table[2], np.zeros(8)]
    found = module(jnp.asarray(items), jnp.asarray(items != 0))
    np.testing.assert_allclose(found[0], expected, rtol=1e-9)


def test_items_of_equal_attributes_are_equal():
    """There is no number of an item: as many vectors as attributes have values."""
    module = encoder("items").embed
    assert module.table.embedding.shape == (sum(ATTRIBUTES), 8)
    items = jnp.array([[[2, 3, 1], [4, 1, 2], [2, 3, 1]]])
    vectors = module(items, items != 0)
    np.testing.assert_array_equal(vectors[0, 0], vectors[0, 2])
    assert (vectors[0, 0] != vectors[0, 1]).any()


OUTSIDE = {
    "above": ("tokens", [1, VOCABULARY, 2]),
    "below": ("tokens", [1, -1, 2]),
    "of another column": ("items", [[1, 1, 1], [1, 4, 1], [2, 1, 1]]),
}


@over(OUTSIDE)
def test_a_value_outside_of_its_vocabulary_has_no_vector(name):
    """So that a guard against numbers that are not finite names the step."""
    form, x = OUTSIDE[name]
    x = jnp.array([x]).reshape(1, 3, -1)
    vectors = encoder(form).embed(x, x != 0)
    np.testing.assert_array_equal(
        jnp.isnan(vectors).all(axis=-1), [[False, True, False]]
    )


MISUSE = {
    "float tokens": ("tokens", np.ones((2, 3), np.float32), "tokens are float32"),
    "columns": ("items", np.ones((2, 3, 2), int), r"\[2, 3, 2\]: expected \[b, l, 3\]"),
    "length": ("tokens", np.ones((2, 9), int), "l at most 7"),
    "no places": ("tokens", np.ones(2, int), r"expected \[b, l\]"),
    "numbers": ("vectors", np.ones((2, 3)), r"expected \[b, l, 3\]"),
    "tree": ("tokens", {"x": np.ones((2, 3), int)}, "expected tokens"),
    "mask": (
        "tokens",
        {"tokens": np.ones((2, 3), int), "mask": np.ones(2, bool)},
        "mask",
    ),
}


@over(MISUSE)
def test_other_inputs_are_refused_in_one_line(name):
    form, x, message = MISUSE[name]
    with pytest.raises(mtopt.UserError, match=message) as caught:
        encoder(form)(x)
    assert "\n" not in str(caught.value)
