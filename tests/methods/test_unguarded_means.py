"""A user's mean that is 0/0 for an absent task leaves every method finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.methods import SOME, assert_finite, make, over

REDUCTIONS = {
    "sum over count": lambda e, mask: (e * mask).sum() / mask.sum(),
    "average": lambda e, mask: jnp.average(e, weights=mask.astype(e.dtype)),
    "mean where": lambda e, mask: jnp.mean(e, where=mask),
    "root": lambda e, mask: jnp.sqrt(mtopt.masked_mean(e, mask)),
}
ALL = set(mtopt.METHODS)


@over(ALL, slow=ALL - SOME - {"db_mtl", "moml"})
def test_an_absent_task_with_an_unguarded_mean_leaves_it_finite(name):
    """All four means at once: each is the loss of one of four tasks in turn."""
    rng = np.random.default_rng(0)
    names = problems.names(4)
    x = rng.normal(size=(12, 5)).astype("float32")
    y = jnp.asarray(rng.normal(size=(4, 12)), jnp.float32)
    kind = jnp.broadcast_to(jnp.arange(4)[:, None], (4, 12))

    def head_loss(head, z, y, mask, key):
        del key
        errors = (z @ head - y["value"]) ** 2
        each = [reduce(errors, mask) for reduce in REDUCTIONS.values()]
        return jax.lax.select_n(y["kind"][0] % 4, *each)

    tasks = mtopt.Tasks(names, lambda shared, x, key: jnp.tanh(x @ shared), head_loss)
    params = {
        "shared": jnp.asarray(0.3 * rng.normal(size=(5, 3)), jnp.float32),
        "tasks": mtopt.PerTask(
            jnp.asarray(rng.normal(size=(4, 3)), jnp.float32), names
        ),
    }
    tx = mtopt.chain(make(name, 4), optax.adam(1e-2))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))
    step = mtopt.make_train_step(tasks, tx)
    for absent in (*range(4), None):
        mask = jnp.arange(4)[:, None] != (-1 if absent is None else absent)
        mask = jnp.broadcast_to(mask, (4, 12))
        state, metrics = step(state, mtopt.Batch(x, {"value": y, "kind": kind}, mask))
        assert_finite((metrics["losses"], state.params, state.opt_state))


@over(ALL)
def test_plain_arrays_without_losses_work_or_name_what_is_missing(name):
    tx = make(name, 3)

    def update(rows):
        return tx.update(rows, tx.init(jnp.zeros(2)), jnp.zeros(2))

    told = ""
    try:
        direction, _ = jax.eval_shape(update, jnp.ones((3, 2)))
        assert direction.shape == (2,)
    except mtopt.UserError as error:
        told = str(error)
    assert not told or "reads losses" in told or "problem" in told
    assert not told or "mtopt.Evaluation(" in told or "mtopt.chain" in told


@pytest.mark.parametrize(
    "build",
    [
        lambda: mtopt.mgda(3, normalize="loss"),
        lambda: mtopt.moco(3, variant="libmtl"),
        lambda: mtopt.log_losses(mtopt.mgda(3)),
        lambda: mtopt.offset_losses(mtopt.mgda(3), offset=-1),
    ],
)
def test_options_and_wrappers_that_read_losses_name_them_too(build):
    tx = build()
    with pytest.raises(mtopt.UserError, match=r"this method reads losses, .*losses="):
        tx.update(jnp.ones((3, 2)), tx.init(jnp.zeros(2)), jnp.zeros(2))
