"""What a mask may hold, labels with gaps, and the precision of losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.evaluation import Evaluation

X = np.ones((3, 2))
Y = {"a": np.array([0.0, 1.0, 2.0])}


@pytest.mark.parametrize("mask", [[True, True, False], [1, 1, 0], [1.0, 1.0, 0.0]])
def test_a_mask_of_two_values_is_one(mask):
    batch = mtopt.Batch.shared(X, Y, {"a": np.array(mask)})
    assert batch.mask.dtype == bool
    assert batch.mask.tolist() == [[True, True, False]]


COLUMNS = np.array([[1, np.nan, 0], [np.nan, np.nan, np.nan], [0, 1, 1.0]])


@pytest.mark.parametrize(
    "make",
    [
        lambda y: mtopt.Batch.shared(X, {"t": y}),
        lambda y: mtopt.Batch.disjoint({"t": (X[-len(jax.tree.leaves(y)[0]) :], y)}),
    ],
    ids=["shared", "disjoint"],
)
def test_labels_with_gaps_are_refused_and_whole_ones_are_not(make):
    with pytest.raises(mtopt.UserError, match=r"'t' lack some.* in 1 of 3 samples"):
        make(COLUMNS)
    with pytest.raises(mtopt.UserError, match="in 1 of 3 samples"):
        make({"class": np.zeros(3, int), "size": np.array([1, np.nan, 1])})
    assert make(COLUMNS[1:]).mask.tolist() == [[False, True]]
    tree = {"value": np.nan_to_num(COLUMNS), "known": ~np.isnan(COLUMNS)}
    assert make(tree).mask.all()


def test_a_mean_is_summed_in_single_precision():
    many = jnp.full(4096, 20, jnp.float16)
    assert mtopt.masked_mean(many, jnp.ones(4096, bool)) == 20
    assert mtopt.masked_mean(jnp.ones(300, jnp.bfloat16), jnp.arange(300) < 257) == 1


def test_methods_read_losses_in_single_precision():
    """A loss of the user's own that comes out in bfloat16: logarithms of it do not."""
    tx = mtopt.geometric_loss(2)
    losses = jnp.array([1.0, 3.0], jnp.bfloat16)
    _, state = tx.update(
        jnp.eye(2), tx.init(jnp.zeros(2)), evaluation=Evaluation(losses=losses)
    )
    np.testing.assert_allclose(
        state.weights, np.sqrt(3) / 2 / np.array([1, 3]), rtol=1e-6
    )


TOKENS = jnp.array([[1.0, jnp.nan, 5.0, 2.0], [jnp.inf, 3.0, 1.0, 0.0]])
REAL = jnp.array([[True, False, True, True], [False, True, False, False]])


def test_a_mask_of_tokens_averages_tokens_and_not_samples():
    assert float(mtopt.masked_mean(TOKENS, REAL)) == (1 + 5 + 2 + 3) / 4
    pixels = jnp.stack([TOKENS, 3 * TOKENS], axis=-1)
    assert float(mtopt.masked_mean(pixels, REAL)) == 2 * (1 + 5 + 2 + 3) / 4
    assert float(mtopt.masked_mean(TOKENS, jnp.zeros_like(REAL))) == 0


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 4, 1)])
def test_a_mask_of_other_axes_is_refused(shape):
    with pytest.raises(mtopt.UserError, match=r"the axes of the mask first"):
        mtopt.masked_mean(TOKENS, jnp.ones(shape, bool))
