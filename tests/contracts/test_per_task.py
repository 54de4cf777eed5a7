"""Stacked trees with names: what stands where, and what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtopt


def test_entries_are_read_by_name_in_sorted_order():
    trees = {name: {"w": jnp.full(2, k)} for k, name in enumerate("cab")}
    heads = mtopt.PerTask.stack(trees)
    assert heads.names == ("a", "b", "c")
    by_name = heads.by_name()
    assert by_name.keys() == trees.keys()
    for name, tree in trees.items():
        np.testing.assert_array_equal(by_name[name]["w"], tree["w"])
        np.testing.assert_array_equal(heads[name]["w"], tree["w"])


def test_names_survive_transformations():
    heads = mtopt.PerTask.stack({"a": jnp.ones(2), "b": jnp.zeros(2)})
    doubled = jax.jit(lambda tree: jax.tree.map(lambda leaf: 2 * leaf, tree))(heads)
    np.testing.assert_array_equal(doubled["a"], [2, 2])


@pytest.mark.parametrize(
    ("trees", "message"),
    [
        ({"a": jnp.ones(2), "b": jnp.ones(3)}, "group of their own"),
        ({"a": {"w": jnp.ones(2)}, "b": {"v": jnp.ones(2)}}, "group of their own"),
        ({}, "at least one name"),
        ({"": jnp.ones(2)}, "non-empty"),
    ],
)
def test_what_cannot_be_stacked_is_named(trees, message):
    with pytest.raises(mtopt.UserError, match=message):
        mtopt.PerTask.stack(trees)


def test_an_unknown_task_names_the_nearest():
    heads = mtopt.PerTask.stack({"left": jnp.ones(2), "right": jnp.ones(2)})
    with pytest.raises(mtopt.UserError, match="did you mean 'left'"):
        heads["lefft"]
