"""Scores of what comes next: items of attributes, seen before or not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import mtopt
from mtopt.models import functional, join
from mtopt.models.heads import linear_head
from mtopt.models.next_item import next_item
from mtopt.models.transformer import sequence
from tests.helpers.methods import over

SIZES = (5, 4)
# Brand 1 to 4, colour 1 to 3; the last two are equal.
CATALOGUE = np.array([(b, c) for b in range(1, 5) for c in range(1, 4)] + [(4, 3)])
COMMON = {"vocabulary": SIZES, "width": 8}


def test_scores_are_products_with_the_mean_of_attributes():
    head = next_item(np.array([[1, 2], [3, 0], [1, 2]]), **COMMON)(nnx.Rngs(0))
    table = np.asarray(head.attributes.table.embedding[...])
    z = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    vectors = np.array([(table[1] + table[5 + 2]) / 2, table[3]])
    found = np.asarray(head(jnp.asarray(z)))
    np.testing.assert_allclose(found[:, :2], z @ vectors.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[:, 0], found[:, 2])
    assert [leaf.shape for leaf in jax.tree.leaves(nnx.state(head))] == [(9, 8)]


def sessions(size, seed, *, without):
    """Items of one brand, in the order of colours; what comes next goes on so."""
    rng = np.random.default_rng(seed)
    brand, first = rng.integers(1, 5, size), rng.integers(0, 3, size)
    colour = 1 + (first[:, None] + np.arange(4)) % 3
    items = 3 * (brand - 1)[:, None] + colour - 1
    x, after = CATALOGUE[items[:, :3]], items[:, 3]
    rows = (after == 7) != without
    return x[rows], after[rows]


def test_an_item_that_was_never_next_is_found_by_its_attributes():
    """Brand 3 in colour 2 is no label of training; next to it stands what comes next of
    its colour."""
    encoder = sequence((3, 2), layers=1, heads=2, causal=True, pooling="last", **COMMON)
    of_items = functional(
        encoder, next_item(CATALOGUE[:12], **COMMON), ("item",), kind="classification"
    )
    of_colours = functional(
        encoder,
        linear_head(8, SIZES[1], kind="classification"),
        ("colour",),
        kind="classification",
    )
    model = join([of_colours, of_items], shared_inputs=True)
    params, state = jax.jit(model.init)(jax.random.key(0))
    tx = mtopt.chain(mtopt.equal_weighting(2), optax.adam(0.02))
    first = mtopt.TrainState.create(params, tx, jax.random.key(0), state)
    step = mtopt.make_train_step(model.tasks, tx)
    x, after = sessions(600, 0, without=True)
    assert 7 not in after
    y = tuple(each[None] for each in (CATALOGUE[after, 1], after))
    seen = mtopt.Batch(x, y, tuple(np.ones(each.shape, bool) for each in y))
    for _ in range(100):
        first, _ = step(first, seen)
    x, after = sessions(600, 1, without=False)
    assert set(after) == {7}
    colours, items = model.predict(first.params, first.model_state, x)
    assert (np.asarray(colours)[0].argmax(axis=1) == 2).all()
    assert (np.asarray(items)[0].argmax(axis=1) == 7).mean() > 0.9


MISUSE = {
    "floats": ({"catalogue": np.ones((3, 2))}, "expected integers"),
    "one item": ({"catalogue": np.ones((1, 2), int)}, "two items or more"),
    "columns": ({"catalogue": np.ones((3, 3), int)}, "3 columns: expected 2"),
    "outside": (
        {"catalogue": np.array([[1, 1], [1, 4]])},
        r"item 1 of the catalogue, \[1, 4\], has a value outside",
    ),
    "nothing": (
        {"catalogue": np.array([[1, 1], [0, 0]])},
        r"item 1 .* has no attribute",
    ),
    "width": ({"width": 0}, "^width is 0"),
    "vocabulary": ({"vocabulary": ()}, r"^vocabulary is \(\)"),
}


@over(MISUSE)
def test_misuse_is_one_line(name):
    change, message = MISUSE[name]
    given = {"catalogue": CATALOGUE, **COMMON, **change}
    with pytest.raises(mtopt.UserError, match=message) as caught:
        next_item(given.pop("catalogue"), **given)
    assert "\n" not in str(caught.value)
