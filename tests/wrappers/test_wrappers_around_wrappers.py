"""Every wrapper around every wrapper: a method that trains, or an error at once."""

import functools

import jax
import optax
import pytest

import mtopt
from tests.helpers import problems
from tests.helpers.compilations import compiled_once
from tests.helpers.methods import assert_finite, over

TASKS, PARAMS, BATCH = problems.classification(3, 6, 5, (7,), 4, None)


def activity(problem, params, representation):
    del problem, params
    return (representation**2).mean()


WRAPPERS = {
    **mtopt.WRAPPERS,
    "add_penalty": functools.partial(
        mtopt.add_penalty, penalty=activity, coefficient=0.1
    ),
    "offset_losses": functools.partial(mtopt.offset_losses, offset=-1.0),
    "weights_every": functools.partial(mtopt.weights_every, n=2),
}
AGGREGATORS = {"equal_weighting": mtopt.equal_weighting, "imtl_g": mtopt.imtl_g}
# Weights that a step finds for two sums, or together with task weights, cannot be
# replaced by those of a mean or of another step; and flat regions of flat regions have
# no gradients to perturb along. What is explained of a logarithm cannot be told. The
# other order of each means something.
REFUSED = {
    ("flat_regions", "flat_regions"),
    ("log_losses", "outlier_weighted"),
    ("smoothed_weights", "flat_regions"),
    ("weights_every", "flat_regions"),
    ("weights_every", "outlier_weighted"),
}
PAIRS = [(outer, inner) for outer in WRAPPERS for inner in WRAPPERS]
ALLOWED = [pair for pair in PAIRS if pair not in REFUSED]


def method(outer, inner, aggregator):
    wrapped = WRAPPERS[outer](WRAPPERS[inner](AGGREGATORS[aggregator](3)))
    return mtopt.chain(wrapped, optax.sgd(0.1))


@pytest.mark.parametrize(("outer", "inner"), sorted(REFUSED))
def test_what_means_nothing_is_refused_at_construction(outer, inner):
    with pytest.raises(mtopt.UserError, match=outer):
        method(outer, inner, "imtl_g")


# Of every kind an outer one: it evaluates elsewhere, adds a loss, keeps weights.
OUTER = {"flat_regions", "rep_mtl", "smoothed_weights"}


@pytest.mark.parametrize(
    "aggregator",
    ["imtl_g", pytest.param("equal_weighting", marks=pytest.mark.slow)],
)
@over(WRAPPERS, slow=WRAPPERS.keys() - OUTER)
def test_every_other_pair_is_a_step(name, aggregator):
    """Traced, not compiled: shapes and dtypes of the state stay what they were."""
    txs = {
        inner: method(name, inner, aggregator)
        for inner in WRAPPERS
        if (name, inner) not in REFUSED
    }

    def states():
        seen = TASKS.problem(BATCH, jax.random.key(0)).evaluate(PARAMS)
        before = {inner: tx.init(PARAMS) for inner, tx in txs.items()}
        after = {
            inner: tx.update(seen.gradients, before[inner], PARAMS, evaluation=seen)[1]
            for inner, tx in txs.items()
        }
        return before, after

    before, after = jax.eval_shape(states)
    assert before == after


@pytest.mark.slow
@pytest.mark.parametrize("aggregator", AGGREGATORS)
@pytest.mark.parametrize(("outer", "inner"), ALLOWED)
def test_every_other_pair_takes_three_finite_steps(outer, inner, aggregator):
    tx = method(outer, inner, aggregator)
    state = mtopt.TrainState.create(PARAMS, tx, jax.random.key(0))
    step = compiled_once(mtopt.make_train_step(TASKS, tx))
    for _ in range(3):
        state, metrics = step(state, BATCH)
        assert_finite((metrics["losses"], state.params, state.opt_state))
    moved = jax.tree.map(lambda new, old: abs(new - old).max(), state.params, PARAMS)
    assert all(float(distance) > 1e-3 for distance in jax.tree.leaves(moved["shared"]))
