"""Methods that evaluate parts of the batch, behind transformations of rows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from mtopt.transforms.row_transformation import row_transformation
from tests.helpers.close import assert_close
from tests.helpers.methods import make, over
from tests.helpers.problems import squared_loss, tanh_encode

NAMES = ("a", "b", "c")
FACTOR = np.array([0.1, 1.0, 7.0], np.float32)
RNG = np.random.default_rng(0)
BATCH = mtopt.Batch.shared(
    RNG.normal(size=(24, 4)).astype(np.float32),
    {name: RNG.normal(size=24).astype(np.float32) for name in NAMES},
)
PARAMS = {
    "shared": jnp.asarray(RNG.normal(size=(4, 3)) / 2, jnp.float32),
    "tasks": mtopt.PerTask(jnp.asarray(RNG.normal(size=(3, 3)), jnp.float32), NAMES),
}
OF_PARTS = {"auto_lambda", "modo", "moml", "sdmgrad"}


def scaled(evaluation, state):
    return evaluation.scaled(jnp.asarray(FACTOR)), state


def memory(*members, factor=None):
    """What a method remembers of a step on losses that are times a factor."""

    def loss(head, z, y, mask, key):
        size = 1.0 if factor is None else y["factor"][0]
        return size * squared_loss(head, z, y["value"], mask, key)

    values = {"value": BATCH.y}
    values["factor"] = np.broadcast_to(FACTOR[:, None], BATCH.y.shape)
    batch = mtopt.Batch(BATCH.x, values, BATCH.mask, NAMES)
    tasks = mtopt.Tasks(NAMES, tanh_encode, loss)
    tx = mtopt.chain(*members, optax.sgd(0.1))

    def step(params):
        problem = tasks.problem(batch, jax.random.key(1))
        seen = problem.evaluate(params)
        state = tx.init(params)
        _, state = tx.update(seen.gradients, state, params, evaluation=seen)
        return optax.tree.get(state, "memory")

    found = jax.jit(step)(PARAMS)
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found)])


@over(OF_PARTS, slow=OF_PARTS - {"modo"})
def test_parts_have_the_scale_of_the_rows(name):
    method = make(name, 3)
    found = memory(row_transformation(3, scaled), method)
    expected = memory(method, factor=FACTOR)
    plain = memory(method)
    assert_close(found, expected, rtol=1e-5)
    assert (np.abs(found - plain) > 1e-3 * np.abs(plain)).any()
