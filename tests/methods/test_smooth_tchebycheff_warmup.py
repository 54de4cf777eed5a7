"""STCH with a warm-up: an epoch is the yardstick of the losses."""

import numpy as np
import pytest

import mtopt
from mtopt.methods.smooth_tchebycheff_warmup import smooth_tchebycheff_warmup
from tests.helpers.loss_methods import assert_an_epoch_is_the_yardstick


def test_methods_with_an_epoch_as_yardstick():
    tx = smooth_tchebycheff_warmup(3, steps_per_epoch=3, warmup_epochs=1, mu=0.7)
    assert_an_epoch_is_the_yardstick(tx, lambda loss, base: np.log(loss / base) / 0.7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: smooth_tchebycheff_warmup(2, steps_per_epoch=0), "steps_per_epoch is"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(mtopt.UserError, match=message):
        make()
