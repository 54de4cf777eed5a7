"""Improvable gap balancing: an epoch is the yardstick of the losses."""

import pytest

import mtopt
from mtopt.methods.improvable_gap_balancing import improvable_gap_balancing
from tests.helpers.loss_methods import assert_an_epoch_is_the_yardstick


def test_methods_with_an_epoch_as_yardstick():
    tx = improvable_gap_balancing(3, steps_per_epoch=3)
    assert_an_epoch_is_the_yardstick(tx, lambda loss, base: loss / base)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: improvable_gap_balancing(2, steps_per_epoch=1, base_epoch=-1),
            "base_epoch is -1",
        ),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
