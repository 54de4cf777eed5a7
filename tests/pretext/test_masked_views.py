"""Masked views: which fields they lack, their loss, mutual information."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import mutual_info_score

import mtopt
from mtopt.pretext import ArrayEncoder, masked_views, mutual_information
from mtopt.pretext.masked_views import info_nce
from tests.helpers.close import assert_close

RNG = np.random.default_rng(0)
# Four fields, each given twice: 0 and 4 are equal, 1 and 5, and so on.
COLUMNS = np.tile(RNG.integers(3, size=(400, 4)), (1, 2))


def seen(width):
    """The input itself for an encoder, so that what it is given can be seen."""
    return ArrayEncoder(lambda shared, x, key: x, (width,), width)


def lacks(task, width, draws=60):
    """Which columns either view lacks, in so many steps."""
    keys = jax.random.split(jax.random.key(0), draws)
    x = jnp.ones((2, width))
    views = jax.jit(jax.vmap(lambda key: task.encode({}, x, key)))(keys)
    first, second = np.asarray(views["first"]) == 0, np.asarray(views["second"]) == 0
    for view in first, second:
        assert (view[:, 0] == view[:, 1]).all()  # one set for the batch
    return first[:, 0], second[:, 0]


def test_twins_are_masked_together_and_views_are_complements():
    task = masked_views(seen(8), information=mutual_information(COLUMNS))
    first, second = lacks(task, 8)
    np.testing.assert_array_equal(first, ~second)
    assert (first.sum(axis=1) == 4).all()
    both = first[:, :4] & first[:, 4:]  # the seed and its twin for certain
    assert both.any(axis=1).all()
    assert both.any(axis=0).all()  # every field is a seed at times


@pytest.mark.parametrize("pick", ["complement", "random"])
def test_fields_at_random(pick):
    first, second = lacks(masked_views(seen(7), pick=pick), 7, draws=400)
    assert (first.sum(axis=1) == 3).all()
    assert (second.sum(axis=1) == (4 if pick == "complement" else 3)).all()
    assert (first == ~second).all() == (pick == "complement")
    np.testing.assert_allclose(first.mean(axis=0), 3 / 7, atol=0.08)


def test_columns_of_one_field_are_masked_together():
    fields = (0, 0, 0, 1, 2, 2)
    first, second = lacks(masked_views(seen(6), fields=fields, pick="complement"), 6)
    for view in first, second:
        assert (view[:, 0:1] == view[:, :3]).all()
        assert (view[:, 4] == view[:, 5]).all()
    assert len(np.unique(first, axis=0)) == 3


def test_equal_embeddings_find_nobody():
    task = masked_views(seen(4), pick="random")
    same = np.ones((16, 4), np.float32)
    views = {"first": same, "second": 3 * same}
    loss = jax.jit(task.loss)({}, views, np.ones(16, bool), jax.random.key(0))
    np.testing.assert_allclose(loss, np.log(16), rtol=1e-5)


def test_the_loss_is_its_equation_and_padding_is_nobody():
    first, second = RNG.normal(size=(2, 9, 5)).astype(np.float32)
    real = np.array([True] * 6 + [False] * 3)

    def loss(first, second):
        return info_nce(first, second, jnp.asarray(real), 0.3)

    found, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(first, second)
    a, b = first[real].astype(float), second[real].astype(float)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    odds = np.exp(a @ b.T / 0.3)
    assert_close(found, -np.log(np.diag(odds) / odds.sum(axis=1)).mean(), rtol=1e-5)
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert not np.any(gradient[~real])
        assert np.any(gradient[real])


def test_a_sample_without_a_representation_has_no_gradient():
    views = jnp.zeros((3, 4)).at[0].set(1.0)
    loss = functools.partial(info_nce, mask=jnp.ones(3, bool), temperature=0.1)
    gradient = jax.jit(jax.grad(loss))(views, views)
    assert np.isfinite(gradient).all()


def test_mutual_information_is_that_of_scikit_learn():
    table = np.array([[f"{a}{a % 2}", b, a] for a, b in RNG.integers(5, size=(90, 2))])
    found = mutual_information(table)
    wanted = [[mutual_info_score(u, v) for u in table.T] for v in table.T]
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_pixels_of_digits_say_most_of_their_neighbours():
    pixels = load_digits().data > 8
    inner = [8 * row + column for row in range(1, 7) for column in range(2, 6)]
    found = mutual_information(pixels)
    np.fill_diagonal(found, 0)
    apart = np.abs(np.array(np.divmod(found.argmax(axis=1), 8)).T - places())
    assert (apart.max(axis=1)[inner] <= 1).mean() > 0.8


def places():
    """Row and column of each of 64 pixels."""
    return np.array(np.divmod(np.arange(64), 8)).T


MISUSE = [
    ({"pick": "correlated"}, "information is not given with pick='correlated'"),
    ({"pick": "random", "information": np.eye(4)}, "information is given with pick"),
    ({"information": np.eye(3)}, "information has shape (3, 3): expected (4, 4)"),
    ({"pick": "all"}, "pick is 'all': expected one of"),
    ({"pick": "random", "temperature": 0}, "temperature is 0"),
    ({"pick": "random", "fields": (0, 0, 0, 0)}, "of fields 0 to F - 1, two or more"),
    ({"pick": "random", "fields": (0, 1, 3, 3)}, "fields are [0, 1, 3, 3]"),
    ({"pick": "random", "fields": (0, 1)}, "an integer for each of 4 columns"),
]


@pytest.mark.parametrize(("options", "message"), MISUSE, ids=[m for _, m in MISUSE])
def test_misuse_is_one_line(options, message):
    with pytest.raises(mtopt.UserError) as error:
        masked_views(seen(4), **options)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_inputs_that_are_no_columns():
    with pytest.raises(mtopt.UserError, match=r"have shape \(2, 2\)"):
        masked_views(seen(4)._replace(shape=(2, 2)), pick="random")
    with pytest.raises(mtopt.UserError, match=r"columns have shape \(3,\)"):
        mutual_information([0, 1, 0])
