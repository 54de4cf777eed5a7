"""What holds for all transformations of gradients."""

import jax
import pytest

import mtopt
from mtopt.transforms import TRANSFORMS
from tests.helpers.close import assert_close
from tests.helpers.wrappers import model


@pytest.mark.parametrize("name", sorted(TRANSFORMS.keys() - {"per_task_sam", "sam"}))
def test_transformations_of_rows_alone_leave_the_heads_as_they_are(name):
    tasks, params, batch = model()
    problem = tasks.problem(batch, jax.random.key(0))
    losses, grads = jax.jit(problem.losses_and_grads)(params)
    tx = TRANSFORMS[name](3)
    update = jax.jit(tx.update)
    found, _ = update(
        grads, tx.init(params), params, evaluation=mtopt.Evaluation(losses=losses)
    )
    assert_close(found["tasks"], grads["tasks"], rtol=1e-7)
    assert jax.tree.structure(found) == jax.tree.structure(grads)
