"""Parameters whose gradient is stopped in the model are as if they were not there."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import mtopt
from tests.helpers.close import assert_close
from tests.helpers.methods import make, over
from tests.helpers.problems import squared_loss

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")
BATCH = mtopt.Batch.shared(
    RNG.normal(size=(12, 4)).astype(np.float32),
    {name: RNG.normal(size=12).astype(np.float32) for name in NAMES},
)
FIRST, SECOND = (
    jnp.asarray(RNG.normal(size=shape) / 2, jnp.float32) for shape in ((4, 6), (6, 5))
)
HEADS = mtopt.PerTask(jnp.asarray(RNG.normal(size=(3, 5)), jnp.float32), NAMES)


def trained(tx, shared, encode):
    """The second layer and the losses after three steps."""
    tasks = mtopt.Tasks(NAMES, encode, squared_loss)
    chain = mtopt.chain(*tx, optax.sgd(0.1))
    params = {"shared": shared, "tasks": HEADS}
    state = mtopt.TrainState.create(params, chain, jax.random.key(0))
    step = mtopt.make_train_step(tasks, chain)
    for _ in range(3):
        state, metrics = step(state, BATCH)
    return state.params["shared"], metrics["losses"]


def layers(first, second, x):
    return jnp.tanh(jnp.tanh(x @ first) @ second)


def assert_frozen_is_absent(*tx):
    def stopped(shared, x, key):
        return layers(jax.lax.stop_gradient(shared["first"]), shared["second"], x)

    def closed(shared, x, key):
        return layers(FIRST, shared["second"], x)

    frozen, losses = trained(tx, {"first": FIRST, "second": SECOND}, stopped)
    absent, expected = trained(tx, {"second": SECOND}, closed)
    np.testing.assert_array_equal(frozen["first"], FIRST)
    assert_close(frozen["second"] - SECOND, absent["second"] - SECOND, rtol=1e-4)
    assert_close(losses, expected, rtol=1e-5)


# GradDrop draws for one leaf after another: with a leaf more it is another draw.
SAME_DRAWS = set(mtopt.METHODS) - {"graddrop"}


# Those that evaluate other batches and other points, beside one that does not.
@over(SAME_DRAWS, slow=SAME_DRAWS - {"famo", "mgda"})
def test_by_every_method(name):
    assert_frozen_is_absent(make(name, 3))


EQUAL = mtopt.equal_weighting(3)


ELSEWHERE = {
    "per_task_sam": (mtopt.per_task_sam(3, rho=0.5), mtopt.mgda(3)),
    "sam": (mtopt.sam(3, rho=0.5), EQUAL),
    "normalize_rows": (mtopt.normalize_rows(3), EQUAL),
    "flat_regions": (mtopt.flat_regions(mtopt.mgda(3), rho=0.5),),
    "rep_mtl": (mtopt.rep_mtl(EQUAL),),
}


@over(ELSEWHERE, slow=ELSEWHERE.keys() - {"per_task_sam", "rep_mtl"})
def test_by_what_evaluates_elsewhere(name):
    assert_frozen_is_absent(*ELSEWHERE[name])
