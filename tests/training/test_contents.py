"""A checkpoint knows what it belongs to, and is compared before it is loaded."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import mtopt
from mtopt.training.checkpoint import Checkpoints

NAMES = ("age", "size", "weight")
DATA = {"the data": "3f2a"}


def state(names=NAMES, hidden=(4,), method=mtopt.mgda):
    widths = [5, *hidden]
    layers = [jnp.ones(pair) for pair in itertools.pairwise(widths)]
    heads = mtopt.PerTask({"v": jnp.arange(1.0 * len(names))}, names)
    tx = mtopt.chain(method(len(names)), optax.adam(1e-3))
    params = {"shared": layers, "tasks": heads}
    return mtopt.TrainState.create(params, tx, jax.random.key(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("run") / "checkpoints"
    with Checkpoints(place, belongs_to=DATA) as checkpoints:
        checkpoints.save(1, state())
    return place


def load(folder, like, **options):
    with Checkpoints(folder, **options) as checkpoints:
        return checkpoints.load(1, like)


def test_what_belongs_is_loaded(folder):
    found = load(folder, state(), belongs_to=DATA)
    assert found.params["tasks"]["size"]["v"] == 1


def test_the_parameters_can_be_loaded_alone(folder):
    found = load(folder, {"params": state().params})
    assert found["params"]["tasks"].names == NAMES
    np.testing.assert_array_equal(found["params"]["shared"][0], np.ones((5, 4)))


OTHERS = {
    "a task renamed": (
        {"names": ("age", "size", "zoo")},
        r"the tasks of params/tasks .*'weight'\] there, and .*'zoo'\] here",
    ),
    "a task less": ({"names": ("age", "size")}, "the tasks of params/tasks"),
    "wider": ({"hidden": (6,)}, r"params/shared/0 is float32\[5, 4\] there"),
    "deeper": ({"hidden": (4, 4)}, "it has no params/shared/1"),
    "shallower": ({"hidden": ()}, r"it has params/shared/0, float32\[5, 4\]"),
    "another method": ({"method": mtopt.famo}, "it has no opt_state/0/memory"),
}


@pytest.mark.parametrize(("other", "message"), OTHERS.values(), ids=OTHERS)
def test_another_is_refused_in_one_line(folder, other, message):
    with pytest.raises(mtopt.UserError, match=message) as error:
        load(folder, state(**other))
    assert "\n" not in str(error.value)


def test_so_is_one_of_other_data(folder):
    with pytest.raises(mtopt.UserError, match="the data is 3f2a there, and 77b0 here"):
        load(folder, state(), belongs_to={"the data": "77b0"})
