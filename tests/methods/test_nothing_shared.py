"""Probes on a frozen encoder: tasks that share no parameter train their heads.

They move as beside a shared parameter that no loss reads.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.analysis import sharpness
from tests.helpers.close import assert_close
from tests.helpers.methods import make
from tests.helpers.problems import squared_loss

NAMES = ("a", "b", "c")
NOTHING = {"empty": {}, "unread": {"unread": np.ones(2, "float32")}}
# Those that sum over the shared parameters by themselves, and one of the Gramian.
FIRST = {"mgda", "db_mtl", "moml"}


def encode(shared, x, key):
    return x


TASKS = mtopt.Tasks(NAMES, encode, squared_loss)


def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 4)).astype("float32")
    y = {name: (k + 1) * np.sin(x[:, k] + 1) for k, name in enumerate(NAMES)}
    return TASKS.problem(mtopt.Batch.shared(jnp.asarray(x), y), jax.random.key(0))


def params_of(shared):
    return {"shared": shared, "tasks": mtopt.PerTask(np.ones((3, 4), "float32"), NAMES)}


def heads_after(tx, shared, steps=3):
    """The heads of every step."""
    tx = mtopt.chain(tx, optax.sgd(0.05))

    def step(carry, _):
        params, state = carry
        seen = problem().evaluate(params)
        updates, state = tx.update(seen.gradients, state, params, evaluation=seen)
        params = optax.apply_updates(params, updates)
        return (params, state), params["tasks"].values

    def run(params):
        return jax.lax.scan(step, (params, tx.init(params)), None, steps)[1]

    return jax.jit(run)(params_of(shared))


def assert_trains(tx):
    found, expected = (heads_after(tx, shared) for shared in NOTHING.values())
    assert_close(found, expected, rtol=1e-6)
    assert np.isfinite(found).all()


def spaces():
    for name, factory in mtopt.METHODS.items():
        marks = [] if name in FIRST else [pytest.mark.slow]
        yield pytest.param(name, {}, marks=marks, id=name)
        if "space" in inspect.signature(factory).parameters:
            space = {"space": "representation"}
            yield pytest.param(name, space, marks=pytest.mark.slow, id=f"{name} in Z")


@pytest.mark.parametrize(("name", "options"), list(spaces()))
def test_heads_train_where_nothing_is_shared(name, options):
    assert_trains(make(name, 3, **options))


AROUND = {
    "normalize_rows": lambda: mtopt.chain(mtopt.normalize_rows(3), mtopt.mgda(3)),
    "task_momentum": lambda: mtopt.chain(mtopt.task_momentum(3), mtopt.mgda(3)),
    "per_task_sam": lambda: mtopt.chain(mtopt.per_task_sam(3), mtopt.mgda(3)),
    "sam": lambda: mtopt.chain(mtopt.sam(3), mtopt.mgda(3)),
    "flat_regions": lambda: mtopt.flat_regions(mtopt.mgda(3), heads="aggregator"),
    "outlier_weighted": lambda: mtopt.outlier_weighted(mtopt.equal_weighting(3)),
    "without_stationary": lambda: mtopt.without_stationary(mtopt.mgda(3)),
    "log_losses": lambda: mtopt.log_losses(mtopt.mgda(3)),
    "smoothed_weights": lambda: mtopt.smoothed_weights(mtopt.nash_mtl(3)),
    "weights_every": lambda: mtopt.weights_every(mtopt.cagrad(3), n=2),
    "rep_mtl": lambda: mtopt.rep_mtl(mtopt.mgda(3)),
    "moco of libmtl": lambda: mtopt.moco(3, variant="libmtl"),
    "moml by norms": lambda: mtopt.moml(3, normalize="l2"),
}
FEW = ("normalize_rows", "flat_regions")


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(wrap, id=name, marks=[] if name in FEW else pytest.mark.slow)
        for name, wrap in AROUND.items()
    ],
)
def test_so_they_do_in_wrappers_and_behind_transformations(wrap):
    assert_trains(wrap())


def test_sharpness_is_that_of_the_heads():
    found, expected = (
        jax.jit(lambda params: sharpness(problem(), params, rho=0.1))(params_of(shared))
        for shared in NOTHING.values()
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)
