"""A batch in micro-batches is the batch: one aggregation of exact gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.registry import about
from tests.helpers import problems
from tests.helpers.close import assert_close
from tests.helpers.methods import SOME, make, over

K = 3
SPLITTING = {
    name for name, own in mtopt.METHODS.items() if about(own).family == "batches"
}
ALL = set(mtopt.METHODS) - SPLITTING


def two_steps(tx, x_axis=None, missing=0.3, **options):
    tasks, params, batch = problems.classification(K, 12, 5, (4,), 2, x_axis, missing)
    step = mtopt.make_train_step(tasks, mtopt.chain(tx, optax.sgd(0.1)), **options)
    state = mtopt.TrainState.create(
        params, mtopt.chain(tx, optax.sgd(0.1)), jax.random.key(0)
    )
    for _ in range(2):
        state, metrics = step(state, batch)
    return state.params, metrics["losses"]


def assert_accumulates(tx, **options):
    whole, parts = (two_steps(tx, micro_batches=m, **options) for m in (1, 3))
    # Sums of another order, through two solves: EPO's programs magnify them tenfold.
    jax.tree.map(lambda a, b: assert_close(a, b, rtol=1e-4), parts, whole)


@over(ALL, slow=ALL - SOME)
def test_accumulated_equals_the_big_batch(name):
    assert_accumulates(make(name, K))


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda tx: mtopt.flat_regions(tx, rho=0.1), id="flat_regions"),
        pytest.param(
            lambda tx: mtopt.rep_mtl(tx), id="rep_mtl", marks=pytest.mark.slow
        ),
        pytest.param(
            lambda tx: mtopt.log_losses(tx), id="log_losses", marks=pytest.mark.slow
        ),
        pytest.param(
            lambda tx: mtopt.chain(mtopt.per_task_sam(K, rho=0.1), tx),
            id="per_task_sam",
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.parametrize(
    "inner",
    [
        mtopt.equal_weighting(K),
        pytest.param(mtopt.mgda(K, space="representation"), marks=pytest.mark.slow),
    ],
    ids=["equal_weighting", "mgda"],
)
def test_so_it_does_under_wrappers(wrap, inner):
    assert_accumulates(wrap(inner))


@pytest.mark.parametrize(
    "tx",
    [
        mtopt.mgda(K, space="representation"),
        pytest.param(mtopt.graddrop(K, space="representation"), marks=pytest.mark.slow),
    ],
)
def test_so_it_does_in_the_representation(tx):
    assert_accumulates(tx)


def test_so_it_does_on_disjoint_inputs():
    assert_accumulates(mtopt.mgda(K), x_axis=0)


def test_so_it_does_for_groups():
    def absolute(head, z, y, mask, key):
        return mtopt.masked_mean(jnp.abs(z @ head - y), mask)

    groups = mtopt.TaskGroups(
        (
            mtopt.Tasks(("b",), problems.tanh_encode, problems.squared_loss),
            mtopt.Tasks(("a", "c"), problems.tanh_encode, absolute),
        ),
        shared_inputs=True,
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 5))
    y = tuple(rng.normal(size=(len(group.names), 8)) for group in groups.groups)
    mask = tuple(labels > -1 for labels in y)
    params = {
        "shared": jnp.asarray(rng.normal(size=(5, 4)), "float32"),
        "tasks": tuple(
            mtopt.PerTask(jnp.ones((len(group.names), 4)), group.names)
            for group in groups.groups
        ),
    }
    tx = mtopt.chain(mtopt.mgda(3), optax.sgd(0.1))
    found = []
    for parts in (1, 4):
        step = mtopt.make_train_step(groups, tx, micro_batches=parts)
        state = mtopt.TrainState.create(params, tx, jax.random.key(0))
        state, metrics = step(state, mtopt.Batch(x, y, mask))
        found.append((state.params, metrics["losses"]))
    jax.tree.map(lambda a, b: assert_close(a, b, rtol=1e-5), *found)


def test_it_takes_the_memory_of_a_part():
    tasks, params, batch = problems.classification(K, 512, 8, (64, 64), 2, None)
    tx = mtopt.chain(mtopt.mgda(K), optax.sgd(0.1))
    state = mtopt.TrainState.create(params, tx, jax.random.key(0))

    def memory(parts):
        step = mtopt.make_train_step(tasks, tx, micro_batches=parts, donate=False)
        compiled = step.lower(state, batch).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert memory(16) < memory(1) / 4


@over(SPLITTING)
def test_a_method_that_splits_the_batch_says_so(name):
    with pytest.raises(mtopt.UserError, match=r"splits its batch.*micro_batches=1"):
        two_steps(make(name, K), micro_batches=3)


def test_the_number_of_parts_divides_the_batch():
    with pytest.raises(mtopt.UserError, match="12 samples in 5 micro-batches"):
        two_steps(mtopt.mgda(K), micro_batches=5)
    with pytest.raises(mtopt.UserError, match="micro_batches"):
        two_steps(mtopt.mgda(K), micro_batches=0)
