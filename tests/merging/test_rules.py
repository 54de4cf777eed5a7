"""Rules of merging, beside values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt
from mtopt.merging import average, dare, fisher, task_arithmetic, task_vectors, ties

BASE = {"w": jnp.array([[1.0, 0.0], [0.0, -1.0]]), "b": jnp.array([2.0, 2.0])}
# What the two models add; in the first column of w they disagree.
FIRST = {"w": [[3.0, 1.0], [-1.0, 0.25]], "b": [0.5, -4.0]}
SECOND = {"w": [[-1.0, 2.0], [1.0, 0.5]], "b": [0.0, -2.0]}


def like_base(tree):
    return {name: jnp.array(own) for name, own in tree.items()}


TUNED = [jax.tree.map(jnp.add, BASE, like_base(own)) for own in (FIRST, SECOND)]
VECTORS = task_vectors(BASE, TUNED)


def change(found):
    return {name: np.asarray(found[name] - BASE[name]) for name in BASE}


def assert_change(found, w, b):
    np.testing.assert_allclose(change(found)["w"], w, atol=1e-6)
    np.testing.assert_allclose(change(found)["b"], b, atol=1e-6)


def test_vectors_are_what_tuning_added():
    for name in BASE:
        np.testing.assert_allclose(VECTORS[name][0], FIRST[name], atol=1e-6)
        np.testing.assert_allclose(VECTORS[name][1], SECOND[name], atol=1e-6)


def test_average_and_task_arithmetic():
    assert_change(average(BASE, VECTORS), [[1, 1.5], [0, 0.375]], [0.25, -3])
    found = task_arithmetic(BASE, VECTORS, scale=-0.5)
    assert_change(found, [[-1, -1.5], [0, -0.375]], [-0.25, 3])


def test_ties_elects_by_the_sum_and_averages_those_that_agree():
    """Of +3 and -1 the sum elects +, and 3 is alone; of -1 and 1 a draw is +."""
    found = ties(BASE, VECTORS, density=1.0)
    assert_change(found, [[3, 1.5], [1, 0.375]], [0.5, -3])
    half = ties(BASE, VECTORS, density=1.0, scale=0.5)
    assert_change(half, [[1.5, 0.75], [0.5, 0.1875]], [0.25, -1.5])


def test_ties_keeps_exactly_the_share_of_a_model_or_of_an_array():
    """Half of six entries, the first of equal ones: -4, 3, 1; and -2, 2, -1."""
    found = ties(BASE, VECTORS, density=0.5)
    assert_change(found, [[3, 1.5], [0, 0]], [0, -3])
    # floor(.3 * 6) = 1 of each: -4 and -2.
    assert_change(ties(BASE, VECTORS, density=0.3), [[0, 0], [0, 0]], [0, -3])
    # One of the four of w, 3 and 2, and none of the two of b.
    found = ties(BASE, VECTORS, density=0.3, per="array")
    assert_change(found, [[3, 2], [0, 0]], [0, 0])


def test_the_mean_over_masks_is_the_task_vector():
    keys = jax.random.split(jax.random.key(0), 4000)
    draws = jax.vmap(lambda key: dare(VECTORS, key, density=0.4))(keys)
    for name, own in VECTORS.items():
        found = np.asarray(draws[name])
        values = np.broadcast_to(own / 0.4, found.shape)
        np.testing.assert_allclose(found, np.where(found == 0, 0, values), rtol=1e-6)
        kept = (found != 0).mean(axis=0)[np.asarray(own) != 0]
        np.testing.assert_allclose(kept, 0.4, atol=0.05)  # six standard errors
        np.testing.assert_allclose(found.mean(0), own, atol=0.5)
    # Entries and models are dropped each by itself.
    found = np.asarray(draws["w"]) != 0
    pairs = found.reshape(len(found), -1).astype(float)
    assert np.abs(np.corrcoef(pairs.T) - np.eye(8)).max() < 0.1


def test_fisher_weighs_entry_by_entry():
    information = {
        "w": jnp.array([[[1.0, 3.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]]),
        "b": jnp.array([[1.0, 1.0], [1.0, 3.0]]),
    }
    found = fisher(BASE, VECTORS, information)
    assert_change(found, [[1, 1.25], [0, 0.25]], [0.25, -2.5])


@pytest.mark.parametrize("density", [0.0, 1.5, -0.1])
def test_a_share_that_is_none_is_one_line(density):
    with pytest.raises(mtopt.UserError, match=r"density is .*in \(0, 1\]"):
        ties(BASE, VECTORS, density=density)
    with pytest.raises(mtopt.UserError, match=r"density is .*in \(0, 1\]"):
        dare(VECTORS, jax.random.key(0), density=density)


def test_trees_that_differ_are_one_line():
    other = {"w": jnp.zeros((2, 2)), "b": jnp.zeros(3)}
    with pytest.raises(mtopt.UserError, match=r"tuned\[1\]\['b'\] is \(3,\)"):
        task_vectors(BASE, [BASE, other])
    with pytest.raises(mtopt.UserError, match=r"tuned\[0\]\['b'\] is not there"):
        task_vectors(BASE, [{"w": BASE["w"]}])
    with pytest.raises(mtopt.UserError, match=r"\['c'\] is \(1,\): expected nothing"):
        task_vectors(BASE, [{**BASE, "c": jnp.zeros(1)}])
    with pytest.raises(mtopt.UserError, match="tuned has no model"):
        task_vectors(BASE, iter([]))
    with pytest.raises(mtopt.UserError, match=r"base\['n'\] is int32: expected a tree"):
        task_vectors({"n": jnp.arange(3)}, [{"n": jnp.arange(3)}])
    with pytest.raises(mtopt.UserError, match="of other containers"):
        task_vectors([jnp.ones(1)], [(jnp.ones(1),)])
    for rule in (average, task_arithmetic, ties):
        with pytest.raises(mtopt.UserError, match=r"vectors\['b'\] is not there"):
            rule(BASE, {"w": VECTORS["w"]})
    with pytest.raises(mtopt.UserError, match=r"vectors\['b'\] is \(\)"):
        fisher(BASE, VECTORS, {"w": VECTORS["w"], "b": jnp.ones(2)})


RULES = {
    "average": average,
    "task_arithmetic": task_arithmetic,
    "ties": lambda base, vectors: ties(base, vectors, density=1.0),
    "fisher": lambda base, vectors: fisher(base, vectors, vectors),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_sums_do_not_overflow_and_keep_the_dtype_of_the_base(rule, dtype):
    large = 20000.0 if dtype == "float16" else 1e37
    base = {"w": jnp.zeros(2, dtype)}
    found = rule(base, {"w": jnp.full((3, 2), large, dtype)})["w"]
    assert found.dtype == dtype
    if rule is not task_arithmetic:
        np.testing.assert_allclose(np.asarray(found, float), large, rtol=1e-2)


def test_nan_is_seen_and_a_share_is_a_decimal():
    vectors = {"w": jnp.array([[1.0, jnp.nan, 2.0]])}
    assert np.isnan(ties({"w": jnp.zeros(3)}, vectors, density=0.5)["w"]).any()
    for density, kept in ((0.29, 29), (0.57, 57), (0.58, 58)):
        own = {"w": jnp.arange(1.0, 101.0)[None]}
        found = ties({"w": jnp.zeros(100)}, own, density=density)["w"]
        assert int((found != 0).sum()) == kept
