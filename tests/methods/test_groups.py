"""What every method must hold for groups of unequal kinds with inputs of their own."""

import functools

import jax
import numpy as np
import optax
import pytest

import mtopt
from mtopt.registry import about
from tests.helpers import unequal_groups as groups
from tests.helpers.close import assert_close
from tests.helpers.methods import SOME, make, over, weights_of

ALL = set(mtopt.METHODS)
SPLITTING = {
    name for name, own in mtopt.METHODS.items() if about(own).family == "batches"
}
K = len(groups.NAMES)
# A group, and single tasks of two others.
LACKING = [(), ("a", "d"), ("b", "c")]


@functools.cache
def two_steps(name, micro_batches=1):
    """What two steps on a batch make of the state, and the losses of the second."""
    tx = mtopt.chain(make(name, K), optax.adam(0.1))
    step = mtopt.make_train_step(
        groups.tasks(), tx, micro_batches=micro_batches, donate=False
    )
    start = mtopt.TrainState.create(groups.params(), tx, groups.KEY)

    def run(batch):
        state, _ = step(start, batch)
        state, metrics = step(state, batch)
        return jax.device_get((state.params, state.opt_state, metrics["losses"]))

    return run


@over(ALL, slow=ALL - SOME)
def test_what_stands_behind_a_mask_changes_no_bit(name):
    for absent in LACKING:
        batch = groups.lacking(groups.batch(), absent)
        clean = two_steps(name)(batch)
        for value in (np.nan, np.inf, -np.inf, 1e30):
            found = two_steps(name)(groups.spoilt(batch, value))
            jax.tree.map(np.testing.assert_array_equal, found, clean)


@over(ALL, slow=ALL - SOME)
@pytest.mark.parametrize("absent", LACKING[1:], ids="".join)
def test_an_absent_task_has_no_loss_no_weight_and_does_not_move(name, absent):
    batch = groups.lacking(groups.batch(), absent)
    params, opt_state, losses = two_steps(name)(batch)
    gone, before = np.isin(groups.NAMES, absent), groups.params()
    assert not losses[gone].any()
    assert losses[~gone].all()
    weights = weights_of(opt_state)
    assert not weights[gone].any()
    # Of some methods one task has all the weight; it may be gone.
    moved = np.abs(params["shared"] - before["shared"]).max()
    assert (moved > 1e-3) == weights.any()
    for own, first in zip(params["tasks"], before["tasks"], strict=True):
        for task in np.intersect1d(own.names, absent):
            np.testing.assert_array_equal(own[task], first[task])


def assert_same_step(found, expected):
    """Parameters and losses; the moments of a task that hardly counts are rounding."""
    assert_close(found[::2], expected[::2], rtol=1e-4)


@over(ALL - SPLITTING, slow=ALL - SOME)
def test_doubling_the_samples_changes_nothing(name):
    once, twice = groups.batch(), groups.doubled(groups.batch())
    assert [mask.sum() for mask in twice.mask] == [2 * mask.sum() for mask in once.mask]
    assert_same_step(two_steps(name)(twice), two_steps(name)(once))


@over(ALL - SPLITTING, slow=ALL - SOME)
def test_halves_with_unequal_counts_are_the_whole(name):
    """Of one task all labels are in one half."""
    batch = groups.batch()
    shares = [mask[:, ::2].sum(axis=1) / mask.sum(axis=1) for mask in batch.mask]
    assert len(set(np.concatenate(shares).tolist())) > 2
    assert shares[1] == 1
    assert_same_step(two_steps(name, micro_batches=2)(batch), two_steps(name)(batch))
