"""flax.serialization of stacked parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

import mtopt
import mtopt.models


def params(names=("a", "b")):
    heads = mtopt.PerTask({"w": jnp.arange(4.0).reshape(2, 2)}, names)
    return {"shared": jnp.ones(3), "tasks": heads}


def test_parameters_go_through_bytes():
    empty = jax.tree.map(jnp.zeros_like, params())
    found = serialization.from_bytes(empty, serialization.to_bytes(params()))
    assert found["tasks"].names == ("a", "b")
    np.testing.assert_array_equal(found["tasks"]["b"]["w"], [2, 3])


def test_other_tasks_are_refused():
    with pytest.raises(mtopt.UserError, match=r"of the tasks \('a', 'b'\): expected"):
        serialization.from_bytes(params(("a", "c")), serialization.to_bytes(params()))
