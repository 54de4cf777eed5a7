"""One pass for each task, however the passes run."""

import jax.numpy as jnp
import numpy as np
import pytest

from mtopt.passes import PASSES, over_tasks


@pytest.mark.parametrize("passes", PASSES)
def test_over_tasks_stacks_what_the_function_of_a_task_returns(passes):
    def function(common, x, tree):
        return {"sum": common + x, "product": (tree["a"] * x, common)}

    x, tree = jnp.arange(3.0), {"a": jnp.arange(6.0).reshape(3, 2)}
    on_tasks = over_tasks(function, (None, 0, 0), passes)
    found = on_tasks(jnp.float32(2), x, tree)
    np.testing.assert_array_equal(found["sum"], [2, 3, 4])
    np.testing.assert_array_equal(found["product"][0], [[0, 0], [2, 3], [8, 10]])
    np.testing.assert_array_equal(found["product"][1], [2, 2, 2])
    swapped = over_tasks(lambda a, b: a - b, (0, None), passes)
    np.testing.assert_array_equal(swapped(x, 1), [-1, 0, 1])
